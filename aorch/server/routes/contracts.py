"""Contracts: the records of the ledger."""

from aiohttp import web

from aorch.ledger.attempt import Attempt
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import COMPLETED, REQUEST, Record
from aorch.server.fast_path import json_response
from aorch.server.pagination import PAGE_BYTES, Page, contract_json, page_of, page_response, read_page
from aorch.server.request_context import services_of
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.contracts import ContractDetail, ContractPage, ContractQuery


async def list_contracts(request: web.Request) -> web.Response:
    """List contracts that match the filters, oldest first, in pages.

    All filters must match. The next page is in `next` and in the header `Link`.
    """
    query = parse_query(request, ContractQuery)
    page, total = await read_page(request, lambda reader: _read_contracts(reader, query))
    return page_response(request, "contracts", page, session_id=query.session_id, total=total)


async def show_contract(request: web.Request) -> web.Response:
    """Show one contract and its counterpart.

    The counterpart of a REQUEST is its RESPONSE, if there is one, and the other way round. A completed REQUEST includes the
    result of its RESPONSE. `attempts` lists the calls of agents if one was not enough.
    """
    contract_id = request.match_info["contract_id"]
    contract, other, attempts = await services_of(request).readers.read(
        lambda reader: _read_contract(reader, contract_id)
    )
    form, counterpart = contract.as_dict(), other.as_dict() if other else None
    if counterpart is not None:
        asked, answered = (form, counterpart) if form["contract_type"] == REQUEST else (counterpart, form)
        asked["result"] = answered["result"] if asked["status"] == COMPLETED else None
    return json_response({**form, "counterpart": counterpart, "attempts": [each.as_dict() for each in attempts]})


def _read_contract(reader: Reader, contract_id: str) -> tuple[Record, Record | None, list[Attempt]]:
    contract, other = reader.with_counterpart(contract_id)
    request_id = contract.request_id or contract.contract_id
    return contract, other, reader.attempts([request_id]).get(request_id, [])


def _read_contracts(reader: Reader, query: ContractQuery) -> tuple[Page, int]:
    """Return a page of the matching contracts, and the number of all matching contracts."""
    if query.text is not None and not any(map(str.isalnum, query.text)):
        return ([], None), 0  # a search text without words matches no contract
    which = Filter(
        session_id=query.session_id,
        from_agent=query.from_agent,
        to_agent=query.to_agent,
        agent=query.agent,
        contract_type=query.type,
        capability=query.capability,
        status=query.status,
        since=query.since,
        until=query.until,
        text=query.text,
    )
    newest_first = query.order == "desc"
    cursor = {"before" if newest_first else "after": int(query.cursor) if query.cursor else None}
    found, more = reader.shown(which, limit=query.limit, characters=PAGE_BYTES, newest_first=newest_first, **cursor)
    forms = ((str(position), contract_json(row)) for position, row in found)
    return page_of(forms, query.limit, more=more), reader.total(which)


ROUTES = (
    Route("GET", "/v1/contracts", list_contracts, "read", "contracts", ContractPage, query=ContractQuery),
    Route("GET", "/v1/contracts/{contract_id}", show_contract, "read", "contracts", ContractDetail),
)
