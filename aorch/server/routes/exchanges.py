"""Exchanges: each REQUEST with its RESPONSE, newest first."""

from aiohttp import web

from aorch.ledger.exchanges import ExchangeFilter
from aorch.ledger.reader import Reader
from aorch.ledger.whole_exchange import whole_exchange
from aorch.server.fast_path import json_response
from aorch.server.pagination import PAGE_BYTES, Page, last_cursor, page_of, page_response, read_page
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.exchanges import ExchangeDetail, ExchangePage, ExchangeQuery

MOST_IDS = 1000


async def list_exchanges(request: web.Request) -> web.Response:
    """List exchanges that match the filters, newest first, in pages.

    All filters must match. An open task is listed too, without a result. `GET /v1/contracts/{contract_id}` shows the payload
    and the attempts of an exchange.
    """
    query = parse_query(request, ExchangeQuery)
    page, last = await read_page(request, lambda reader: _read(reader, query))
    return page_response(request, "exchanges", page, last=last)


async def show_exchange(request: web.Request) -> web.Response:
    """Show an exchange in full: both contracts, its attempts, and the REQUESTs that its agent delegated.

    The ID is that of the REQUEST or of the RESPONSE.
    """
    contract_id = request.match_info["contract_id"]
    whole = await read_page(request, lambda reader: whole_exchange(reader, contract_id))
    return json_response({**whole.as_dict(), "omitted": whole.omitted})


def _read(reader: Reader, query: ExchangeQuery) -> tuple[Page, str | None]:
    """Return a page, and the cursor of its last exchange."""
    if query.text is not None and not any(map(str.isalnum, query.text)):
        return ([], None), None  # a search text without words matches no exchange
    ids = None if query.ids is None else query.ids.split(",")[:MOST_IDS]
    which = ExchangeFilter(**query.model_dump(exclude={"cursor", "limit", "ids"}), ids=ids)
    before = int(query.cursor) if query.cursor else None
    found, more = reader.exchanges(which, limit=query.limit, before=before, characters=PAGE_BYTES)
    page = page_of(((str(cursor), exchange.as_dict()) for cursor, exchange in found), query.limit, more=more)
    return page, last_cursor(found, page)


ROUTES = (
    Route("GET", "/v1/exchanges", list_exchanges, "read", "contracts", ExchangePage, query=ExchangeQuery),
    Route("GET", "/v1/exchanges/{contract_id}", show_exchange, "read", "contracts", ExchangeDetail),
)
