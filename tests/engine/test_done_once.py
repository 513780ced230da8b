"""What `contracts resume`, `--resume`, `--retry-failed` or a resumed pipeline completed, none of the others does again."""

import asyncio
import re
import signal
from contextlib import closing
from pipes import AGENTS
from typing import Any

import pytest
from batches import lines, results, seen, task, with_witness
from homes import Home
from waiting import WAIT_S, wait_for

from aorch import Agent, AgentCapability, Orchestrator, Pipeline, Step, Task
from aorch.batch.batch_history import unfinished_lines
from aorch.engine.resume import resumable
from aorch.engine.task import Answer
from aorch.errors import Conflict
from aorch.ledger.batch_register import BatchReader


class Flaky(Agent):
    """Fails what is in `broken`, and remembers what it was asked; does not end what is in `held` until `go` is set."""

    def __init__(self) -> None:
        super().__init__("flaky", "Flaky")
        self.broken: set[str] = set()
        self.done: list[str] = []
        self.held = ""
        self.began, self.go = asyncio.Event(), asyncio.Event()

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work")]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        name = task["parameters"]["name"]
        self.done.append(name)
        if name == self.held:
            self.began.set()
            await self.go.wait()
        return {"success": name not in self.broken, "data": name, "error": "broken"}


@pytest.fixture
def flaky(orchestrator: Orchestrator) -> Flaky:
    """Its agent, and a pipeline of three steps that it does."""
    agent = Flaky()
    orchestrator.register_agent(agent)
    steps = [Step(name, "work", {"name": name}, needs=needs) for name, needs in (("a", []), ("b", ["a"]), ("c", ["b"]))]
    orchestrator.register_agent(Pipeline("p", steps))
    return agent


async def retried(orchestrator: Orchestrator) -> list[Answer]:
    """What `--retry-failed` does."""
    with closing(BatchReader(orchestrator.config.ledger)) as recorded:
        chunks = list(unfinished_lines(recorded, "s", None))
    return [await orchestrator.perform(line.task) for chunk in chunks for _, _, _, line in chunk if line.task]


async def failed_step(orchestrator: Orchestrator) -> str:
    """The id of the newest REQUEST of a step that failed."""
    found = [each for each in await orchestrator.get_contracts("s") if each["status"] == "failed" and each["parent_id"]]
    return str([each for each in found if each["contract_type"] == "REQUEST"][-1]["contract_id"])


async def test_a_pipeline_that_was_resumed_is_not_retried(orchestrator: Orchestrator, flaky: Flaky) -> None:
    flaky.broken = {"c"}
    first = await orchestrator.perform(Task("p", {}, "s"))
    second = await orchestrator.resume(first.contract_id or "")
    flaky.broken = {"b"}  # which is done already
    third = await orchestrator.resume(second.contract_id or "")
    assert (third.success, flaky.done) == (True, ["a", "b", "c", "c", "c"])
    assert await retried(orchestrator) == []
    for each in (first, second):
        with pytest.raises(Conflict, match=f"was resumed by {third.contract_id}, which is completed"):
            await orchestrator.resume(each.contract_id or "")


async def test_a_pipeline_that_is_retried_takes_over_what_earlier_tries_completed(
    orchestrator: Orchestrator, flaky: Flaky
) -> None:
    """Whichever command made them; and afterwards it cannot be resumed."""
    flaky.broken = {"b"}
    first = await orchestrator.perform(Task("p", {}, "s"))
    assert [each.success for each in await retried(orchestrator)] == [False]
    flaky.broken = {"c"}
    last = (await retried(orchestrator))[0].contract_id or ""
    flaky.broken = set()
    with pytest.raises(Conflict) as refusal:
        await orchestrator.resume(first.contract_id or "")
    assert refusal.value.hint == f"Resume that one with `aorch contracts resume {last}`."
    assert resumable(orchestrator.config.ledger, first.contract_id or "") == last
    assert (await orchestrator.resume(last)).success
    assert flaky.done == ["a", "b", "b", "b", "c", "c"]
    assert await retried(orchestrator) == []


async def test_a_step_that_was_resumed_alone_is_taken_over(orchestrator: Orchestrator, flaky: Flaky) -> None:
    flaky.broken = {"b"}
    first = await orchestrator.perform(Task("p", {}, "s"))
    flaky.broken = set()
    step = await failed_step(orchestrator)
    assert (await orchestrator.resume(step)).data == "b"
    assert [each.success for each in await retried(orchestrator)] == [True]
    assert flaky.done == ["a", "b", "b", "c"]
    with pytest.raises(Conflict):
        await orchestrator.resume(first.contract_id or "")


async def test_a_step_that_a_resumed_pipeline_completed_is_not_resumed(
    orchestrator: Orchestrator, flaky: Flaky
) -> None:
    flaky.broken = {"b"}
    first = await orchestrator.perform(Task("p", {}, "s"))
    step = await failed_step(orchestrator)
    flaky.broken = {"c"}
    await orchestrator.resume(first.contract_id or "")
    with pytest.raises(Conflict, match="which is completed"):
        await orchestrator.resume(step)
    assert flaky.done == ["a", "b", "b", "c"]


