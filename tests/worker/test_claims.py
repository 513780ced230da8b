"""A queued REQUEST says which agent took it, from the claim on; what that agent asks for is recorded as asked by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ledgers
import pytest
from homes import Home
from ledger_state import change
from serving import serving
from waiting import WAIT_S

from aorch import Agent, AgentCapability, Orchestrator
from aorch.engine.resume import task_again
from aorch.ledger.record import REQUEST
from aorch.worker.queue_worker import QueueWorker


class Delegating(Agent):
    """Asks for an echo on behalf of its task, directly and by the queue; with `hold` it goes on until it is cancelled."""

    def __init__(self, agent_id: str, orchestrator: Orchestrator, *, concurrency: int | None = None) -> None:
        super().__init__(agent_id, agent_id)
        self.orchestrator, self.concurrency, self.begun = orchestrator, concurrency, asyncio.Event()
        self.absent: str | None = None

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.begun.set()
        if task["parameters"].get("hold"):
            await asyncio.Event().wait()
        echo = {"capability": "echo", "parameters": {"text": "hi"}}
        await self.orchestrator.orchestrate(task["session_id"], echo)
        await self.orchestrator.wait(await self.orchestrator.submit(task["session_id"], echo))
        return {"success": True, "data": self.agent_id}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("delegate", idempotent=True)]

    def problem(self) -> str | None:
        return self.absent


@asynccontextmanager
async def working(orchestrator: Orchestrator) -> AsyncIterator[QueueWorker]:
    worker = QueueWorker(orchestrator.executor, 4, lambda error: pytest.fail(str(error)))
    running = asyncio.create_task(worker.run())
    yield worker
    await worker.stop(0, 5, asyncio.Event())
    await running


async def requests(orchestrator: Orchestrator) -> list[tuple[Any, ...]]:
    """Capability, from, to and status of each REQUEST."""
    contracts = [each for each in await orchestrator.get_contracts() if each["contract_type"] == REQUEST]
    return [tuple(each[name] for name in ("capability", "from_agent", "to_agent", "status")) for each in contracts]


async def test_a_claim_names_the_agent_and_its_own_requests_come_from_it(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Delegating("helper", orchestrator))
    async with asyncio.timeout(WAIT_S), working(orchestrator):
        request_id = await orchestrator.submit("s", {"capability": "delegate"})
        answer = await orchestrator.wait(request_id)
    assert answer is not None
    assert answer["agent_id"] == "helper"
    assert await requests(orchestrator) == [
        ("delegate", "orchestrator", "helper", "completed"),
        ("echo", "helper", "agent_example_001", "completed"),
        ("echo", "helper", "agent_example_001", "completed"),
    ]


async def test_what_is_given_back_to_the_queue_is_any_agents_again_unless_one_was_insisted_on(
    orchestrator: Orchestrator,
) -> None:
    first, second = (Delegating(name, orchestrator, concurrency=2) for name in ("first", "second"))
    second.absent = "not here"
    orchestrator.register_agent(first)
    orchestrator.register_agent(second)
    task = {"capability": "delegate", "parameters": {"hold": True}}
    free = await orchestrator.submit("s", task)
    bound = await orchestrator.submit("s", {**task, "agent_id": "first"})
    async with asyncio.timeout(WAIT_S):
        async with working(orchestrator):
            await first.begun.wait()
            while {status for *_, status in await requests(orchestrator)} != {"in_progress"}:  # noqa: ASYNC110  the ledger says it
                await asyncio.sleep(0.01)
            assert [to for _, _, to, _ in await requests(orchestrator)] == ["first", "first"]
        assert [to for _, _, to, _ in await requests(orchestrator)] == [None, "first"]
        first.absent, second.absent = "gone", None
        async with working(orchestrator):
            await second.begun.wait()
            assert [each[2:] for each in await requests(orchestrator)] == [
                ("second", "in_progress"),
                ("first", "pending"),
            ]
    assert {free, bound} == {each["contract_id"] for each in await orchestrator.get_contracts()}


async def test_a_worker_shares_tasks_out_among_the_agents_that_run_least(orchestrator: Orchestrator) -> None:
    agents = [Delegating(name, orchestrator, concurrency=most) for name, most in (("one", 1), ("three", 3))]
    for agent in agents:
        orchestrator.register_agent(agent)
    task = {"capability": "delegate", "parameters": {"hold": True}}
    await orchestrator.submit_all([("s", task)] * 5)
    async with asyncio.timeout(WAIT_S), working(orchestrator):
        while sum(status == "in_progress" for *_, status in await requests(orchestrator)) < 4:  # noqa: ASYNC110  likewise
            await asyncio.sleep(0.01)
        assert sorted(to or "" for _, _, to, _ in await requests(orchestrator)) == [
            "",
            "one",
            "three",
            "three",
            "three",
        ]


async def test_no_more_is_claimed_of_all_capabilities_of_an_agent_than_it_takes(orchestrator: Orchestrator) -> None:
    both = Delegating("both", orchestrator, concurrency=1)
    both.get_capabilities = lambda: [AgentCapability("delegate"), AgentCapability("other")]  # type: ignore[method-assign]
    orchestrator.register_agent(both)
    for capability in ("delegate", "other"):
        await orchestrator.submit("s", {"capability": capability, "parameters": {"hold": True}, "timeout_s": 1})
    async with asyncio.timeout(WAIT_S), working(orchestrator) as worker:
        await both.begun.wait()
        assert worker.running() == 1
        assert [each[2:] for each in await requests(orchestrator)] == [("both", "in_progress"), (None, "pending")]
        while worker.done < 2:  # noqa: ASYNC110  it says so nowhere else
            await asyncio.sleep(0.01)


async def test_a_queued_task_that_is_resumed_insists_on_an_agent_only_if_its_caller_did(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.register_agent(Delegating("helper", orchestrator))
    task = {"capability": "delegate", "parameters": {"hold": True}, "timeout_s": 0.05}
    async with asyncio.timeout(WAIT_S), working(orchestrator):
        ids = [await orchestrator.submit("s", {**task, **more}) for more in ({}, {"agent_id": "helper"})]
        for request_id in ids:
            await orchestrator.wait(request_id)
    again = [
        await asyncio.to_thread(task_again, orchestrator.config.ledger, each, orchestrator.registry) for each in ids
    ]
    assert [task.agent_id for task in again] == [None, "helper"]


async def test_a_queued_request_that_cannot_be_read_is_answered_and_costs_no_place(orchestrator: Orchestrator) -> None:
    told: list[str] = []
    ids = [await orchestrator.submit("s", {"capability": "echo", "parameters": {"text": "hi"}}) for _ in range(4)]
    ledger = orchestrator.config.ledger
    for column, text, request_id in zip(("payload", "payload", "metadata"), ("[", "3", "3"), ids, strict=False):
        change(ledger, f"UPDATE contracts SET {column} = ? WHERE contract_id = ?", text, request_id)
    worker = QueueWorker(orchestrator.executor, 1, lambda error: told.append(str(error)))
    async with asyncio.timeout(WAIT_S):
        await worker.run(drain=True)
    ends = dict(ledgers.rows(ledger, "SELECT request_id, status FROM contracts WHERE contract_type = 'RESPONSE'"))
    assert ends == dict(zip(ids, ["failed", "failed", "failed", "completed"], strict=True))
    assert [line.partition(":")[0] for line in told] == ids[:3]


async def test_a_fault_after_the_request_was_written_leaves_nothing_open(orchestrator: Orchestrator) -> None:
    helper = Delegating("helper", orchestrator)
    orchestrator.register_agent(helper)
    helper.grace_s = "soon"  # type: ignore[assignment]
    task = {"capability": "delegate", "parameters": {"hold": True}, "timeout_s": 0.05}
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(TypeError):
            await orchestrator.orchestrate("s", task)
    assert await requests(orchestrator) == [("delegate", "orchestrator", "helper", "failed")]


def test_only_the_agents_own_token_asks_on_behalf_of_a_queued_request_once_it_took_it(home: Home) -> None:
    home.write("aorch.toml", '[agents.c]\ncommand = ["true"]\n[agents.c.capabilities.work]\n')
    anyone = home.aorch("tokens", "create", "anyone").out.strip()
    bound = home.aorch("tokens", "create", "bound", "--agent", "c").out.strip()
    body = {"session_id": "s", "capability": "work", "parameters": {}}
    with serving(home) as server:

        def ask(path: str, token: str, **more: Any) -> Any:
            return server.post(path, json={**body, **more}, headers={"Authorization": f"Bearer {token}"})

        work = ask("/v1/tasks", anyone).json()["contract_id"]
        seen = {"Authorization": f"Bearer {anyone}"}
        assert server.get(f"/v1/tasks/{work}?wait_s=20", headers=seen).json()["status"] == "completed"
        for path in ("/v1/orchestrate", "/v1/tasks"):
            assert ask(path, anyone, parent_id=work).status_code == 403
            assert ask(path, anyone, parent_id=work, from_agent="zz").status_code == 403
            done = ask(path, bound, parent_id=work, capability="echo", parameters={"text": path})
            assert done.status_code in (200, 202)
