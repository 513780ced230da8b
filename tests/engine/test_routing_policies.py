"""Which of several agents gets a task: policies, priorities, weights and labels."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ledgers import new_ledger

from aorch import Agent, AgentCapability, AgentTask, Orchestrator, Task
from aorch.agents.registry import Policy, Registry
from aorch.config.sections import RoutingConfig
from aorch.config.settings import Config
from aorch.engine.routing import check_and_choose, choose


class Named(Agent):
    """Answers with its id after `takes_s` seconds."""

    def __init__(
        self, agent_id: str, takes_s: float = 0.0, labels: dict[str, str] | None = None, **declared: Any
    ) -> None:
        super().__init__(agent_id, agent_id, version=declared.pop("version", None))
        self.takes_s, self.labels, self.declared = takes_s, labels or {}, declared
        self.concurrency = declared.pop("concurrency", None)

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work", **self.declared)]

    async def execute(self, task: AgentTask) -> dict[str, object]:
        await asyncio.sleep(self.takes_s)
        return {"success": True, "data": self.agent_id}


async def shares(registry: Registry, tasks: int, require: dict[str, str] | None = None) -> Counter[str]:
    """How many of that many tasks each agent gets, none of which ends."""
    task, given = Task("work", {}, "s", require=require or {}), Counter[str]()
    for number in range(tasks):
        chosen, _ = choose(registry, task) or await check_and_choose(registry, task)
        chosen.try_acquire(str(number))
        given[chosen.agent.agent_id] += 1
    return given


@pytest.mark.parametrize(
    ("policy", "agents", "expected"),
    [
        ("least-busy", [Named("a"), Named("b", weight=3.0)], {"a": 10, "b": 30}),
        ("round-robin", [Named("a"), Named("b"), Named("c", weight=2.0)], {"a": 10, "b": 10, "c": 20}),
        (
            "least-busy",
            [Named("spare", priority=5), Named("main", priority=1, concurrency=25)],
            {"main": 25, "spare": 15},
        ),
        (
            "round-robin",
            [Named("spare", priority=5), Named("main", priority=1, concurrency=25)],
            {"main": 25, "spare": 15},
        ),
        ("fastest", [Named("spare", priority=4), Named("main")], {"main": 40}),
    ],
)
async def test_priority_comes_first_then_the_policy_with_weights(
    policy: Policy, agents: list[Named], expected: dict[str, int]
) -> None:
    assert await shares(Registry(agents, policy), 40) == expected


async def test_an_agent_that_joins_later_does_not_catch_up_with_the_turns_of_the_others() -> None:
    registry = Registry([Named("a"), Named("b")], "round-robin")
    assert await shares(registry, 100) == {"a": 50, "b": 50}
    registry.add(Named("late"))
    assert await shares(registry, 9) == {"a": 3, "b": 3, "late": 3}


async def test_the_fastest_agent_gets_most_and_an_unknown_one_is_tried(tmp_path: Path) -> None:
    config = Config(new_ledger(tmp_path), routing=RoutingConfig("fastest"))
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Named("slow", 1.0))
        orchestrator.register_agent(Named("quick"))
        answers = [await orchestrator.perform(Task("work", {}, "s")) for _ in range(12)]
        counts = Counter(str(answer.data) for answer in answers)
        request = (await orchestrator.get_contracts("s"))[0]
    assert (counts["slow"], counts["quick"]) == (1, 11)
    assert request["metadata"]["routing"]["reason"] == "fastest"


@pytest.mark.parametrize("policy", ["least-busy", "round-robin"])
async def test_only_agents_with_the_required_labels_get_the_task(policy: Policy) -> None:
    agents = [Named("plain"), Named("gpu", labels={"gpu": "yes"}, version="2"), Named("old", labels={"gpu": "yes"})]
    registry = Registry(agents, policy)
    assert await shares(registry, 4, {"gpu": "yes"}) == {"gpu": 2, "old": 2}
    assert await shares(registry, 2, {"gpu": "yes", "version": "2"}) == {"gpu": 2}


async def test_labels_that_no_agent_has_are_named_and_those_of_a_task_are_recorded(tmp_path: Path) -> None:
    async with Orchestrator(new_ledger(tmp_path)) as orchestrator:
        orchestrator.register_agent(Named("gpu", labels={"gpu": "yes"}))
        answer = await orchestrator.perform(Task("work", {}, "s", require={"gpu": "no"}))
        assert answer.error == "no agent with the capability 'work' has the labels gpu=no"
        assert (answer.failure and answer.failure.code) == "no_agent"
        await orchestrator.perform(Task("work", {}, "t", require={"gpu": "yes"}))
        request = (await orchestrator.get_contracts("t"))[0]
    assert request["metadata"]["routing"] == {"reason": "only_candidate", "require": {"gpu": "yes"}}
