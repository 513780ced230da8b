"""A queued task whose agent is busy is queued again, for when the agent said."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import ledgers
import pytest
from waiting import WAIT_S

from aorch import Agent, AgentBusy, AgentCapability, AgentUnreachable, Orchestrator, RetryPolicy
from aorch.clock import rfc3339, seconds_until
from aorch.ledger.reader import Reader
from aorch.worker.queue_worker import QueueWorker


class Busy(Agent):
    """Rejects its first `rejected` calls, and says that it is free after `retry_after_s`."""

    def __init__(self, rejected: int, retry_after_s: float | None, *never: str) -> None:
        super().__init__("busy", "Busy")
        self.rejected, self.retry_after_s, self.never, self.calls = rejected, retry_after_s, never, 0

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work", retry=RetryPolicy(1, 1.0, self.never))]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        if self.calls <= self.rejected:
            raise AgentBusy("full", retry_after_s=self.retry_after_s)
        return {"success": True, "data": self.calls}


@asynccontextmanager
async def working(orchestrator: Orchestrator, agent: Busy) -> AsyncIterator[None]:
    orchestrator.register_agent(agent)
    worker = QueueWorker(orchestrator.executor, 4, lambda error: pytest.fail(str(error)))
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(WAIT_S):
        yield
    await worker.stop(0, 5, asyncio.Event())
    await running


async def postponed(orchestrator: Orchestrator, request_id: str) -> str:
    """When that task is due again, once it is queued again."""
    while not (rows := due(orchestrator, request_id)):  # noqa: ASYNC110  another task of the loop commits it
        await asyncio.sleep(0.01)
    return str(rows[0][0])


def due(orchestrator: Orchestrator, request_id: str) -> list[tuple[Any, ...]]:
    query = "SELECT due_at FROM contracts WHERE contract_id = ? AND due_at IS NOT NULL AND status = 'pending'"
    return ledgers.rows(orchestrator.config.ledger, query, request_id)


def attempts(orchestrator: Orchestrator, request_id: str) -> list[tuple[int, str | None]]:
    return [(each.number, each.code) for each in orchestrator.executor.ledger.attempts(request_id)]


async def test_it_is_called_again_then_and_the_ledger_has_every_attempt(orchestrator: Orchestrator) -> None:
    agent = Busy(2, 0.01)
    async with working(orchestrator, agent):
        request_id = await orchestrator.submit("s", {"capability": "work"})
        answer = await orchestrator.wait(request_id)
    assert answer is not None
    assert (answer["data"], agent.calls) == (3, 3)
    assert attempts(orchestrator, request_id) == [(1, "agent_busy"), (2, "agent_busy"), (3, None)]
    request, response = await orchestrator.get_contracts("s")
    assert (request["status"], response["metadata"]["attempts"]) == ("completed", 3)


async def test_the_agent_says_when_and_what_waits_can_be_cancelled(orchestrator: Orchestrator) -> None:
    agent = Busy(9, 3600)
    async with working(orchestrator, agent):
        request_id = await orchestrator.submit("s", {"capability": "work"})
        assert 3500 < seconds_until(await postponed(orchestrator, request_id)) <= 3600
        assert await orchestrator.cancel(request_id) == "cancelled"
    assert (agent.calls, attempts(orchestrator, request_id)) == (1, [(1, "agent_busy")])


@pytest.mark.parametrize(
    ("never", "after_s", "expires_s"),
    [(("agent_busy",), 1, None), ((), 3600, 1800), ((), 1e300, None), ((), 86400 * 31, None)],
)
async def test_it_fails_if_it_must_not_be_called_then(
    orchestrator: Orchestrator, never: tuple[str, ...], after_s: float, expires_s: float | None
) -> None:
    agent = Busy(9, after_s, *never)
    expires_at = None if expires_s is None else rfc3339(datetime.now(UTC) + timedelta(seconds=expires_s))
    async with working(orchestrator, agent):
        request_id = await orchestrator.submit("s", {"capability": "work"}, expires_at=expires_at)
        answer = await orchestrator.wait(request_id)
    assert answer is not None
    assert (answer["success"], answer["error"], agent.calls) == (False, "full", 1)


class Unreachable(Busy):
    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work", retry=RetryPolicy(2, 0.01))]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        raise AgentUnreachable("refused")


class Other(Busy):
    def __init__(self) -> None:
        super().__init__(0, None)
        self.agent_id = "other"


async def test_another_agent_tries_a_queued_task_at_once(orchestrator: Orchestrator) -> None:
    first = Unreachable(0, None)
    orchestrator.register_agent(first)
    request_id = await orchestrator.submit("s", {"capability": "work"})
    async with working(orchestrator, Other()):
        assert await orchestrator.wait(request_id) is not None
    answer = await orchestrator.wait(request_id)  # read from the REQUEST, which names the agent that claimed it first
    assert answer is not None
    assert (answer["success"], answer["agent_id"]) == (True, "other")
    with Reader(orchestrator.config.ledger) as reader:
        assert reader.tree(reader.find(request_id)).as_dict()["agent_id"] == "other"


async def test_no_other_agent_tries_a_queued_task_for_which_the_caller_chose_one(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Unreachable(0, None))
    request_id = await orchestrator.submit("s", {"capability": "work", "agent_id": "busy"})
    async with working(orchestrator, Other()):
        answer = await orchestrator.wait(request_id)
    assert answer is not None
    assert (answer["success"], answer["agent_id"]) == (False, "busy")
