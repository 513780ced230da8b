"""The live page in a real browser: it follows the ledger, and whatever the ledger contains stays text."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import chromium
import pytest
import shared
from api import ask
from chromium import needs_chromium, watched_page
from homes import Home
from serving import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.torture, needs_chromium]

home, server, browser = shared.home, shared.server, chromium.browser
HOSTILE = (
    """<img src=x onerror=alert(1)><script>alert(2)</script>'"`${alert(3)}{{alert(4)}}&lt;b&gt; javascript:alert(5)"""
)


DELEGATING = """
[agents.shell]
command = ["sh", "-c", "cat"]
capabilities.say.description = "Answer at once"

[agents.waiting]
command = ["sh", "-c", "until test -e go; do sleep 0.05; done"]
capabilities.wait.description = "Wait for a file"

[pipelines.both]
[[pipelines.both.steps]]
name = "first"
capability = "say"

[[pipelines.both.steps]]
name = "then"
capability = "wait"
parameters = { after = "{steps.first.data}" }
"""


@pytest.fixture
def page(browser: "Browser", server: Server) -> "Iterator[Page]":
    """The live page."""
    with watched_page(browser, server.url, viewport={"width": 1280, "height": 900}) as page:
        yield page


def test_an_exchange_appears_as_it_happens_and_opens_in_full(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    page.goto(f"{server.url}/#/live?session=as+it+happens")
    expect(page.get_by_text("Following")).to_be_visible()
    done = ask(server, "fail", session="as it happens").json()
    row = page.locator(".rows li")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("no such table")
    page.get_by_role("link", name="fail").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("fail")
    expect(page.get_by_role("region", name="Error", exact=True)).to_contain_text("exit code 3: no such table")
    expect(page.get_by_text(done["contract_id"]).first).to_be_visible()


def test_a_paused_list_stays_and_counts_what_comes(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    page.goto(f"{server.url}/#/live?session=paused")
    expect(page.get_by_text("Following")).to_be_visible()
    ask(server, session="paused")
    expect(page.locator(".rows li")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    for _ in range(3):
        ask(server, session="paused")
    expect(page.get_by_role("button", name="3 new exchanges: show")).to_be_visible()
    expect(page.locator(".rows li")).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".rows li")).to_have_count(4)


def test_hostile_names_and_values_are_text(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    done = ask(server, session=HOSTILE, parameters={"text": HOSTILE}, from_agent=HOSTILE).json()
    ask(server, HOSTILE, session=HOSTILE)
    page.goto(f"{server.url}/#/live")
    expect(page.locator(".rows").get_by_role("link", name=HOSTILE).first).to_be_visible()
    page.goto(f"{server.url}/#/exchanges/{done['contract_id']}")
    expect(page.get_by_role("region", name="Result")).to_contain_text("onerror=alert(1)")
    assert page.locator("main img, main script").count() == 0


def test_no_script_can_be_made_from_text(browser: "Browser", server: Server) -> None:
    with watched_page(browser, server.url, expected="Trusted") as page:
        page.goto(server.url)
        page.get_by_role("heading", level=1).wait_for()
        threw = """() => {
            try { document.body.innerHTML = "<b>text</b>"; return "set"; } catch (error) { return error.name; }
        }"""
        assert page.evaluate(threw) == "TypeError"


def test_a_server_with_tokens_asks_for_one_and_shows_only_what_it_may_do(browser: "Browser", own_home: Home) -> None:
    from playwright.sync_api import expect

    tokens = "a-token-of-the-token-file read name=reader\nanother-token-of-the-file read,run name=runner\n"
    own_home.write("tokens", tokens).chmod(0o600)
    with serving(own_home, "--token-file", "tokens") as server:
        runner = {"Authorization": "Bearer another-token-of-the-file"}
        done = ask(server, headers=runner).json()
        with watched_page(browser, server.url, expected="Failed to load resource") as page:
            page.goto(f"{server.url}/#/exchanges/{done['contract_id']}")
            page.get_by_label("Token").fill("a-token-that-nobody-knows")
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("alert")).to_contain_text("does not know this token")
            page.get_by_label("Token").fill("a-token-of-the-token-file")
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("echo")
            assert page.get_by_role("button", name="Run again").count() == 0
            kept = "() => [Object.values(sessionStorage), localStorage.length, document.cookie]"
            assert page.evaluate(kept) == [["a-token-of-the-token-file"], 0, ""]
            page.get_by_role("button", name="Forget the token").click()
            page.get_by_label("Token").fill("another-token-of-the-file")
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("button", name="Run again")).to_be_visible()


