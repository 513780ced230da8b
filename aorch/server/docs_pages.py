"""The documentation pages: Swagger UI at /docs, ReDoc at /redoc, and /openapi.json, which both show.

All files are part of the package, so they work without internet. They need no token, because they describe the API and contain
no data.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from aiohttp import web

from aorch import jsonio
from aorch.server import openapi
from aorch.server.request_context import SERVICES

STATIC = Path(__file__).with_name("static")
FILES = (
    "page.css",
    "docs.js",
    "redoc.js",
    "swagger-ui/favicon-32x32.png",
    "swagger-ui/swagger-ui-bundle.js",
    "swagger-ui/swagger-ui.css",
    "redoc/redoc.standalone.js",
)
"""All files that /static/ serves."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
_CLOSED = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
)
_POLICIES = {
    "docs.html": _CLOSED + "style-src 'self'",
    # ReDoc creates two kinds of <style>: empty ones that it fills through CSSOM, and the rules of its scroll bar. Only inline
    # styles with these hashes are allowed. It searches in a worker that it creates from a blob.
    "redoc.html": _CLOSED + "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; worker-src blob:",
}
"""The Content-Security-Policy of each page: only the package's scripts, nothing from other hosts, no eval."""


@dataclass(frozen=True)
class Content:
    """A file to serve. Its ETag is a hash, so a browser that has it gets 304 until it changes."""

    body: bytes
    content_type: str
    etag: str
    policy: str = "default-src 'none'; frame-ancestors 'none'"


def add_pages(app: web.Application) -> None:
    """Add /openapi.json, /docs (and a redirect from /), /redoc, and their files under /static/."""
    contents: dict[str, Callable[[], Content]] = {
        "/openapi.json": lambda: _document(is_open=app[SERVICES].authenticator.open),
        "/docs": partial(_file, "docs.html"),
        "/redoc": partial(_file, "redoc.html"),
        **{f"/static/{name}": partial(_file, name) for name in FILES},
    }
    for path, content in contents.items():
        app.router.add_get(path, _handler(content))
    app.router.add_get("/", _to_docs)
    app.router.add_get("/v1", _to_index)


async def _to_docs(_: web.Request) -> web.Response:
    """Redirect users who open the URL that `aorch serve` prints."""
    return web.Response(status=307, text="See /docs.\n", headers={"Location": "/docs"})


async def _to_index(_: web.Request) -> web.Response:
    """Redirect to the index of the API, whose path ends with a slash."""
    return web.Response(status=308, text="See /v1/.\n", headers={"Location": "/v1/"})


def _handler(content: Callable[[], Content]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.Response:
        found = content()
        if any(known.value in (found.etag, "*") for known in request.if_none_match or ()):
            response = web.Response(status=304)
        else:
            response = web.Response(body=found.body, headers={"Content-Type": found.content_type})
        response.etag = found.etag
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = found.policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return serve


@cache
def _file(name: str) -> Content:
    path = STATIC / name
    content = _content(path.read_bytes(), path.suffix)
    return Content(content.body, content.content_type, content.etag, _POLICIES.get(name, content.policy))


@cache
def _document(*, is_open: bool) -> Content:
    return _content(jsonio.encode(openapi.document(is_open=is_open)).encode(), ".json")


def _content(body: bytes, suffix: str) -> Content:
    return Content(body, _TYPES[suffix], hashlib.sha256(body).hexdigest()[:32])
