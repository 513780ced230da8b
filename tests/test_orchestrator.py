"""The Python API, as the seed document writes it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ledgers import new_ledger
from rows import locked
from waiting import WAIT_S

from aorch import Agent, AgentCapability, AorchError, Orchestrator, Task, UsageError


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
    await asyncio.wait_for(started.wait(), WAIT_S)
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


@pytest.mark.parametrize(
    "given", [Path("postgresql://host/db"), "postgres:/host/db", "sqlite:///team.db", "https://host"]
)
def test_a_url_that_is_no_database_is_refused_instead_of_creating_a_directory_of_its_name(
    given: Path | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"lacks a slash|neither a file nor the URL") as raised:
        Orchestrator(given)
    assert str(given) in str(raised.value)
    assert list(tmp_path.iterdir()) == []


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
    from aorch.agents.parameters import ParameterCheck
    from aorch.errors import ConfigInvalid

    with pytest.raises(ConfigInvalid, match="are not fetched"):
        ParameterCheck(AgentCapability("c", "", {"type": "object", "$ref": "http://localhost:9/schema.json"}))


class Held(Agent):
    """Tells what it was asked; `wait` ends when it is let go, or cancelled."""

    def __init__(self) -> None:
        super().__init__(agent_id="held", name="Held")
        self.asked: list[Any] = []
        self.go = asyncio.Event()
        self.cancelled = 0

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(task["parameters"]["n"])
        if task["parameters"].get("wait"):
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return {"success": True, "data": task["parameters"]["n"]}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("tell")]


@pytest.fixture
def held(orchestrator: Orchestrator) -> Held:
    """One that is registered."""
    agent = Held()
    orchestrator.register_agent(agent)
    return agent


async def test_map_yields_answers_as_they_come_each_with_its_item(orchestrator: Orchestrator, held: Held) -> None:
    items = [{"n": n, "wait": n == 0} for n in range(5)]
    answers = []
    async for answer in orchestrator.map("tell", items, limit=2, session_id="s"):
        answers.append(answer)
        if len(answers) == 4:
            held.go.set()
    assert [answer["data"] for answer in answers] == [1, 2, 3, 4, 0]
    assert [(answer["item"], answer["index"]) for answer in answers] == [(items[n], n) for n in (1, 2, 3, 4, 0)]
    assert {answer["session_id"] for answer in answers} == {"s"}
    assert len(await orchestrator.get_contracts("s")) == 10


async def test_map_takes_an_async_iterable_and_no_more_than_its_consumer_takes(
    orchestrator: Orchestrator, held: Held
) -> None:
    taken = []

    async def endless() -> AsyncIterator[dict[str, Any]]:
        while True:
            taken.append(len(taken))
            yield {"n": taken[-1]}

    answers = orchestrator.map("tell", endless(), limit=3)
    first = [await anext(answers) for _ in range(10)]
    assert {answer["success"] for answer in first} == {True}
    assert len({answer["session_id"] for answer in first}) == 1
    await answers.aclose()
    assert 10 <= len(taken) <= 14


async def test_closing_a_map_cancels_what_runs_and_the_ledger_says_so(orchestrator: Orchestrator, held: Held) -> None:
    answers = orchestrator.map("tell", ({"n": n, "wait": n > 0} for n in range(100)), limit=4, session_id="s")
    assert (await anext(answers))["data"] == 0
    await answers.aclose()
    statuses = [contract["status"] for contract in await orchestrator.get_contracts("s")]
    assert statuses.count("cancelled") == 2 * held.cancelled > 0
    assert set(statuses) == {"completed", "cancelled"}


async def test_a_map_raises_what_its_items_raise_and_what_is_no_item(orchestrator: Orchestrator, held: Held) -> None:
    def broken() -> Any:
        yield {"n": 1, "wait": True}
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        [answer async for answer in orchestrator.map("tell", broken(), session_id="s")]
    assert {contract["status"] for contract in await orchestrator.get_contracts("s")} <= {"cancelled"}
    with pytest.raises(AorchError, match="parameters must be a JSON object"):
        [answer async for answer in orchestrator.map("tell", [[1]])]  # type: ignore[list-item]  # that is the point
    with pytest.raises(AorchError, match="limit"):
        await anext(orchestrator.map("tell", [], limit=0))
    assert [answer async for answer in orchestrator.map("tell", [])] == []


async def test_a_failure_in_a_map_is_an_answer_like_any_other(orchestrator: Orchestrator, held: Held) -> None:
    answers = [answer async for answer in orchestrator.map("fly", [{}, {}])]
    assert [(answer["success"], answer["error"]) for answer in answers] == [
        (False, "No agent available for capability: fly")
    ] * 2


async def test_each_of_many_tasks_ends_when_its_own_time_is_up(orchestrator: Orchestrator, held: Held) -> None:
    """None before, whatever the order in which they began; one that has time left goes on."""
    ended: list[float] = []

    async def ask(timeout_s: float) -> dict[str, Any]:
        task = {"capability": "tell", "parameters": {"n": timeout_s, "wait": True}, "timeout_s": timeout_s}
        begun = time.monotonic()
        answer = await orchestrator.orchestrate("s", task)
        assert answer["success"] or time.monotonic() - begun >= timeout_s
        ended.append(timeout_s)
        if len(ended) == 4:
            held.go.set()
        return answer

    answers = await asyncio.gather(*(ask(timeout_s) for timeout_s in (60, 0.3, 0.05, 0.2, 0.1)))
    assert ended[-1] == 60
    assert answers[0]["success"]
    late = [f"held gave no answer within {limit} s" for limit in (0.3, 0.05, 0.2, 0.1)]
    assert [answer["error"] for answer in answers[1:]] == late


async def test_a_task_cancelled_before_its_request_is_durable_is_cancelled_in_the_ledger(
    orchestrator: Orchestrator, held: Held
) -> None:
    """Also where both of its contracts are committed together with another's answer, and the ledger opens again."""

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
            os.sched_yield()

    def ask(session_id: str, **parameters: Any) -> asyncio.Task[dict[str, Any]]:
        task = {"capability": "tell", "parameters": {"n": 0, **parameters}}
        return asyncio.create_task(orchestrator.orchestrate(session_id, task))

    answered = ask("answered", wait=True)
    while not held.asked:
        await turns()
    with locked(orchestrator.config.ledger):
        first = ask("first")
        await turns()  # the writer waits for the lock with this one's REQUEST, and the rest gathers
        held.go.set()
        await turns()
        cancelled = ask("cancelled")
        await turns()
        cancelled.cancel()
        await turns()
    await asyncio.gather(answered, first, cancelled, return_exceptions=True)
    assert cancelled.cancelled()
    request, response = await orchestrator.get_contracts("cancelled")
    assert (request["contract_type"], request["status"]) == ("REQUEST", "cancelled")
    assert (response["contract_type"], response["status"]) == ("RESPONSE", "cancelled")
    assert response["metadata"]["delivered"] is False
    await orchestrator.aclose()
    assert (await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "hi"}}))["success"]


