"""The documentation pages: Swagger UI at /docs, ReDoc at /redoc, and /openapi.json, which both show.

All files are part of the package, so they work without internet. They need no token, because they describe the API and contain
no data.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from aiohttp import web

from aorch import jsonio
from aorch.server import openapi
from aorch.server.page_files import CLOSED, Content, content_of, handler_of
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

_SCRIPTS_OF_THE_PACKAGE = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
)
_POLICIES = {
    "docs.html": _SCRIPTS_OF_THE_PACKAGE + "style-src 'self'",
    # ReDoc creates two kinds of <style>: empty ones that it fills through CSSOM, and the rules of its scroll bar. Only inline
    # styles with these hashes are allowed. It searches in a worker that it creates from a blob.
    "redoc.html": _SCRIPTS_OF_THE_PACKAGE + "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; worker-src blob:",
}
"""The Content-Security-Policy of each page: only the package's scripts, nothing from other hosts, no eval."""


def add_pages(app: web.Application) -> None:
    """Add /openapi.json, /docs, /redoc, and their files under /static/."""
    contents: dict[str, Callable[[], Content]] = {
        "/openapi.json": lambda: _document(is_open=app[SERVICES].authenticator.open),
        "/docs": partial(_file, "docs.html"),
        "/redoc": partial(_file, "redoc.html"),
        **{f"/static/{name}": partial(_file, name) for name in FILES},
    }
    for path, content in contents.items():
        app.router.add_get(path, handler_of(content))
    app.router.add_get("/v1", _to_index)


async def _to_index(_: web.Request) -> web.Response:
    """Redirect to the index of the API, whose path ends with a slash."""
    return web.Response(status=308, text="See /v1/.\n", headers={"Location": "/v1/"})


@cache
def _file(name: str) -> Content:
    path = STATIC / name
    return content_of(path.read_bytes(), path.suffix, _POLICIES.get(name, CLOSED))


@cache
def _document(*, is_open: bool) -> Content:
    return content_of(jsonio.encode(openapi.document(is_open=is_open)).encode(), ".json")
