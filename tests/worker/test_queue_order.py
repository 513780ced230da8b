"""The order in which queued tasks are started, and the queue in Python."""

import asyncio
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import new_ledger
from queueing import fail, said

from aorch import Agent, AgentCapability, Orchestrator
from aorch.errors import NoAgent
from aorch.worker.queue_worker import QueueWorker


class Order(Agent):
    """Notes in which order it is called; with each call it submits the next batch."""

    def __init__(self, batches: list[list[tuple[str, int]]]) -> None:
        super().__init__("order", "Order")
        self.batches = iter(batches)
        self.submitted: list[dict[str, Any]] = []
        self.begun: list[dict[str, Any]] = []
        self.waiting: Counter[int] = Counter()
        self.orchestrator: Orchestrator

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("order")]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.begun.append(self.submitted[task["parameters"]["n"]])
        self.waiting[self.begun[-1]["priority"]] -= 1
        self.begun[-1]["highest"] = min((each for each, count in self.waiting.items() if count), default=9)
        await self.submit()
        return {"success": True}

    async def submit(self) -> None:
        asked = []
        for session, priority in next(self.batches, []):
            task = {"capability": "order", "parameters": {"n": len(self.submitted)}}
            self.submitted.append(
                {"n": len(self.submitted), "session": session, "priority": priority, "begun": len(self.begun)}
            )
            self.waiting[priority] += 1
            asked.append(self.orchestrator.submit(session, task, priority=priority))
        await asyncio.gather(*asked)


def worked(batches: list[list[tuple[str, int]]]) -> Order:
    """What a worker that does one task at a time makes of these: each batch comes with the next task that is begun."""
    agent = Order([[task for batch in batches for task in batch[:1]], *batches])

    async def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with Orchestrator(new_ledger(Path(folder))) as orchestrator:
                agent.orchestrator = orchestrator
                orchestrator.register_agent(agent)
                await agent.submit()
                await QueueWorker(orchestrator.executor, 1, fail).run(drain=True)

    asyncio.run(work())
    assert len(agent.begun) == len(agent.submitted)
    return agent


BATCHES = st.lists(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5)), max_size=6), max_size=8)


@settings(deadline=None, max_examples=20)
@given(BATCHES)
def test_nothing_is_begun_while_something_of_a_higher_priority_waits(
    batches: list[list[tuple[str, int]]],
) -> None:
    assert all(task["priority"] <= task["highest"] for task in worked(batches).begun)


@settings(deadline=None, max_examples=20)
@given(BATCHES)
def test_sessions_take_turns_and_each_keeps_its_order(batches: list[list[tuple[str, int]]]) -> None:
    """Before a task that has n of its own session ahead of it, no other session of its priority is served more than n + 2
    times.
    """
    begun = worked(batches).begun
    lines = defaultdict(list)
    for task in begun:
        lines[task["session"], task["priority"]].append(task["n"])
    assert all(line == sorted(line) for line in lines.values())
    for place, task in enumerate(begun):
        since = [other for other in begun[task["begun"] : place] if other["priority"] == task["priority"]]
        served = Counter(other["session"] for other in since)
        ahead = served.pop(task["session"], 0)
        assert all(count <= ahead + 2 for count in served.values()), (task, served)


def test_a_session_with_a_thousand_tasks_does_not_starve_another(made_ledger: Path) -> None:
    batches = [[("many", 3)] * 1000, [], [], [], [("few", 3), ("few", 3)]]
    begun = [task["session"] for task in worked(batches).begun]
    assert begun.count("many") == 1001
    assert [place for place, session in enumerate(begun) if session == "few"][-1] < 12


async def test_python_submits_waits_and_cancels(home: Home) -> None:
    async with Orchestrator(home.ledger) as orchestrator:
        done, cancelled = [
            await orchestrator.submit("s", {"capability": "echo", "parameters": {"text": text}}, not_before=moment)
            for text, moment in (("hi", None), ("ho", "2999-01-01T00:00:00Z"))
        ]
        assert await orchestrator.wait(done, 0.05) is None
        assert await orchestrator.cancel(cancelled) == "cancelled"
        await QueueWorker(orchestrator.executor, 4, fail).run(drain=True)
        answer = await orchestrator.wait(done)
        assert answer
        assert (answer["data"], answer["contract_id"]) == ({"message": "Echo: hi"}, done)
        with pytest.raises(NoAgent):
            await orchestrator.submit("s", {"capability": "nothing"})


async def test_many_are_put_in_at_once_and_the_refused_among_them_are_answered(home: Home) -> None:
    asked = [("echo", {"text": "a"}), ("nothing", {}), ("echo", {"text": 3}), ("echo", {"text": "b"})]
    async with Orchestrator(home.ledger) as orchestrator:
        given = [("s", {"capability": name, "parameters": parameters}) for name, parameters in asked]
        ids = await orchestrator.submit_all(given)
        assert [said(home, each)[:2] for each in ids] == [
            ("pending", None),
            ("failed", "failed"),
            ("failed", "failed"),
            ("pending", None),
        ]
        await QueueWorker(orchestrator.executor, 4, fail).run(drain=True)
        answers = [await orchestrator.wait(each, 5) for each in ids]
        assert [answer and answer["success"] for answer in answers] == [True, False, False, True]