class Silent(Agent):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__(agent_id="silent", name="Silent")

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        await asyncio.Future()
        raise AssertionError

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("keep_silent")]


def test_one_orchestrator_serves_several_event_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, and side by side in threads: each task's time is up in its own loop."""
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    orchestrator = Orchestrator(new_ledger(tmp_path))
    orchestrator.register_agent(Silent())

    def ask(timeout_s: float) -> str:
        task = {"capability": "keep_silent", "timeout_s": timeout_s}
        return str(asyncio.run(orchestrator.orchestrate("s", task))["error"])

    for _ in range(2):
        assert ask(0.05) == "silent gave no answer within 0.05 s"
    with ThreadPoolExecutor(4) as threads:
        limits = [0.05, 0.1, 0.15, 0.2]
        assert list(threads.map(ask, limits)) == [f"silent gave no answer within {limit:g} s" for limit in limits]
    assert len(asyncio.run(orchestrator.get_contracts())) == 12
    asyncio.run(orchestrator.aclose())


def test_an_agent_takes_only_so_many_tasks_at_a_time_whatever_event_loops_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One loop after the other, and several side by side in threads."""
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    orchestrator = Orchestrator(new_ledger(tmp_path))
    counter = Counter(concurrency=2)
    orchestrator.register_agent(counter)

    async def ask() -> list[bool]:
        tasks = [{"capability": "count", "parameters": {"items": [1]}} for _ in range(20)]
        answers = await asyncio.gather(*(orchestrator.orchestrate("s", task) for task in tasks))
        return [answer["success"] for answer in answers]

    for _ in range(2):
        assert asyncio.run(ask()) == [True] * 20
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: asyncio.run(ask()), range(4))) == [[True] * 20] * 4
    assert counter.most == 2
    (form,) = [agent for agent in orchestrator.list_agents() if agent["agent_id"] == "counter"]
    assert (form["status"], form["tasks_completed"]) == ("available", 120)
    asyncio.run(orchestrator.aclose())
