"""Files of the package that browsers get: each with its type, an ETag, and headers that allow nothing from elsewhere."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of a file that is not a page."""
CHECK_AGAIN = "no-cache"
"""The browser asks each time whether the file has changed."""
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Content:
    """A file to serve. Its ETag is a hash, so a browser that has it gets 304 until it changes."""

    body: bytes
    content_type: str
    etag: str
    policy: str = CLOSED
    caching: str = CHECK_AGAIN


def content_of(body: bytes, suffix: str, policy: str = CLOSED, caching: str = CHECK_AGAIN) -> Content:
    """Return the content of a file whose name ends with `suffix`."""
    return Content(body, _TYPES[suffix], hashlib.sha256(body).hexdigest()[:32], policy, caching)


def handler_of(content: Callable[[], Content]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler that serves what `content` returns."""

    async def serve(request: web.Request) -> web.Response:
        found = content()
        if any(known.value in (found.etag, "*") for known in request.if_none_match or ()):
            response = web.Response(status=304)
        else:
            response = web.Response(body=found.body, headers={"Content-Type": found.content_type})
        response.etag = found.etag
        response.headers["Cache-Control"] = found.caching
        response.headers["Content-Security-Policy"] = found.policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return serve