def test_filters_are_in_the_address_and_stay_when_the_page_is_loaded_again(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    ask(server, session="filtered")
    ask(server, "uppercase", session="filtered")
    page.goto(f"{server.url}/#/live?session=filtered")
    expect(page.locator(".rows li")).to_have_count(2)
    page.get_by_label("Capability").fill("uppercase")
    expect(page.locator(".rows li")).to_have_count(1)
    assert page.url.endswith("#/live?session=filtered&capability=uppercase")
    page.reload()
    expect(page.locator(".rows li")).to_have_count(1)
    expect(page.get_by_label("Capability")).to_have_value("uppercase")
    page.get_by_label("Capability").fill("nothing of this name")
    expect(page.get_by_role("heading", name="No exchange matches")).to_be_visible()


def test_the_list_is_narrowed_to_one_caller_also_for_what_comes(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    ask(server, session="called", from_agent="ann")
    ask(server, session="called")
    page.goto(f"{server.url}/#/live?session=called")
    expect(page.locator(".rows li")).to_have_count(2)
    page.get_by_label("Caller").fill("ann")
    expect(page.locator(".rows li")).to_have_count(1)
    expect(page.get_by_text("Following")).to_be_visible()
    ask(server, "uppercase", session="called")
    ask(server, "fail", session="called", from_agent="ann")
    expect(page.locator(".rows li")).to_have_count(2)
    expect(page.locator(".rows li").first).to_contain_text("for ann")
    page.get_by_role("link", name="fail").click()
    page.get_by_role("link", name="ann").click()
    expect(page).to_have_url(f"{server.url}/#/live?caller=ann")


def test_an_exchange_shows_the_tasks_that_its_agent_delegated_as_they_come(browser: "Browser", own_home: Home) -> None:
    from playwright.sync_api import expect

    own_home.write("aorch.toml", DELEGATING)
    with serving(own_home) as server, watched_page(browser, server.url) as page:
        task = server.post("/v1/tasks", json={"capability": "both", "session_id": "s"}).json()["contract_id"]
        page.goto(f"{server.url}/#/exchanges/{task}")
        delegated = page.get_by_role("region", name="Delegated tasks").locator("tbody tr")
        expect(delegated).to_have_count(2)
        expect(delegated.last.get_by_title("in progress")).to_be_visible()
        own_home.write("go", "")
        expect(page.get_by_role("button", name="Run again")).to_be_visible()
        expect(delegated).to_have_text(
            [re.compile("^completed.*say.*step first"), re.compile("^completed.*wait.*step then")]
        )
        delegated.last.get_by_role("link", name="wait").click()
        page.get_by_role("definition").get_by_role("link", name=task[-6:]).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("both")


def test_typing_is_not_disturbed_by_exchanges_that_come(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    page.goto(f"{server.url}/#/live?session=typed")
    expect(page.get_by_text("Following")).to_be_visible()
    for number in range(12):
        ask(server, session="typed")
        page.get_by_label("Agent").press("x" if number % 2 else "y")
    expect(page.get_by_label("Agent")).to_have_value("yx" * 6)
    expect(page.get_by_role("heading", name="No exchange matches")).to_be_visible()
    expect(page).to_have_url(f"{server.url}/#/live?session=typed&agent={'yx' * 6}")


def test_the_diagram_the_tree_and_the_table_of_a_session_follow_it(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    for session, view, element in (
        ("drawn", "", ".diagram svg a"),
        ("grown", "tree", ".bars tbody tr"),
        ("listed", "table", "tbody tr"),
    ):
        ask(server, session=session)
        page.goto(f"{server.url}/#/sessions/{session}?view={view}")
        expect(page.locator(element)).to_have_count(1)
        ask(server, "fail", session=session)
        expect(page.locator(element)).to_have_count(2)
        expect(page.locator("main")).to_contain_text("fail")


def test_a_queued_task_can_be_cancelled(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    task = {"capability": "echo", "session_id": "cancelled", "not_before": "2999-01-01T09:00:00Z"}
    page.goto(f"{server.url}/#/queue")
    expect(page.get_by_role("heading", name="The queue is empty")).to_be_visible()
    queued = server.post("/v1/tasks", json={**task, "parameters": {"text": "never"}}).json()["contract_id"]
    page.get_by_role("region", name="Tasks").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="The queue is empty")).to_be_visible()
    assert server.get(f"/v1/tasks/{queued}").json()["status"] == "cancelled"


def test_an_agent_can_be_checked_and_a_registered_one_drained(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    capability = {"name": "translate", "description": "Translate text"}
    agent = {"agent_id": "translator", "endpoint": "http://127.0.0.1:9", "capabilities": [capability], "ttl_s": 3600}
    assert server.post("/v1/agents/register", json=agent).status_code == 201
    page.goto(f"{server.url}/#/agents")
    configured = page.locator(".card").filter(has_text="parrot")
    expect(configured.get_by_role("button", name="Drain")).to_have_count(0)
    registered = page.locator(".card").filter(has=page.get_by_role("heading", name="translator"))
    registered.get_by_role("button", name="Check").click()
    expect(page.get_by_text("translator was checked.")).to_be_visible()
    expect(registered).to_contain_text("offline")
    expect(registered).to_contain_text("Lease ends")
    registered.get_by_role("button", name="Drain").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(registered).to_contain_text("draining")
    server.client.delete("/v1/agents/translator").raise_for_status()


def test_a_claim_leads_to_the_contract_that_it_comes_from(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    ask(server, "fail", session="remembered", parameters={"table": "orders"})
    server.post("/v1/compress", json={"session_id": "remembered"}).raise_for_status()
    page.goto(f"{server.url}/#/memory?text=orders")
    page.locator(".claims .sources a").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("fail")


def test_the_charts_say_what_the_statistics_say(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    for capability in ("echo", "echo", "fail"):
        ask(server, capability, session="charted")
    page.goto(f"{server.url}/#/charts?session=charted&range=hour&view=table")
    total = page.locator(".tiles")
    expect(total).to_contain_text("Exchanges3")
    expect(total).to_contain_text("Failed33.3 %")
    page.get_by_role("link", name="Charts", exact=True).last.click()
    expect(page.locator(".chart canvas")).to_have_count(3)  # nothing was queued, and no model was used


def test_large_whole_numbers_keep_all_their_digits(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    large = 123456789012345678901234567890
    done = ask(server, "parrot", session="exact", parameters={"large": large, "small": 1.5}).json()["contract_id"]
    page.goto(f"{server.url}/#/exchanges/{done}")
    expect(page.get_by_role("region", name="Parameters")).to_contain_text(f'"large": {large}')
    expect(page.get_by_role("region", name="Result")).to_contain_text(f"{large}")


def test_a_result_that_is_one_text_is_shown_as_text(page: "Page", server: Server) -> None:
    from playwright.sync_api import expect

    done = ask(server, session="text", parameters={"text": "two\nlines"}).json()["contract_id"]
    page.goto(f"{server.url}/#/exchanges/{done}")
    expect(page.get_by_role("region", name="Result")).to_have_text("Echo: two\nlines")
    page.get_by_text("The contracts as JSON").click()
    expect(page.get_by_role("region", name="The RESPONSE as JSON")).to_contain_text('"message": "Echo: two\\nlines"')


def test_the_page_asks_for_a_token_again_once_it_is_revoked(browser: "Browser", own_home: Home) -> None:
    from playwright.sync_api import expect

    token = own_home.aorch("tokens", "create", "reader", "--scope", "read").out.split()[0]
    with serving(own_home) as server, watched_page(browser, server.url, expected="Failed to load resource") as page:
        page.goto(server.url)
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_text("Following")).to_be_visible()
        assert own_home.aorch("tokens", "revoke", "reader").code == 0
        expect(page.get_by_role("alert")).to_contain_text("does not know this token")
