"""Every view of the live page in a real browser, in both colour schemes and on narrow screens: legible, accessible, inert."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import pytest
from chromium import needs_chromium, watched_page
from homes import Home, empty_home
from live_pages import HOSTILE, SIZES, fill, with_pipeline
from node_packages import install
from serving import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.torture, needs_chromium]

browser = chromium.browser
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CHECK = """async (tags) => (await axe.run(document, {runOnly: {type: "tag", values: tags}})).violations.map(
    (found) => [found.id, found.help, found.nodes.map((node) => node.html.slice(0, 200))]
)"""
NOT_FOUND = "404 (Not Found)"


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    """A home with agents and a pipeline."""
    return with_pipeline(module_home)


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[Server]:
    """A server that the tests of this module share."""
    with serving(home) as server:
        yield server


@pytest.fixture(scope="module")
def views(server: Server) -> dict[str, str]:
    """The address of each view."""
    return fill(server)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    programs = install(tmp_path_factory.getbasetemp().parent / "axe-core", ("axe-core",))
    return (programs.parent / "axe-core" / "axe.min.js").read_text()


def settle(page: "Page") -> None:
    """Wait until the view has read what it shows."""
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function("() => !document.querySelector('.loading')")


def open_view(page: "Page", server: Server, address: str) -> None:
    page.goto(f"{server.url}/{address}")
    settle(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_view_violates_wcag_2_2_aa_or_best_practice(
    browser: "Browser", server: Server, views: dict[str, str], axe: str, scheme: str, size: str
) -> None:
    found: dict[str, list[str]] = {}
    options = {"color_scheme": scheme, "viewport": SIZES[size], "bypass_csp": True, "reduced_motion": "reduce"}
    with watched_page(browser, server.url, expected=NOT_FOUND, **options) as page:
        for name, address in views.items():
            open_view(page, server, address)
            page.evaluate(axe)
            for rule, about, elements in page.evaluate(CHECK, RULES):
                found.setdefault(f"{rule}: {about}: {elements[0]}", []).append(name)
    assert found == {}


def test_no_view_is_wider_than_a_narrow_screen(browser: "Browser", server: Server, views: dict[str, str]) -> None:
    with watched_page(browser, server.url, expected=NOT_FOUND, viewport=SIZES["narrow"]) as page:
        for name, address in views.items():
            open_view(page, server, address)
            assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["narrow"]["width"], name


def test_hostile_strings_run_nothing_in_any_view(browser: "Browser", server: Server, views: dict[str, str]) -> None:
    with watched_page(browser, server.url, expected=NOT_FOUND, viewport=SIZES["wide"]) as page:
        for name, address in views.items():
            open_view(page, server, address)
            made = "main :is(img, script, iframe, object, embed, [onerror], [onclick], [onmouseover])"
            assert page.locator(made).count() == 0, name
            assert page.locator("a[href^='javascript:' i]").count() == 0, name
        open_view(page, server, views["hostile session"])
        assert page.get_by_role("heading", level=1).inner_text() == HOSTILE


def test_an_empty_ledger_says_in_every_view_what_to_do(
    browser: "Browser", tmp_path: Path, views: dict[str, str], axe: str
) -> None:
    with (
        serving(empty_home(tmp_path)) as server,
        watched_page(browser, server.url, viewport=SIZES["wide"], bypass_csp=True) as page,
    ):
        for name in ("live", "sessions", "queue", "memory", "search", "charts"):
            open_view(page, server, views[name])
            assert page.locator(".empty h2").count() == 1, name
            assert page.locator(".empty p").count() == 1, name
            page.evaluate(axe)
            assert page.evaluate(CHECK, RULES) == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_question_for_a_token_violates_nothing_either(
    browser: "Browser", tmp_path: Path, axe: str, scheme: str
) -> None:
    home = empty_home(tmp_path)
    home.write("tokens", "a-token-of-the-token-file run name=runner\n").chmod(0o600)
    options = {"color_scheme": scheme, "viewport": SIZES["narrow"], "bypass_csp": True}
    with serving(home, "--token-file", "tokens") as server, watched_page(browser, server.url, **options) as page:
        open_view(page, server, "")
        page.get_by_label("Token").fill("a-token-of-the-token-file")
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("This token lacks the scope read.").wait_for()
        page.evaluate(axe)
        assert page.evaluate(CHECK, RULES) == []


def test_nothing_moves_if_the_reader_prefers_so(browser: "Browser", server: Server, views: dict[str, str]) -> None:
    with watched_page(browser, server.url, reduced_motion="reduce") as page:
        open_view(page, server, views["live"])
        assert page.evaluate("document.getAnimations({subtree: true}).length") == 0
        moving = "getComputedStyle(document.querySelector('.rows li')).animationName"
        assert page.evaluate(moving) == "none"


def test_everything_can_be_reached_and_done_by_the_keyboard(
    browser: "Browser", server: Server, views: dict[str, str]
) -> None:
    from playwright.sync_api import expect

    with watched_page(browser, server.url, viewport=SIZES["wide"]) as page:
        open_view(page, server, views["live"])

        def tab_to(name: str) -> None:
            for _ in range(60):
                page.keyboard.press("Tab")
                if page.evaluate("document.activeElement.textContent").startswith(name):
                    return
            raise AssertionError(f"Tab does not reach {name}")

        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        tab_to("fail")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1, name="fail")).to_be_focused()
        tab_to("Run again")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.get_by_role("button", name="Run again")).to_be_focused()
        page.keyboard.press("Enter")
        tab_to("Run again")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="queued again")).to_be_visible()
        assert views["failed exchange"] not in page.url
        expect(page.get_by_role("region", name="Error", exact=True)).to_contain_text("no such table")
