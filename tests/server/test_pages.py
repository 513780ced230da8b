"""/docs, /redoc and /openapi.json: served from the package, without a token, and with a strict content policy."""

import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import chromium
import pytest
import shared
from chromium import needs_chromium, watched_page
from homes import Home
from serving import Server, serving

from aorch.server import docs_pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.torture  # a real browser

PAGES = ("/docs", "/redoc")
home, server, browser = shared.home, shared.server, chromium.browser


@pytest.fixture
def page(browser: "Browser", server: Server) -> "Iterator[Page]":
    """A page that sends requests to the server only."""
    with watched_page(browser, server.url, viewport={"width": 1400, "height": 1200}) as page:
        yield page


@needs_chromium
def test_swagger_ui_executes_orchestrate_by_its_try_it_out(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    page.goto(f"{server.url}/docs")
    operation = page.locator("#operations-tasks-orchestrate")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    task = '{"session_id": "by hand", "capability": "echo", "parameters": {"text": "from a browser"}}'
    operation.locator("textarea.body-param__text").fill(task)
    operation.get_by_role("button", name="Execute", exact=True).click()
    answer = operation.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status")).to_contain_text("200")
    expect(answer).to_contain_text("Echo: from a browser")
    (asked, answered) = server.get("/v1/contracts", params={"session_id": "by hand"}).json()["contracts"]
    assert asked["payload"] == {"text": "from a browser"}
    assert answered["result"] == {"message": "Echo: from a browser"}


@needs_chromium
def test_swagger_ui_shows_every_operation(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    page.goto(f"{server.url}/docs")
    operations = server.get("/openapi.json").json()["paths"]
    expect(page.locator(".opblock")).to_have_count(sum(len(item) for item in operations.values()))


@needs_chromium
def test_redoc_shows_every_operation_and_finds_them_by_a_word(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    page.goto(f"{server.url}/redoc")
    for item in server.get("/openapi.json").json()["paths"].values():
        for operation in item.values():
            section = page.locator(f"[id='tag/{operation['tags'][0]}/operation/{operation['operationId']}']")
            expect(section.locator("h2").first).to_have_text(operation["summary"])
    page.get_by_placeholder("Search").fill("orchestrate")
    expect(page.locator("[data-role='search:results'] [role=menuitem]").last).to_contain_text("Execute a task now")


@pytest.mark.parametrize("path", PAGES)
def test_the_policy_of_a_page_allows_only_the_package_s_files(server: Server, path: str) -> None:
    answer = server.get(path)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(rule.strip().split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"https?:|\*", answer.headers["Content-Security-Policy"])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_refers_only_to_files_that_the_server_has(server: Server, path: str) -> None:
    text = server.get(path).text
    assert not re.search(r"<(script|style)>|\son\w+=|style=", text)
    named = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert named
    for address in named:
        assert not re.match(r"\w+:|/", address), "relative, so that it works below a proxy's path as well"
        assert server.get(f"/{address}").status_code == 200


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", *(f"/static/{name}" for name in docs_pages.FILES)])
def test_a_file_that_a_browser_has_is_not_sent_again(server: Server, path: str) -> None:
    first = server.get(path)
    assert first.status_code == 200
    assert first.headers["Cache-Control"] == "no-cache"
    for known in (first.headers["ETag"], f"W/{first.headers['ETag']}"):  # a proxy that compresses makes it weak
        again = server.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert server.get(path, headers={"If-None-Match": '"another"'}).status_code == 200


def test_nothing_else_of_the_package_is_served(server: Server) -> None:
    for path in (
        "/static/",
        "/static/README.md",
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/docs.html",
    ):
        assert server.get(path).status_code == 404


def test_the_pages_need_no_token_even_if_the_api_does(own_home: Home) -> None:
    own_home.write("tokens", "a-token-of-the-token-file\n").chmod(0o600)
    with serving(own_home, "--token-file", "tokens") as server:
        assert server.get("/v1/agents").status_code == 401
        for path in (*PAGES, "/openapi.json", "/static/docs.js"):
            assert server.get(path).status_code == 200
        assert server.get("/openapi.json").json()["paths"]["/v1/agents"]["get"]["security"] == [{"bearer": ["read"]}]


def test_the_shipped_files_are_those_of_npm() -> None:
    sums = re.findall(r"^([0-9a-f]{64})  (\S+)$", (docs_pages.STATIC / "README.md").read_text(), re.MULTILINE)
    shipped = {f"{path.parent.name}/{path.name}" for path in docs_pages.STATIC.glob("*/*")}
    assert {name for _, name in sums} == shipped
    for digest, name in sums:
        assert hashlib.sha256((docs_pages.STATIC / name).read_bytes()).hexdigest() == digest, name
