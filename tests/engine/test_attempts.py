"""Further attempts at a task: when they are safe, which agent makes them, and what the ledger says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from ledgers import new_ledger
from serving import serving

from aorch import (
    Agent,
    AgentBusy,
    AgentCapability,
    AgentFailed,
    AgentLost,
    AgentTask,
    AgentUnreachable,
    Answer,
    Orchestrator,
    RetryPolicy,
    Task,
    report_progress,
)
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.attempt import Attempt

UNREACHABLE, LOST, FAILED = AgentUnreachable("refused"), AgentLost("broken"), AgentFailed("wrong")


class Flaky(Agent):
    """Raises what it was given, one after the other, and then succeeds. `calls` counts its calls."""

    def __init__(self, agent_id: str, *faults: Exception, **declared: Any) -> None:
        super().__init__(agent_id, agent_id)
        self.faults, self.calls = list(faults), 0
        self.capability = AgentCapability("work", retry=declared.pop("retry", RetryPolicy(backoff_s=0.01)), **declared)

    def get_capabilities(self) -> list[AgentCapability]:
        return [self.capability]

    async def execute(self, task: AgentTask) -> dict[str, object]:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        return {"success": True, "data": self.agent_id}


@asynccontextmanager
async def working(ledger: LedgerLocation, *agents: Agent) -> AsyncIterator[Orchestrator]:
    async with Orchestrator(ledger) as orchestrator:
        for agent in agents:
            orchestrator.register_agent(agent)
        yield orchestrator


def attempts(orchestrator: Orchestrator, answer: Answer) -> list[tuple[int, str, str | None, bool]]:
    found: list[Attempt] = orchestrator.executor.ledger.attempts(answer.contract_id)
    return [(each.number, each.agent_id, each.code, each.ended_at is not None) for each in found]


async def test_another_agent_is_tried_at_once_and_the_ledger_has_both_attempts(tmp_path: Path) -> None:
    first, second = Flaky("first", UNREACHABLE, retry=RetryPolicy(backoff_s=60)), Flaky("second")
    async with working(new_ledger(tmp_path), first, second) as orchestrator:
        answer = await orchestrator.perform(Task("work", {}, "s"))
        assert (answer.success, answer.data, answer.agent_id) == (True, "second", "second")
        assert attempts(orchestrator, answer) == [(1, "first", "agent_unreachable", True), (2, "second", None, True)]
        request, response = await orchestrator.get_contracts("s")
    assert (request["to_agent"], response["from_agent"]) == ("first", "second")
    tried = [{"agent_id": "first", "code": "agent_unreachable"}, {"agent_id": "second", "code": None}]
    assert (response["metadata"]["attempts"], response["metadata"]["tried"]) == (2, tried)


async def test_a_first_attempt_that_succeeds_has_no_row(tmp_path: Path) -> None:
    async with working(new_ledger(tmp_path), Flaky("only")) as orchestrator:
        answer = await orchestrator.perform(Task("work", {}, "s"))
        assert attempts(orchestrator, answer) == []


@pytest.mark.parametrize(
    ("fault", "idempotent", "calls", "code", "delivered", "retry_safe"),
    [
        (UNREACHABLE, False, 3, "agent_unreachable", False, True),
        (AgentBusy("full"), False, 3, "agent_busy", True, True),
        (LOST, True, 3, "agent_lost", None, True),
        (LOST, False, 1, "agent_lost", None, False),
        (FAILED, True, 1, "agent_failed", True, True),
        (AgentUnreachable("half sent", delivered=None), False, 1, "agent_unreachable", None, False),
    ],
)
async def test_only_what_is_safe_is_tried_again(
    tmp_path: Path,
    fault: Exception,
    idempotent: bool,
    calls: int,
    code: str,
    delivered: bool | None,
    retry_safe: bool,
) -> None:
    agent = Flaky("only", *[fault] * 9, idempotent=idempotent)
    async with working(new_ledger(tmp_path), agent) as orchestrator:
        answer = await orchestrator.perform(Task("work", {}, "s"))
        assert (answer.success, agent.calls) == (False, calls)
        assert len(attempts(orchestrator, answer)) == (calls if calls > 1 else 0)
        metadata = (await orchestrator.get_contracts("s"))[1]["metadata"]
    assert (metadata["code"], metadata["delivered"], metadata["retry_safe"]) == (code, delivered, retry_safe)
    assert metadata.get("attempts") == (calls if calls > 1 else None)


async def test_the_policy_of_the_capability_limits_attempts_and_names_codes(tmp_path: Path) -> None:
    more = Flaky("more", *[UNREACHABLE] * 4, retry=RetryPolicy(5, 0.001))
    never = Flaky("never", *[UNREACHABLE] * 4, retry=RetryPolicy(5, 0.001, ("agent_unreachable",)))
    for agent, calls in ((more, 5), (never, 1)):
        async with working(new_ledger(tmp_path, f"{agent.agent_id}.db"), agent) as orchestrator:
            answer = await orchestrator.perform(Task("work", {}, "s"))
        assert (answer.success, agent.calls) == (calls == 5, calls)


async def test_a_busy_agent_is_called_again_when_it_said_unless_time_ends_before(tmp_path: Path) -> None:
    soon = Flaky("soon", AgentBusy("full", retry_after_s=0.2), retry=RetryPolicy(backoff_s=60))
    late = Flaky("late", AgentBusy("full", retry_after_s=60))
    loop = asyncio.get_running_loop()
    async with working(new_ledger(tmp_path, "soon.db"), soon) as orchestrator:
        started = loop.time()
        assert (await orchestrator.perform(Task("work", {}, "s", timeout_s=30))).success
        assert loop.time() - started >= 0.2
    async with working(new_ledger(tmp_path, "late.db"), late) as orchestrator:
        answer = await orchestrator.perform(Task("work", {}, "s", timeout_s=30))
        assert (answer.success, answer.error, late.calls) == (False, "full", 1)


async def test_a_cancelled_task_makes_no_more_attempts(tmp_path: Path) -> None:
    agent = Flaky("only", *[UNREACHABLE] * 9, retry=RetryPolicy(3, backoff_s=30))
    async with working(new_ledger(tmp_path), agent) as orchestrator:
        task = asyncio.create_task(orchestrator.perform(Task("work", {}, "s")))
        await until(lambda: agent.calls)
        [request] = await orchestrator.get_contracts("s")
        await orchestrator.executor.ledger.cancel(request["contract_id"], "ann")
        answer = await task
        assert (answer.error, agent.calls) == ("cancelled by ann", 1)


@pytest.mark.parametrize(("fault", "delivered"), [(UNREACHABLE, False), (AgentBusy("full", retry_after_s=30), True)])
@pytest.mark.parametrize("by_caller", [True, False])
async def test_a_task_cancelled_in_a_pause_says_whether_an_agent_received_it(
    tmp_path: Path, fault: Exception, delivered: bool, by_caller: bool
) -> None:
    agent = Flaky("only", fault, retry=RetryPolicy(3, backoff_s=30))
    async with working(new_ledger(tmp_path), agent) as orchestrator:
        task = asyncio.create_task(orchestrator.perform(Task("work", {}, "s")))
        await until(lambda: agent.calls)
        [request] = await orchestrator.get_contracts("s")
        if by_caller:
            task.cancel()
        else:
            await orchestrator.executor.ledger.cancel(request["contract_id"], "ann")
        await asyncio.wait((task,))
        metadata = (await orchestrator.get_contracts("s"))[1]["metadata"]
    assert (metadata["code"], metadata["delivered"], metadata["retry_safe"]) == ("cancelled", delivered, True)


async def test_an_agent_that_cannot_be_reached_is_tried_again_after_it_was_busy(tmp_path: Path) -> None:
    agent = Flaky("only", AgentBusy("full"), UNREACHABLE)
    async with working(new_ledger(tmp_path), agent) as orchestrator:
        answer = await orchestrator.perform(Task("work", {}, "s"))
    assert (answer.success, agent.calls) == (True, 3)


class Stuck(Flaky):
    """Works until it is cancelled."""

    async def execute(self, task: AgentTask) -> dict[str, object]:
        self.calls += 1
        return await asyncio.get_running_loop().create_future()


async def test_the_latest_attempt_names_the_agent_that_works_and_ends_with_its_caller(tmp_path: Path) -> None:
    first, second = Flaky("first", UNREACHABLE), Stuck("second")
    async with working(new_ledger(tmp_path), first, second) as orchestrator:
        task = asyncio.create_task(orchestrator.perform(Task("work", {}, "s")))
        await until(lambda: second.calls)
        [running] = await orchestrator.get_contracts("s")
        assert orchestrator.executor.ledger.agent_of(running["contract_id"]) == "second"
        task.cancel()
        await asyncio.wait((task,))
        request, response = await orchestrator.get_contracts("s")
        [*_, latest] = orchestrator.executor.ledger.attempts(request["contract_id"])
    assert (latest.agent_id, latest.code, latest.ended_at is not None) == ("second", "cancelled", True)
    assert (response["from_agent"], response["metadata"]["attempts"]) == ("second", 2)


async def test_a_requested_agent_is_the_only_one_that_is_tried(tmp_path: Path) -> None:
    first, second = Flaky("first", *[UNREACHABLE] * 9), Flaky("second")
    async with working(new_ledger(tmp_path), first, second) as orchestrator:
        answer = await orchestrator.perform(Task("work", {}, "s", agent_id="first"))
        assert (answer.success, first.calls, second.calls) == (False, 3, 0)


class Talking(Agent):
    """Reports its progress for longer than its `idle_timeout_s`; or never, and does not end."""

    idle_timeout_s = 1.0

    def __init__(self) -> None:
        super().__init__("talking", "Talking")

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("talk")]

    async def execute(self, task: AgentTask) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        ends_at, done = loop.time() + 1.2 * self.idle_timeout_s, 0
        if task["parameters"]["silent"]:
            await asyncio.Event().wait()
        while loop.time() < ends_at:
            report_progress({"done": done})
            done += 1
            await asyncio.sleep(0.02)
        return {"success": True, "data": done}


async def test_progress_goes_to_the_caller_and_renews_the_idle_timeout(tmp_path: Path) -> None:
    heard: list[Any] = []
    async with working(new_ledger(tmp_path), Talking()) as orchestrator:
        answer = await orchestrator.executor.perform(Task("talk", {"silent": False}, "s"), on_progress=heard.append)
        assert (answer.success, heard) == (True, [{"done": done} for done in range(answer.data)])
        answer = await orchestrator.perform(Task("talk", {"silent": True}, "s"))
    assert (answer.failure and answer.failure.code) == "agent_timed_out"
    assert answer.error == "talking reported no progress for 1 s (idle_timeout_s)"


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  what it waits for is set by another task
            await asyncio.sleep(0.005)


async def test_the_attempts_are_shown_with_the_exchange(home: Home) -> None:
    async with working(home.ledger, Flaky("first", UNREACHABLE), Flaky("second")) as orchestrator:
        answer = await orchestrator.perform(Task("work", {}, "s"))
    shown = home.aorch("contracts", "show", answer.contract_id)
    assert "2 attempts" in shown.out
    assert "first  agent_unreachable" in shown.out
    assert '"tried"' not in shown.out
    attempts = home.aorch("contracts", "show", answer.contract_id, "--json").json["attempts"]
    assert [(each["number"], each["agent_id"], each["code"]) for each in attempts] == [
        (1, "first", "agent_unreachable"),
        (2, "second", None),
    ]
    with serving(home) as server:
        response = server.get(f"/v1/contracts/{answer.contract_id}").json()
        assert response["attempts"] == attempts


async def test_the_pause_before_another_attempt_is_reported_as_progress(tmp_path: Path) -> None:
    heard: list[Any] = []
    async with working(
        new_ledger(tmp_path, "l.db"), Flaky("alone", AgentBusy("full", retry_after_s=0.2))
    ) as orchestrator:
        answer = await orchestrator.executor.perform(Task("work", {}, "s"), on_progress=heard.append)
    assert (answer.data, heard) == ("alone", [{"waiting_s": 0.2, "error": "full"}])
