"""Lists in pages: no page exceeds PAGE_BYTES, and pages are encoded in threads, not on the event loop."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.reader import Reader
from aorch.ledger.record import Record
from aorch.server.fast_path import JsonResponse
from aorch.server.request_context import services_of

PAGE_BYTES = 8 * 1024 * 1024
"""A page ends before the item that would make it larger. It has at least one item."""
MAX_LINK_LENGTH = 8000
"""Maximum length of the URL in `Link`. A request line has at most 8 KiB."""

Result = TypeVar("Result")
Page = tuple[list[bytes], str | None]
"""The items as JSON, and the cursor of the next page."""


def page_of(found: Iterable[tuple[str, dict[str, Any]]], limit: int, *, more: bool = False) -> Page:
    """Return up to `limit` of the items, each of which comes with its cursor. `more`: others follow after the last one."""
    items: list[bytes] = []
    size, last = 0, None
    for cursor, form in found:
        item = jsonio.encode_bytes(form)
        size += len(item) + 1
        if len(items) == limit or (items and size > PAGE_BYTES):
            return items, last
        items.append(item)
        last = cursor
    return items, last if more else None


async def read_page(request: web.Request, read: Callable[[Reader], Result]) -> Result:
    """Return the result of `read`, called in a thread once there is room for a page. Raises HttpError (503), LedgerError."""
    services = services_of(request)
    async with services.unsent.room():
        return await services.readers.read(read)


def page_response(request: web.Request, name: str, page: Page, **others: Any) -> JsonResponse:
    """Return the response with the items as `name`, `others`, and `next`, which the header `Link` contains as well."""
    items, cursor = page
    rest = jsonio.encode_bytes({**others, "next": cursor})
    body = b'{"%s":[%s],%s' % (name.encode(), b",".join(items), rest[1:])
    return JsonResponse(body, headers=_link(request, cursor))


def last_cursor(found: Sequence[tuple[int, object]], page: Page) -> str | None:
    """Return the cursor of the last item of `page`, whose items come from `found`; None if it is empty."""
    items = page[0]
    return str(found[len(items) - 1][0]) if items else None


def contract_json(row: Record) -> dict[str, Any]:
    """Return the JSON form of a contract. If another program wrote invalid JSON, the stored text is returned unchanged."""
    try:
        return row.as_dict()
    except InvalidJSON:
        return row.texts()


def _link(request: web.Request, cursor: str | None) -> dict[str, str]:
    """Return the `Link` header with the next page (RFC 8288), or no header on the last page.

    No header either if the URL exceeds MAX_LINK_LENGTH: imported session ids can have any length.
    """
    if cursor is None:
        return {}
    url = f"{request.rel_url.raw_path}?{urlencode({**request.query, 'cursor': cursor})}"
    return {} if len(url) > MAX_LINK_LENGTH else {"Link": f'<{url}>; rel="next"'}
