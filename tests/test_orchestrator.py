"""The Python API, as the seed document writes it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aorch import Agent, AgentCapability, AorchError, Orchestrator, Task


class Counter(Agent):
    """Counts, and tells how many it counts at a time."""

    def __init__(self, agent_id: str = "counter", concurrency: int | None = None) -> None:
        super().__init__(agent_id=agent_id, name="Counter", description="Counts")
        self.concurrency = concurrency
        self.now = self.most = 0

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(3):
            await asyncio.sleep(0)
        self.now -= 1
        return {"success": True, "data": len(task["parameters"]["items"])}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability(name="count", description="Count", parameters={"items": "array", "note": "anything"})]


@pytest.fixture
async def orchestrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Orchestrator]:
    """An orchestrator over a new ledger, with the example agent and nothing of this machine's configuration."""
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    async with Orchestrator(tmp_path / "ledger.db") as orchestrator:
        yield orchestrator


async def test_a_task_is_orchestrated_as_the_seed_document_writes_it(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Counter())
    result = await orchestrator.orchestrate(
        session_id="s", task={"capability": "count", "parameters": {"items": [1, 2, 3]}}
    )
    assert result["success"] is True
    assert result["data"] == 3
    assert result["agent_id"] == "counter"
    request, response = await orchestrator.get_contracts("s")
    assert request["contract_id"] == result["contract_id"] == response["request_id"]
    assert (request["contract_type"], request["status"], request["payload"]) == (
        "REQUEST", "completed", {"items": [1, 2, 3]}
    )  # fmt: skip
    assert (response["contract_type"], response["status"], response["result"]) == ("RESPONSE", "completed", 3)


async def test_a_failure_is_an_answer_and_stands_in_the_ledger(orchestrator: Orchestrator) -> None:
    result = await orchestrator.orchestrate("s", {"capability": "fly"})
    assert result["success"] is False
    assert result["error"] == "No agent available for capability: fly"
    request, response = await orchestrator.get_contracts("s")
    assert (request["status"], request["to_agent"]) == ("failed", None)
    assert (response["status"], response["error"]) == ("failed", result["error"])


@pytest.mark.parametrize("task", [{}, {"capability": ""}, {"capability": "echo", "parameters": [1]},
                                  {"capability": "echo", "when": "now"}, {"capability": "echo", "timeout_s": -1},
                                  {"capability": "echo", "agent_id": "a\x00b"}])  # fmt: skip
async def test_a_task_that_is_none_is_refused_before_anything_is_written(
    orchestrator: Orchestrator, task: dict[str, Any]
) -> None:
    with pytest.raises(AorchError):
        await orchestrator.orchestrate("s", task)
    assert await orchestrator.get_contracts("s") == []


async def test_a_thousand_at_once_are_all_answered_and_all_kept(orchestrator: Orchestrator) -> None:
    results = await asyncio.gather(
        *(orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": str(n)}}) for n in range(1000))
    )
    assert [result["data"]["message"] for result in results] == [f"Echo: {n}" for n in range(1000)]
    contracts = await orchestrator.get_contracts("s")
    assert len(contracts) == 2000
    assert {contract["status"] for contract in contracts} == {"completed"}
    requests = [contract["contract_id"] for contract in contracts if contract["contract_type"] == "REQUEST"]
    assert requests == sorted(requests)


async def test_an_agent_is_never_given_more_than_it_takes_at_a_time(orchestrator: Orchestrator) -> None:
    counter = Counter(concurrency=2)
    orchestrator.register_agent(counter)
    task = {"capability": "count", "parameters": {"items": []}}
    results = await asyncio.gather(*(orchestrator.orchestrate("s", task) for _ in range(20)))
    assert all(result["success"] for result in results)
    assert counter.most == 2


async def test_of_two_candidates_the_one_that_runs_less_is_asked(orchestrator: Orchestrator) -> None:
    for name in ("first", "second"):
        orchestrator.register_agent(Counter(name))
    task = {"capability": "count", "parameters": {"items": []}}
    results = await asyncio.gather(*(orchestrator.orchestrate("s", task) for _ in range(10)))
    assert sorted(result["agent_id"] for result in results) == ["first"] * 5 + ["second"] * 5
    requests = [c for c in await orchestrator.get_contracts("s") if c["contract_type"] == "REQUEST"]
    assert requests[1]["metadata"]["routing"]["candidates_running"] == {"first": 1, "second": 0}


async def test_the_loose_form_checks_the_type_of_what_is_given_and_requires_nothing(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Counter())
    answer = await orchestrator.perform(Task("count", {"items": "abc"}, "s"))
    assert answer.failure is not None
    assert answer.failure.code == "parameters_invalid"
    assert "parameter 'items'" in str(answer.error)
    assert (await orchestrator.perform(Task("count", {"items": [], "note": 3}, "s"))).success


async def test_a_cancelled_task_says_so_in_the_ledger(orchestrator: Orchestrator) -> None:
    class Endless(Counter):
        async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
            started.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    started = asyncio.Event()
    orchestrator.register_agent(Endless())
    running = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "count", "parameters": {"items": []}}))
    await asyncio.wait_for(started.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    request, response = await orchestrator.get_contracts("s")
    assert (request["status"], response["status"]) == ("cancelled", "cancelled")


async def test_agents_are_listed_in_their_json_form(orchestrator: Orchestrator) -> None:
    (agent,) = orchestrator.list_agents()
    assert agent["agent_id"] == "agent_example_001"
    assert agent["status"] == "available"
    assert [capability["name"] for capability in agent["capabilities"]] == ["echo", "uppercase"]


async def test_an_orchestrator_can_be_closed_and_used_again(orchestrator: Orchestrator) -> None:
    task = {"capability": "echo", "parameters": {"text": "a"}}
    await orchestrator.orchestrate("s", task)
    await orchestrator.aclose()
    await orchestrator.orchestrate("s", task)
    assert len(await orchestrator.get_contracts("s")) == 4


async def test_texts_that_databases_refuse_are_kept_readable(orchestrator: Orchestrator) -> None:
    answer = await orchestrator.perform(Task("echo", {"text": "a\x00b\ud800c"}, "s"))
    assert answer.success
    _, response = await orchestrator.get_contracts("s")
    assert response["result"] == {"message": "Echo: a\ufffdb\ufffdc"}


def test_a_reference_to_another_host_in_a_schema_is_not_fetched(tmp_path: Path) -> None:
    from aorch.agents.schema import ParameterCheck
    from aorch.errors import ConfigInvalid

    with pytest.raises(ConfigInvalid, match="nothing is fetched"):
        ParameterCheck(AgentCapability("c", "", {"type": "object", "$ref": "http://localhost:9/schema.json"}))