async def test_a_step_that_is_resumed_alone_now_is_not_done_beside_it(orchestrator: Orchestrator, flaky: Flaky) -> None:
    flaky.broken = {"b"}
    first = await orchestrator.perform(Task("p", {}, "s"))
    flaky.broken, flaky.held = set(), "b"
    step = await failed_step(orchestrator)
    alone = asyncio.create_task(orchestrator.resume(step))
    await asyncio.wait_for(flaky.began.wait(), WAIT_S)
    second = await asyncio.wait_for(orchestrator.resume(first.contract_id or ""), WAIT_S)
    assert (second.failure, flaky.done) == (Conflict, ["a", "b", "b"])
    flaky.go.set()
    done = await alone
    assert second.error == f"step b: it is already running ({done.contract_id})"
    third = await orchestrator.resume(second.contract_id or "")
    assert (third.success, flaky.done) == (True, ["a", "b", "b", "c"])


async def test_a_step_that_is_resumed_alone_while_its_pipeline_resumes_is_taken_over(
    orchestrator: Orchestrator, flaky: Flaky
) -> None:
    """Before the pipeline comes to it; and one that the pipeline does is not resumed alone meanwhile."""
    each = Step("each", "work", {"name": "{item}"}, for_each="{input.names}", parallel=1, on_error="continue")
    orchestrator.register_agent(Pipeline("q", [each], parameters={"names": "array"}))
    flaky.broken = {"x", "y"}
    first = await orchestrator.perform(Task("q", {"names": ["x", "y"]}, "s"))
    flaky.broken, flaky.held = set(), "x"
    step = await failed_step(orchestrator)
    resumed = asyncio.create_task(orchestrator.resume(first.contract_id or ""))
    await asyncio.wait_for(flaky.began.wait(), WAIT_S)
    (x,) = [
        each["contract_id"] for each in await orchestrator.get_contracts("s") if each["metadata"].get("index") == 0
    ][:1]
    with pytest.raises(Conflict, match="which is in_progress"):
        await orchestrator.resume(x)
    assert (await orchestrator.resume(step)).data == "y"
    flaky.go.set()
    assert ((await resumed).data, flaky.done) == (["x", "y"], ["x", "y", "x", "y"])


async def test_only_tries_of_the_same_session_and_capability_count(orchestrator: Orchestrator, flaky: Flaky) -> None:
    """What metadata says comes from outside, and may go in a circle."""
    flaky.broken = {"x", "y"}
    root = await orchestrator.perform(Task("work", {"name": "x"}, "s"))
    about = {"resumes": root.contract_id, "retry_of": root.contract_id}
    await orchestrator.perform(Task("work", {"name": "z"}, "other", metadata=about))
    await orchestrator.perform(Task("echo", {"text": "z"}, "s", metadata=about))
    await orchestrator.perform(Task("work", {"name": "y"}, "s", metadata={"resumes": {"odd": 1}, "retry_of": ["x"]}))
    with closing(BatchReader(orchestrator.config.ledger)) as recorded:
        assert recorded.last_try("s", root.contract_id or "") == (root.contract_id, "failed")
    assert len(await retried(orchestrator)) == 2


# Batches


@pytest.fixture
def home(home: Home) -> Home:
    return with_witness(home)


def test_a_line_is_done_once_by_whichever_command(home: Home) -> None:
    home.write("broken", "")
    home.write("b.jsonl", lines(task(1), task(2, "again")))
    home.aorch("run", "--batch", "b.jsonl", "--session", "s", "--ordered")
    (home.folder / "broken").unlink()
    asked = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position")
    assert home.aorch("contracts", "resume", asked[0][0]).code == 0
    resumed = home.aorch("run", "--batch", "b.jsonl", "--resume", "--ordered")
    assert [each["success"] for each in results(resumed)] == [True, False]
    assert [each["id"] for each in results(home.aorch("run", "--retry-failed", "s"))] == [2]
    assert home.aorch("contracts", "resume", asked[1][0]).code == 13
    assert [each["data"] for each in results(home.aorch("run", "--batch", "b.jsonl", "--resume", "--ordered"))] == [
        1,
        2,
    ]
    assert sorted(seen(home)) == ["1", "1", "2", "2"]


@pytest.mark.parametrize("end", ["fail fast", "TERM"])
def test_ordered_tells_every_result_that_there_is_although_lines_before_have_none(home: Home, end: str) -> None:
    """The most urgent is done first and waits for its turn, which never comes."""
    last = task(3, fail=True, about={"priority": 1}) if end == "fail fast" else task(3, about={"priority": 1})
    text = lines(task(1, wait="never"), task(2, wait="never"), last)
    if end == "fail fast":
        done = home.aorch("run", "--batch", "-", "--ordered", "--fail-fast", "--parallel", "1", stdin=text)
        assert ([each["id"] for each in results(done)], done.code) == ([3], 10)
        return
    home.write("b.jsonl", text)
    running = home.start("run", "--batch", "b.jsonl", "--ordered", "--parallel", "2")
    wait_for(lambda: home.rows("SELECT 1 FROM contracts WHERE contract_type = 'RESPONSE'"))
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=WAIT_S)
    assert [each["id"] for each in results(out.decode())] == [3]


def test_a_resume_that_is_ended_names_the_contract_that_can_be_resumed(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    home.aorch("run", "hang", "--session", "s", "--timeout", "0.2")
    ((first,),) = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST'")
    (home.folder / "hanging").unlink(missing_ok=True)  # the time limit can end it before
    resuming = home.start("contracts", "resume", first)
    wait_for((home.folder / "hanging").exists)
    resuming.send_signal(signal.SIGTERM)
    _, err = resuming.communicate(timeout=WAIT_S)
    ((second,),) = home.rows(
        "SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position DESC LIMIT 1"
    )
    assert re.findall(r"aorch contracts resume (\w+)", err.decode()) == [second]
