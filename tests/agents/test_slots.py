"""An agent's slots: its `concurrency` holds however its tasks end, and no task waits for a slot for ever."""

import asyncio
import math
import threading
from typing import Any

import pytest
from waiting import WAIT_S

from aorch import Agent, AgentCapability, Orchestrator
from aorch.engine import invocation
from aorch.errors import UsageError


class Held(Agent):
    """A plain `def` that runs until `go` is set, and counts concurrent tasks."""

    grace_s = 0.01

    def __init__(self, concurrency: int | None = None) -> None:
        super().__init__("held", "Held")
        self.concurrency = concurrency
        self.go = threading.Event()
        self.inside = self.most_inside = 0
        self.lock = threading.Lock()

    def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.go.wait(WAIT_S)
        with self.lock:
            self.inside -= 1
        return {"success": True, "data": task["parameters"]}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("hold")]


class Brief(Agent):
    """Runs one task at a time, for 0.1 s each, with a time limit of 1 s."""

    concurrency, timeout_s = 1, 1.0

    def __init__(self) -> None:
        super().__init__("brief", "Brief")

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return {"success": True, "data": {}}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("brief")]


class Calling(Agent):
    """Calls `capability` for its own task, with one call fewer left."""

    def __init__(self, orchestrator: Orchestrator, agent_id: str, capability: str, asks_for: str) -> None:
        super().__init__(agent_id, agent_id)
        self.concurrency = 1
        self.orchestrator, self.capability, self.asks = orchestrator, capability, asks_for

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        left = task["parameters"]["left"]
        if not left:
            return {"success": True, "data": "bottom"}
        asked = {"capability": self.asks, "parameters": {"left": left - 1}}
        answer = await self.orchestrator.orchestrate(task["session_id"], asked)
        return {"success": answer["success"], "data": answer["data"], "error": answer["error"]}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability(self.capability)]


async def hold(orchestrator: Orchestrator, timeout_s: float) -> dict[str, Any]:
    return await orchestrator.orchestrate("s", {"capability": "hold", "timeout_s": timeout_s})


async def test_code_that_runs_on_after_its_timeout_keeps_its_slot(orchestrator: Orchestrator) -> None:
    held = Held(concurrency=2)
    orchestrator.register_agent(held)
    async with asyncio.timeout(WAIT_S):
        answers = [await hold(orchestrator, 0.3) for _ in range(2)]  # in which a thread starts on a busy machine
        answers += [await hold(orchestrator, 0.02) for _ in range(4)]
        assert {answer["success"] for answer in answers} == {False}
        assert (held.inside, held.most_inside) == (2, 2)
        assert "gave no answer within 0.3 s" in answers[0]["error"]
        assert "was not called within 0.02 s: it is running its maximum number of tasks (2)" in answers[5]["error"]
        assert orchestrator.registry.get("held").as_dict()["status"] == "busy"
        held.go.set()
        answer = await orchestrator.orchestrate("s", {"capability": "hold", "parameters": {"n": 1}})
    assert answer["data"] == {"n": 1}
    assert held.most_inside == 2
    contracts = await orchestrator.get_contracts("s")
    called = [each["metadata"].get("delivered") for each in contracts if each["contract_type"] == "RESPONSE"]
    assert called == [True, True, False, False, False, False, None]


async def test_the_time_limit_holds_for_the_wait_and_the_call_together(orchestrator: Orchestrator) -> None:
    held = Held(concurrency=1)
    orchestrator.register_agent(held)
    async with asyncio.timeout(WAIT_S):
        first = asyncio.create_task(hold(orchestrator, 0.1))
        await asyncio.sleep(0)
        second = asyncio.create_task(hold(orchestrator, WAIT_S))
        assert (await first)["success"] is False
        held.go.set()
        assert (await second)["success"] is True


async def test_tasks_of_a_map_wait_for_a_slot_without_limit(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Brief())
    async with asyncio.timeout(WAIT_S):
        answers = [answer["success"] async for answer in orchestrator.map("brief", [{"n": n} for n in range(12)])]
    assert answers == [True] * 12


async def test_plain_functions_run_in_a_limited_number_of_threads(orchestrator: Orchestrator) -> None:
    held = Held()
    orchestrator.register_agent(held)
    async with asyncio.timeout(WAIT_S):
        tasks = [asyncio.create_task(hold(orchestrator, 2.0)) for _ in range(invocation.MAX_THREADS + 6)]
        answers = [await task for task in tasks]
    assert held.most_inside == invocation.MAX_THREADS
    errors = [answer["error"] for answer in answers]
    assert sum("was not called" in error for error in errors) == 6
    held.go.set()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("concurrency", 0), ("concurrency", -1), ("concurrency", 2.5), ("concurrency", "4"), ("concurrency", True),
     ("timeout_s", 0), ("timeout_s", math.nan), ("timeout_s", "3"), ("grace_s", -1), ("grace_s", math.inf)],
)  # fmt: skip
async def test_invalid_limits_are_rejected(orchestrator: Orchestrator, attribute: str, value: Any) -> None:
    brief = Brief()
    setattr(brief, attribute, value)
    with pytest.raises(UsageError, match=f"the {attribute} of Brief is"):
        orchestrator.register_agent(brief)


async def test_an_agent_that_calls_itself_is_rejected_at_once(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Calling(orchestrator, "itself", "recur", "recur"))
    async with asyncio.timeout(WAIT_S):
        answer = await orchestrator.orchestrate("s", {"capability": "recur", "parameters": {"left": 1}})
    assert (answer["success"], "itself calls itself and runs at most 1 at a time" in answer["error"]) == (
        False,
        True,
    )
    inner = (await orchestrator.get_contracts("s"))[1]
    assert (inner["status"], inner["from_agent"], inner["to_agent"]) == ("failed", "itself", "itself")


async def test_an_agent_that_calls_itself_through_another_is_rejected_too(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Calling(orchestrator, "ping", "ping", "pong"))
    orchestrator.register_agent(Calling(orchestrator, "pong", "pong", "ping"))
    async with asyncio.timeout(WAIT_S):
        assert (await orchestrator.orchestrate("s", {"capability": "ping", "parameters": {"left": 1}}))["success"]
        answer = await orchestrator.orchestrate("s", {"capability": "ping", "parameters": {"left": 2}})
    assert "ping calls itself" in answer["error"]
