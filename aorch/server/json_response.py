"""An answer of JSON, which is what most requests come to."""

from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from aorch import jsonio
from aorch.server.fast_path import JsonAnswer

JSON = "application/json"
LONGEST_ADDRESS = 8000
"""Characters in a `Link`: a request line has at most 8 KiB."""


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> JsonAnswer:
    """The response whose body is `value`."""
    return JsonAnswer(jsonio.encode_bytes(value), status=status, content_type=JSON, headers=headers)


def next_page(request: web.Request, cursor: str | None) -> dict[str, str]:
    """The header that leads to the page after this one (RFC 8288); none on the last.

    None either if the address is longer than a request line may be: an import may have a session id of any length.
    """
    if cursor is None:
        return {}
    address = f"{request.rel_url.raw_path}?{urlencode({**request.query, 'cursor': cursor})}"
    return {} if len(address) > LONGEST_ADDRESS else {"Link": f'<{address}>; rel="next"'}
