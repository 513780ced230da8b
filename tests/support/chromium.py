"""A real Chromium without a window, and pages whose console messages, errors and requests are checked."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SLOW_MS = 30_000
"""Time for a megabyte of JavaScript on a busy machine."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium, which .ci/run installs")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A Chromium that can only reach this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def watched_page(browser: "Browser", url: str, *, expected: str | None = None, **options: Any) -> "Iterator[Page]":
    """A page whose scripts say nothing to the console, fail at nothing, and ask no server but that at `url`.

    `expected`: a part of messages that may occur.
    """
    from playwright.sync_api import expect

    complaints: list[str] = []
    asked: list[str] = []
    page = browser.new_page(**options)
    page.set_default_timeout(SLOW_MS)
    expect.set_options(timeout=SLOW_MS)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert [text for text in complaints if expected is None or expected not in text] == []
    assert [address for address in asked if not address.startswith((f"{url}/", f"blob:{url}/", "data:"))] == []
