"""A program that embeds aorch notices agents that are registered, change, drain and leave while it runs."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_program import Endpoint, endpoint
from homes import Home
from serving import Server, serving
from waiting import WAIT_S

from aorch import Orchestrator
from aorch.agents.agent_document import AgentDocument, DocumentCapability
from aorch.clock import now
from aorch.config.settings import Config
from aorch.engine.registrations import LONGEST_SLEEP_S, Registrations

LATE_S = 1.0
"""How late a program may notice a change."""
REGISTER = "/v1/agents/register"


@pytest.fixture(scope="module")
def remote() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


async def sent(send: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Send a request to the server without blocking the loop of the orchestrator."""
    answer = await asyncio.to_thread(send, *arguments, **options)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def becomes(holds: Callable[[], bool]) -> float:
    """Wait until `holds()`; returns after how many seconds."""
    started = time.monotonic()
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110  the program that embeds aorch has no event for it
            await asyncio.sleep(0.01)
    return time.monotonic() - started


def agent(url: str, **more: Any) -> dict[str, Any]:
    return {"agent_id": "late", "endpoint": f"{url}/fine", "capabilities": [{"name": "work"}], **more}


async def lives_through(orchestrator: Orchestrator, server: Server, remote: Endpoint) -> list[float]:
    """Use the agent while it comes, changes, drains and goes. Returns how late each change was noticed."""
    registry, late = orchestrator.registry, []
    await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "hi"}})
    await sent(server.post, REGISTER, json=agent(remote.url))
    late.append(await becomes(lambda: bool(registry.with_capability("work"))))
    assert (await orchestrator.orchestrate("s", {"capability": "work"}))["agent_id"] == "late"
    await sent(server.post, REGISTER, json=agent(remote.url, labels={"gpu": "yes"}))
    late.append(await becomes(lambda: registry.get("late").has_labels({"gpu": "yes"})))
    assert (await orchestrator.orchestrate("s", {"capability": "work", "require": {"gpu": "yes"}}))["success"]
    await sent(server.post, "/v1/agents/late/drain")
    late.append(await becomes(lambda: registry.get("late").as_dict()["status"] == "draining"))
    refused = await orchestrator.orchestrate("s", {"capability": "work"})
    assert "takes no new ones" in str(refused["error"])
    await sent(server.client.delete, "/v1/agents/late")
    late.append(await becomes(lambda: registry.find("late") is None))
    await becomes(lambda: not registry.has_removed())  # its connections are closed in their own loop
    return late


async def test_a_program_notices_agents_that_come_change_drain_and_leave_within_a_second(
    home: Home, remote: Endpoint
) -> None:
    with serving(home) as server:
        async with Orchestrator(home.ledger) as orchestrator:
            late = await lives_through(orchestrator, server, remote)
    assert min(late) < LATE_S  # each is, on an idle machine


async def test_a_registration_that_ends_without_a_heartbeat_ends_in_the_program_too(
    home: Home, remote: Endpoint
) -> None:
    with serving(home) as server:
        async with Orchestrator(home.ledger) as orchestrator:
            await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "hi"}})
            await sent(server.post, REGISTER, json=agent(remote.url, ttl_s=1.5))
            await becomes(lambda: orchestrator.registry.find("late") is not None)
            server.kill()  # nothing writes to the ledger any more
            await becomes(lambda: orchestrator.registry.get("late").as_dict()["status"] == "offline")
            assert "its registration ended" in str(orchestrator.registry.get("late").problem())


async def test_a_lease_that_ends_after_the_registry_was_read_is_not_overlooked(home: Home, remote: Endpoint) -> None:
    """Until the next commit, which may never come."""
    async with Orchestrator(home.ledger) as orchestrator:
        executor = orchestrator.executor
        registrations = Registrations(Config(home.ledger), orchestrator.registry, executor.ledger)
        capabilities = [DocumentCapability(name="work")]
        document = AgentDocument(agent_id="late", name="Late", endpoint=f"{remote.url}/fine", capabilities=capabilities)
        await registrations.register(document, 0.5, "")
        (row,) = executor.ledger.agents.all()
        was_seen = orchestrator.registry.get("late").problem() is not None  # on a machine that is that slow
        await becomes(lambda: row.has_ended(now()))
        assert was_seen or registrations.sleep_s() < LONGEST_SLEEP_S


def test_event_loops_that_follow_each_other_notice_them_too(home: Home, remote: Endpoint) -> None:
    """A program may call `asyncio.run` several times with one orchestrator."""
    with serving(home) as server:
        orchestrator = Orchestrator(home.ledger)

        async def notices(agent_id: str) -> None:
            await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "hi"}})
            await sent(server.post, REGISTER, json=agent(remote.url, agent_id=agent_id))
            await becomes(lambda: orchestrator.registry.find(agent_id) is not None)

        asyncio.run(notices("first"))
        asyncio.run(notices("second"))
        asyncio.run(orchestrator.aclose())


async def test_a_program_that_only_submits_tasks_knows_the_agents_of_now(home: Home, remote: Endpoint) -> None:
    with serving(home) as server:
        async with Orchestrator(home.ledger) as orchestrator:
            await orchestrator.submit("s", {"capability": "echo", "parameters": {"text": "hi"}})
            await sent(server.post, REGISTER, json=agent(remote.url))
            await becomes(lambda: orchestrator.registry.find("late") is not None)
            request_id = await orchestrator.submit("s", {"capability": "work"})
            answer = await orchestrator.wait(request_id, WAIT_S)
    assert answer is not None
    assert answer["agent_id"] == "late"


@pytest.mark.sqlite_only("the file is moved")
async def test_a_ledger_that_cannot_be_read_is_logged_once_and_followed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = tmp_path / "ledger.db"
    async with Orchestrator(ledger) as orchestrator:
        await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "hi"}})
        ledger.rename(tmp_path / "elsewhere.db")
        await becomes(lambda: "the registered agents are not up to date" in caplog.text)
        (tmp_path / "elsewhere.db").rename(ledger)
        answer = await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "again"}})
    assert answer["success"]
    assert caplog.text.count("the registered agents are not up to date") == 1
