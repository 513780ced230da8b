"""What belongs to one attempt alone: its progress, its idle timeout, and whether the agent has the task."""

import asyncio
import threading
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from ledgers import new_ledger

from aorch import Agent, AgentBusy, AgentCapability, AgentTask, Orchestrator, RetryPolicy, Task, report_progress
from aorch.engine.invocation import MAX_THREADS


class Restless(Agent):
    """Rejects the first call, whose thread goes on and reports its progress during the second call."""

    def __init__(self) -> None:
        super().__init__("restless", "Restless")
        self.calls, self.second, self.reported = 0, threading.Event(), threading.Event()

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work", retry=RetryPolicy(backoff_s=0.01))]

    def left_over(self) -> None:
        self.second.wait(30)
        report_progress("of the first call")
        self.reported.set()

    def execute(self, task: AgentTask) -> dict[str, object]:
        self.calls += 1
        if self.calls == 1:
            threading.Thread(target=copy_context().run, args=(self.left_over,)).start()
            raise AgentBusy("full")
        self.second.set()
        self.reported.wait(30)
        report_progress("of the second call")
        return {"success": True}


async def test_a_thread_of_an_earlier_attempt_reports_nothing_into_the_next_one(tmp_path: Path) -> None:
    heard: list[Any] = []
    async with Orchestrator(new_ledger(tmp_path)) as orchestrator:
        orchestrator.register_agent(Restless())
        answer = await orchestrator.executor.perform(Task("work", {}, "s"), on_progress=heard.append)
    assert answer.success
    assert heard[1:] == ["of the second call"]  # after the pause between the attempts


class Rejecting(Agent):
    """Runs one task at a time: `hold` until it is released, and `work`, which it rejects while `hold` waits for a slot."""

    concurrency = 1

    def __init__(self) -> None:
        super().__init__("rejecting", "Rejecting")
        self.rejecting, self.holding, self.released = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work", retry=RetryPolicy(backoff_s=0.01)), AgentCapability("hold")]

    async def execute(self, task: AgentTask) -> dict[str, object]:
        if task["capability"] == "work":
            self.rejecting.set()
            raise AgentBusy("full", retry_after_s=0.3)
        self.holding.set()
        await self.released.wait()
        return {"success": True}


@pytest.mark.parametrize("by_caller", [True, False])
async def test_a_task_cancelled_while_a_further_attempt_waits_for_a_slot_was_delivered(
    tmp_path: Path, by_caller: bool
) -> None:
    agent = Rejecting()
    async with asyncio.timeout(30), Orchestrator(new_ledger(tmp_path)) as orchestrator:
        orchestrator.register_agent(agent)
        working = asyncio.create_task(orchestrator.perform(Task("work", {}, "s")))
        await agent.rejecting.wait()
        holding = asyncio.create_task(orchestrator.perform(Task("hold", {}, "h")))
        await agent.holding.wait()
        ledger, [request] = orchestrator.executor.ledger, await orchestrator.get_contracts("s")
        while len(ledger.attempts(request["contract_id"])) < 2:  # noqa: ASYNC110  what it waits for is in the ledger
            await asyncio.sleep(0.005)
        if by_caller:
            working.cancel()
        else:
            await ledger.cancel(request["contract_id"], "ann")
        await asyncio.wait((working,))
        agent.released.set()
        await holding
        metadata = (await orchestrator.get_contracts("s"))[1]["metadata"]
    assert (metadata["code"], metadata["delivered"], metadata["retry_safe"]) == ("cancelled", True, True)


class Quiet(Agent):
    """Reports nothing, and answers at once."""

    idle_timeout_s = 1.0

    def __init__(self) -> None:
        super().__init__("quiet", "Quiet")

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("answer")]

    def execute(self, task: AgentTask) -> dict[str, object]:
        return {"success": True}


async def test_the_idle_timeout_begins_when_the_agent_gets_the_task(tmp_path: Path) -> None:
    async with Orchestrator(new_ledger(tmp_path)) as orchestrator:
        orchestrator.register_agent(Quiet())
        threads, loop = orchestrator.executor.threads, asyncio.get_running_loop()
        for _ in range(MAX_THREADS):
            await threads.acquire()
        late = await orchestrator.perform(Task("answer", {}, "s", timeout_s=0.5))
        assert late.error == f"quiet was not called (all {MAX_THREADS} agent threads are busy) within 0.5 s"
        loop.call_later(1.2 * Quiet.idle_timeout_s, threads.release)
        assert (await orchestrator.perform(Task("answer", {}, "s", timeout_s=30))).success
