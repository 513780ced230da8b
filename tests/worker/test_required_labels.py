"""Queued tasks that require labels: any agent that has them when the task is claimed may execute it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from homes import Home
from ledgers import new_ledger
from queueing import detach, end, fail
from serving import serving
from waiting import WAIT_S, wait_for

from aorch import Agent, AgentCapability, AgentTask, Orchestrator
from aorch.engine.resume import same_task
from aorch.worker.queue_worker import QueueWorker

CONFIG = """
[agents.plain]
command = ["cat"]
stdin = "plain"
capabilities.site = {}

[agents.berlin]
command = ["cat"]
stdin = "berlin"
labels = { site = "berlin" }
capabilities.site = {}
"""


class Labelled(Agent):
    """Answers with its id."""

    def __init__(self, agent_id: str, concurrency: int | None = None, **labels: str) -> None:
        super().__init__(agent_id, agent_id, version="2")
        self.labels, self.concurrency = labels, concurrency

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work")]

    async def execute(self, task: AgentTask) -> dict[str, object]:
        await asyncio.sleep(0)
        return {"success": True, "data": self.agent_id}


@asynccontextmanager
async def working(orchestrator: Orchestrator) -> AsyncIterator[None]:
    worker = QueueWorker(orchestrator.executor, 4, fail)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(WAIT_S):
        yield
    await worker.stop(0, 5, asyncio.Event())
    await running


async def submitted(orchestrator: Orchestrator, count: int, **require: str) -> list[str]:
    task = {"capability": "work", "parameters": {}, "require": require}
    return await orchestrator.submit_all([("s", task)] * count)  # type: ignore[list-item]  # a TaskDict


async def agents_of(orchestrator: Orchestrator, request_ids: list[str]) -> Counter[str]:
    """How many of these tasks each agent has executed."""
    answers = [await orchestrator.wait(each) for each in request_ids]
    return Counter(str(answer and answer["data"]) for answer in answers)


async def test_all_agents_that_have_the_labels_share_the_tasks(orchestrator: Orchestrator) -> None:
    for agent in (Labelled("plain"), Labelled("one", 2, gpu="yes"), Labelled("two", 2, gpu="yes", site="berlin")):
        orchestrator.register_agent(agent)
    gpu = await submitted(orchestrator, 20, gpu="yes")
    both = await submitted(orchestrator, 5, site="berlin", gpu="yes")
    version = await submitted(orchestrator, 5, version="2", gpu="yes", site="berlin")
    assert {each["to_agent"] for each in await orchestrator.get_contracts("s")} == {None}
    async with working(orchestrator):
        shares = await agents_of(orchestrator, gpu)
        assert shares.keys() == {"one", "two"}
        assert await agents_of(orchestrator, both) == {"two": 5}
        assert await agents_of(orchestrator, version) == {"two": 5}


async def test_an_agent_that_gets_the_labels_later_executes_the_waiting_task(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Labelled("first", gpu="yes"))
    waiting = await submitted(orchestrator, 1, gpu="yes")
    orchestrator.register_agent(Labelled("first"), replace=True)  # it has no labels any more
    others = await submitted(orchestrator, 3)
    async with working(orchestrator):
        assert await agents_of(orchestrator, others) == {"first": 3}
        assert await orchestrator.wait(waiting[0], 0.1) is None
        orchestrator.register_agent(Labelled("second", gpu="yes"))
        assert await agents_of(orchestrator, waiting) == {"second": 1}


async def test_a_task_that_names_an_agent_and_labels_waits_until_that_agent_has_them(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.register_agent(Labelled("named", site="berlin"))
    orchestrator.register_agent(Labelled("other", site="berlin"))
    task = {"capability": "work", "parameters": {}, "agent_id": "named", "require": {"site": "berlin"}}
    waiting = [await orchestrator.submit("s", task)]  # type: ignore[arg-type]  # a TaskDict
    orchestrator.register_agent(Labelled("named", site="paris"), replace=True)
    async with working(orchestrator):
        assert await orchestrator.wait(waiting[0], 0.1) is None
        orchestrator.register_agent(Labelled("named", site="berlin"), replace=True)
        assert await agents_of(orchestrator, waiting) == {"named": 1}


async def test_a_queued_task_with_labels_keeps_them_when_it_is_run_again(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Labelled("one", gpu="yes"))
    waiting = await submitted(orchestrator, 1, gpu="yes")
    async with working(orchestrator):
        await agents_of(orchestrator, waiting)
    again = same_task(orchestrator.config.ledger, waiting[0], orchestrator.registry)
    assert (again.require, again.agent_id) == ({"gpu": "yes"}, None)


def test_a_detached_task_and_one_sent_over_http_run_where_the_labels_are(home: Home) -> None:
    home.write("aorch.toml", CONFIG)
    detached = detach(home, "site", "--require", "site=berlin")
    refused = home.aorch("run", "site", "--require", "site=paris", "--detach")
    assert (refused.code, "has the labels site=paris" in refused.err) == (11, True)
    with serving(home) as server:
        body = {"capability": "site", "parameters": {}, "require": {"site": "berlin"}}
        sent = server.post("/v1/tasks", json=body).json()["contract_id"]
        for contract_id in (detached, sent):
            wait_for(lambda: server.get(f"/v1/tasks/{contract_id}").json()["status"] == "completed")  # noqa: B023
    rows = home.rows("SELECT DISTINCT to_agent, required_labels FROM contracts WHERE priority IS NOT NULL")
    assert rows == [("berlin", '{"site":"berlin"}')]
    again = home.aorch("rerun", detached, "--json").json
    assert again["agent_id"] == "berlin"


def test_a_batch_that_runs_failed_tasks_again_requires_the_labels_that_they_required(home: Home) -> None:
    home.write("aorch.toml", CONFIG.replace('command = ["cat"]', 'command = ["false"]'))
    detached = detach(home, "site", "--require", "site=berlin", "--session", "s")
    home.aorch("worker", "--drain")
    home.write("aorch.toml", CONFIG)
    done = home.aorch("run", "--retry-failed", "s")
    assert done.code == 0
    result = json.loads(done.out)
    assert (result["agent_id"], result["data"]) == ("berlin", {"text": "berlin"})
    assert result["id"] == detached


def test_a_worker_names_the_labels_that_no_agent_has(home: Home) -> None:
    home.write("aorch.toml", CONFIG)
    detach(home, "site", "--require", "site=berlin")
    home.write("aorch.toml", CONFIG.replace('site = "berlin"', 'site = "rome"'))
    done = home.aorch("worker", "--drain")
    assert f"1 task waits for site with site=berlin, which no agent of {home.folder}/aorch.toml has" in done.err
    worker = home.start("worker")
    try:
        wait_for(lambda: home.rows("SELECT status FROM contracts") == [("pending",)])
    finally:
        end(worker)


@pytest.fixture
async def orchestrator(tmp_path: Path) -> AsyncIterator[Orchestrator]:
    """An orchestrator over a new ledger."""
    async with Orchestrator(new_ledger(tmp_path)) as made:
        yield made
