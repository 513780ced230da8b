"""The state of an agent that is an HTTP endpoint, its table in aorch.toml, and its capabilities."""

import asyncio
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_program import Endpoint, asked, endpoint
from homes import Home

from aorch import AgentCapability, Orchestrator
from aorch.agents import kinds
from aorch.agents.http_endpoint import HttpAgent
from aorch.config.settings import Config
from aorch.errors import ConfigInvalid

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    """The agents of endpoint_program.py."""
    with endpoint() as server:
        yield server


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("good", "available", None),
        ("busy", "busy", None),
        ("draining", "draining", "a new version starts"),
        ("sick", "error", "its /health answered 503: no disk"),
        ("closed", "offline", "its /health answered 503: "),
        ("odd", "error", "its /health reports the unknown status 'sleepy'"),
        (
            "silent",
            "error",
            "its /health answered 404: not found (set health = false if the endpoint has no /health)",
        ),
    ],
)
async def test_the_state_is_what_the_endpoint_reports(
    server: Endpoint, path: str, status: str, reason: str | None
) -> None:
    agent = HttpAgent("a", "A", endpoint=f"{server.url}/{path}", capabilities=[AgentCapability("work")])
    state = await agent.probe()
    await agent.close()
    assert (state.status, state.reason) == (status, reason)


@pytest.mark.torture
async def test_an_endpoint_that_does_not_answer_about_its_health_is_offline(orchestrator: Orchestrator) -> None:
    with endpoint() as server:
        agent = HttpAgent("a", "A", endpoint=f"{server.url}/asleep", capabilities=[AgentCapability("work")])
        orchestrator.register_agent(agent)
        refused = await orchestrator.orchestrate("s", {"capability": "work"})
    assert "(a: it did not answer within 5 s, offline since" in str(refused["error"])


async def test_a_flapping_endpoint_gets_tasks_while_it_is_available(orchestrator: Orchestrator) -> None:
    with endpoint() as server:
        agent = HttpAgent("a", "A", endpoint=f"{server.url}/flapping", capabilities=[AgentCapability("work")])
        orchestrator.register_agent(agent)
        registered = orchestrator.registry.get("a")
        states, answers = [], []
        for _ in range(4):
            await asked(server, "/x/flip")
            await orchestrator.registry.refresh([registered], max_age_s=0)
            states.append(registered.as_dict()["status"])
            answers.append((await orchestrator.orchestrate("s", {"capability": "work"}))["success"])
    assert states == ["offline", "available", "offline", "available"]
    assert answers == [False, True, False, True]


async def test_an_endpoint_that_claims_to_be_healthy_fails_each_task(
    server: Endpoint, orchestrator: Orchestrator
) -> None:
    agent = HttpAgent("a", "A", endpoint=f"{server.url}/broken", capabilities=[AgentCapability("work")])
    orchestrator.register_agent(agent)
    answers = [await orchestrator.orchestrate("s", {"capability": "work"}) for _ in range(2)]
    assert [str(each["error"]).partition("answered")[2][:5] for each in answers] == [" 500:", " 500:"]


async def test_without_health_checks_nothing_is_asked(orchestrator: Orchestrator) -> None:
    agent = HttpAgent("a", "A", endpoint="http://127.0.0.1:1", capabilities=[AgentCapability("work")], health=False)
    assert (await agent.probe()).status == "available"


