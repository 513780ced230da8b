"""The live page at `/`: its HTML, and its scripts and styles under /ui/VERSION/.

It has no build step: the files are served as they are in the package. VERSION is a hash of all of them, so browsers keep a file
for ever, and never mix files of two versions. The page contains no data, so it needs no token; it reads everything from /v1.
"""

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from aiohttp import web

from aorch.server.page_files import CHECK_AGAIN, CLOSED, Content, content_of, handler_of

FOLDER = Path(__file__).with_name("ui")
VENDORED = {
    "preact.js": "htm/standalone.module.js",
    "uplot.js": "uplot/uPlot.iife.min.js",
    "uplot.css": "uplot/uPlot.min.css",
}
"""Files from npm, by the name under which the page loads them."""
KEPT = "public, max-age=31536000, immutable"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The page's Content-Security-Policy.

No script can be made from text: the page may create no Trusted Types policy, so `innerHTML` and the like throw.
"""


def files() -> dict[str, Path]:
    """Return the scripts, styles and images of the page by name."""
    own = {path.name: path for path in sorted(FOLDER.iterdir()) if path.suffix in (".js", ".css", ".svg")}
    static = FOLDER.with_name("static")
    return {**own, **{name: static / path for name, path in VENDORED.items()}}


def add_live_page(app: web.Application) -> None:
    """Add `/` and the files of the page."""
    contents: dict[str, Callable[[], Content]] = {
        "/": page,
        **{f"/ui/{version()}/{name}": partial(_file, name) for name in files()},
    }
    for path, content in contents.items():
        app.router.add_get(path, handler_of(content))


@cache
def version() -> str:
    """Return a hash of all files."""
    summed = hashlib.sha256()
    for name, path in files().items():
        summed.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return summed.hexdigest()[:12]


@cache
def page() -> Content:
    """Return the HTML. Its links are relative, so the page also works below a path of a proxy.

    It names all modules, so that browsers load them at once and not one after the other.
    """
    modules = [name for name in files() if name.endswith(".js") and name not in ("app.js", "uplot.js")]
    links = "\n  ".join(f'<link rel="modulepreload" href="ui/{version()}/{name}">' for name in modules)
    text = (FOLDER / "index.html").read_text("utf-8").replace("{{modules}}", links).replace("{{version}}", version())
    return content_of(text.encode(), ".html", POLICY, CHECK_AGAIN)


@cache
def _file(name: str) -> Content:
    path = files()[name]
    return content_of(path.read_bytes(), path.suffix, CLOSED, KEPT)
