"""Lists, a page at a time: no page is larger than PAGE_BYTES, and none is encoded on the event loop."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from aiohttp import web

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.reader import Reader
from aorch.ledger.record import FIELDS, Row
from aorch.server.fast_path import JsonAnswer
from aorch.server.json_response import JSON, next_page
from aorch.server.request_context import services_of

PAGE_BYTES = 8 * 1024 * 1024
"""A page ends with the item before the one that would make it larger; it has one item at least."""

Result = TypeVar("Result")
Page = tuple[list[bytes], str | None]
"""The items as JSON, and the cursor of the page after this one."""


def page_of(found: Iterable[tuple[str, dict[str, Any]]], limit: int, *, more: bool = False) -> Page:
    """Up to `limit` of those items, each of which comes with its cursor. `more`: there are others after the last of them."""
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
    """What `read` makes of a Reader, in a thread, once there is room for a page. Raises Refusal (503), LedgerError."""
    services = services_of(request)
    async with services.unsent.room():
        return await services.readers.read(read)


def page_answer(request: web.Request, name: str, page: Page, **others: Any) -> JsonAnswer:
    """The response with the items under `name`, `others`, and `next`, which is in the header `Link` as well."""
    items, following = page
    rest = jsonio.encode_bytes({**others, "next": following})
    body = b'{"%s":[%s],%s' % (name.encode(), b",".join(items), rest[1:])
    return JsonAnswer(body, content_type=JSON, headers=next_page(request, following))


def form_of(row: Row) -> dict[str, Any]:
    """The JSON form of a contract. One that another program wrote, and that is no JSON, has its texts as they are."""
    try:
        return row.as_dict()
    except InvalidJSON:
        return dict(zip(FIELDS, row, strict=False))