async def test_capabilities_that_nothing_declares_are_read_when_a_task_needs_them(
    server: Endpoint, orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    orchestrator.register_agent(HttpAgent("a", "A", endpoint=f"{server.url}/good"))
    orchestrator.register_agent(HttpAgent("b", "B", endpoint="http://127.0.0.1:1"))
    assert orchestrator.registry.capabilities() == ["echo", "uppercase"]
    answers = await asyncio.gather(*(orchestrator.orchestrate("s", {"capability": "work"}) for _ in range(3)))
    assert [each["success"] for each in answers] == [True, True, True]
    unknown = await orchestrator.orchestrate("s", {"capability": "sleep"})
    assert "No agent available for capability: sleep" in str(unknown["error"])
    assert HttpAgent("a", "A", endpoint=f"{server.url}/good").get_capabilities()[0].name == "work"


async def test_an_endpoint_that_was_offline_is_asked_for_its_capabilities_again(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    states = []
    with endpoint() as server:
        orchestrator.register_agent(HttpAgent("a", "A", endpoint=f"{server.url}/good"))
        await orchestrator.registry.refresh(max_age_s=0)
        states.append(orchestrator.registry.capabilities()[2:])
    await orchestrator.registry.refresh(max_age_s=0)
    with endpoint(port=server.port):
        await asked(server, "/x/flip")
        await orchestrator.registry.refresh(max_age_s=0)
        states.append(orchestrator.registry.capabilities()[2:])
        assert (await orchestrator.orchestrate("s", {"capability": "rest"}))["success"]
    assert states == [["work"], ["work", "rest"]]


async def test_a_task_in_the_queue_also_finds_them(
    server: Endpoint, orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    orchestrator.register_agent(HttpAgent("a", "A", endpoint=f"{server.url}/good"))
    (found,) = await orchestrator.submit_all([("s", {"capability": "work"})])
    assert await orchestrator.cancel(found) == "cancelled"


def tables(home: Home) -> dict[str, Any]:
    return dict(tomllib.loads((home.folder / "aorch.toml").read_text()).get("agents", {}))


def test_add_reads_the_capabilities_from_the_endpoint_and_run_calls_it(server: Endpoint, home: Home) -> None:
    home.environment["WORK_TOKEN"] = "s3cret"
    url = f"{server.url}/good"
    assert home.aorch("agents", "add", "worker", "--url", url, "--token-env", "WORK_TOKEN").code == 0
    capability = {"description": "Work", "parameters": SCHEMA, "idempotent": True}
    assert tables(home) == {"worker": {"url": url, "token_env": "WORK_TOKEN", "capabilities": {"work": capability}}}
    done = home.aorch("run", "work", "text=hi")
    assert done.json["task"]["parameters"] == {"text": "hi"}
    assert done.json["headers"]["Authorization"] == "Bearer ***"
    shown = home.aorch("agents", "show", "worker")
    assert (url in home.aorch("agents", "show", "worker", "--json").out, "s3cret" in shown.out) == (True, False)
    assert "WORK_TOKEN" in shown.out


def test_add_with_a_capability_asks_nothing_and_run_reports_an_endpoint_that_is_down(home: Home) -> None:
    assert home.aorch("agents", "add", "w", "--url", "http://127.0.0.1:1/x/", "--capability", "work").code == 0
    assert home.aorch("agents", "list").code == 0
    failed = home.aorch("run", "work")
    assert (failed.code, "w (http://127.0.0.1:1/x/health) cannot be reached" in failed.err) == (3, True)
    assert "connection refused, offline since 20" in failed.err
    checked = home.aorch("agents", "check", "w")
    assert (checked.code, "cannot be reached" in " ".join(checked.out.split())) == (10, True)
    table = tables(home)["w"]
    home.write(
        "aorch.toml",
        f'[agents.w]\nurl = "{table["url"]}"\nhealth = false\n[agents.w.capabilities.work]\nretry = {{attempts = 1}}\n',
    )
    failed = home.aorch("run", "work")
    assert (failed.code, "w (http://127.0.0.1:1/x/execute) cannot be reached" in failed.err) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--url", "http://127.0.0.1:1"), 2, "the agent needs an ID"),
        (("w", "--url", "http://127.0.0.1:1"), 3, "(http://127.0.0.1:1/capabilities) cannot be reached"),
        (("w", "--url", "{server}/html"), 10, "which is not JSON"),
        (("w", "--url", "{server}/empty"), 10, "reports no capabilities"),
        (("w", "--url", "{server}/good", "--token-env", "NOT_SET"), 2, "NOT_SET, which is not set"),
        (("w", "--url", "ftp://a"), 2, "agents.w.url is invalid: it does not start with http:// or https://"),
        (("w", "--url", "http://a/b?c=d"), 2, "agents.w.url is invalid: it contains a query"),
        (("w", "--url", "http://a:b@c"), 2, "agents.w.url contains a user name or a password"),
        (("w", "--url", "http://a", "--stdin", "x"), 2, "--stdin cannot be used for an HTTP endpoint"),
    ],
)
def test_an_endpoint_that_cannot_be_added_is_rejected_with_the_reason(
    server: Endpoint, home: Home, arguments: tuple[str, ...], code: int, message: str
) -> None:
    failed = home.aorch("agents", "add", *(each.replace("{server}", server.url) for each in arguments))
    assert (failed.code, tables(home)) == (code, {})
    assert message in " ".join(failed.err.split())


def test_listing_and_completion_know_the_capabilities_of_the_last_time(server: Endpoint, home: Home) -> None:
    home.write("aorch.toml", f'[agents.w]\nurl = "{server.url}/cached"\n')
    assert home.aorch("agents", "list", "--json").json["agents"][1]["capabilities"] == []
    assert home.aorch("run", "work", "text=a").code == 0
    listed = home.aorch("agents", "list", "--json").json["agents"][1]["capabilities"]
    assert [each["name"] for each in listed] == ["work"]
    home.environment |= {"_AORCH_COMPLETE": "complete_bash", "COMP_WORDS": "aorch run wo", "COMP_CWORD": "2"}
    assert home.aorch().out == "work\n"


def test_the_limit_of_an_answer_must_be_above_0() -> None:
    config = Config(Path("ledger.db"), agents={"a": {"url": "http://a", "max_output_bytes": 0}})
    with pytest.raises(ConfigInvalid, match=r"agents\.a\.max_output_bytes is 0"):
        list(kinds.configured(config))
