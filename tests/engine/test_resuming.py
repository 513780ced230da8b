"""`aorch contracts resume`: what completed is taken from the ledger, what was open is done again."""

import asyncio
import contextlib
import random
import signal
import subprocess
from collections import Counter
from pipes import AGENTS, Worker, give, pipeline_home, requests, statuses

import pytest
import tomlkit
from homes import Home
from waiting import WAIT_S, wait_for

from aorch import Orchestrator, Pipeline, Step, Task, jsonio


def files(home: Home) -> dict[str, int]:
    """How often each name was counted."""
    return {path.name[4:]: len(path.read_text().split()) for path in sorted(home.folder.glob("did-*"))}


COUNTED = (
    '{name = "first", capability = "count", parameters = {name = "one"}}',
    '{name = "each", capability = "count", for_each = ["a", "b", "c"], parallel = 1, parameters = {name = "{item}"}}',
    '{name = "last", capability = "count", parameters = {name = "last {steps.each.data[2].text}"}}',
)


def test_a_killed_pipeline_resumes_at_what_was_open(home: Home) -> None:
    pipeline_home(home, *COUNTED)
    process = home.start("run", "p", "--session", "s")
    wait_for((home.folder / "did-b").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WAIT_S)
    assert files(home) == {"one": 1, "a": 1, "b": 1}
    (home.folder / "go").touch()
    ((request_id,),) = home.rows("SELECT contract_id FROM contracts WHERE capability = 'p'")
    done = home.aorch("contracts", "resume", request_id, "--json")
    assert done.code == 0, done.err
    assert done.json["session_id"] == "s"
    assert files(home) == {"one": 1, "a": 1, "b": 2, "c": 1, "last c\n": 1}
    assert home.rows("SELECT status FROM contracts WHERE request_id = ?", request_id) == [("interrupted",)]
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE contract_id = ?", done.json["contract_id"])
    assert jsonio.decode(metadata)["resumes"] == request_id
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE request_id = ?", done.json["contract_id"])
    reused = jsonio.decode(metadata)["reused"]
    completed = home.rows(
        "SELECT contract_id FROM contracts WHERE parent_id = ? AND contract_type = 'REQUEST' AND status = 'completed'"
        " ORDER BY position",
        request_id,
    )
    assert [(each,) for each in reused] == completed
    again = home.aorch("contracts", "resume", request_id)
    assert again.code == 13
    assert f"was resumed by {done.json['contract_id']}, which is completed" in again.err
    assert home.aorch("contracts", "resume", done.json["contract_id"]).code == 13


@pytest.mark.torture
def test_a_resumed_pipeline_that_is_killed_is_resumed_in_turn(home: Home) -> None:
    """What the first try and the second completed is done by neither the third."""
    pipeline_home(home, *COUNTED)
    for number, arguments in enumerate((["run", "p", "--session", "s"], ["contracts", "resume"])):
        if number:
            arguments = [*arguments, newest(home)]
        process = home.start(*arguments)
        wait_for(lambda number=number: files(home).get("b") == number + 1)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=WAIT_S)
    (home.folder / "go").touch()
    first = home.rows("SELECT contract_id FROM contracts WHERE capability = 'p' ORDER BY position")[0][0]
    refused = home.aorch("contracts", "resume", first)
    assert refused.code == 13
    assert f"aorch contracts resume {newest(home)}" in refused.err
    assert home.aorch("contracts", "resume", newest(home)).code == 0
    assert files(home) == {"one": 1, "a": 1, "b": 3, "c": 1, "last c\n": 1}


def newest(home: Home) -> str:
    """The newest REQUEST of the pipeline."""
    ((request_id,),) = home.rows(
        "SELECT contract_id FROM contracts WHERE capability = 'p' AND contract_type = 'REQUEST' ORDER BY position DESC LIMIT 1"
    )
    return str(request_id)


@pytest.mark.torture
def test_twenty_kills_at_any_moment_do_no_completed_step_twice(home: Home) -> None:
    """However often it is killed, what the ledger says completed was done once more only by whoever was killed in it."""
    names = [f"n{number}" for number in range(40)]
    slow = AGENTS.replace('$0"; while', '$0"; sleep 0.1; while').replace("concurrency = 1", "concurrency = 4")
    step = {"name": "each", "capability": "count", "for_each": names, "parallel": 2}
    table = {"pipelines": {"p": {"steps": [{**step, "parameters": {"name": "{item}"}}]}}}
    home.write("aorch.toml", slow + tomlkit.dumps(table))
    home.aorch("run", "say", "text=the ledger is there")
    arguments, killed = ["run", "p", "--session", "s"], 0
    while killed < 20:
        process = home.start(*arguments)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0.1, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=WAIT_S)
        if process.returncode == 0:
            break
        killed += 1
        if home.rows("SELECT 1 FROM contracts WHERE capability = 'p'"):
            arguments = ["contracts", "resume", newest(home)]
    assert killed
    assert home.aorch(*arguments).code in (0, 13)
    assert home.rows("SELECT status FROM contracts WHERE contract_id = ?", newest(home)) == [("completed",)]
    completed = home.rows(
        "SELECT payload FROM contracts WHERE capability = 'count' AND contract_type = 'REQUEST' AND status = 'completed'"
    )
    assert Counter(jsonio.decode(payload)["name"] for (payload,) in completed) == dict.fromkeys(names, 1)
    assert sum(files(home).values()) <= len(names) + 2 * killed


def test_any_other_task_is_simply_done_again(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    home.aorch("run", "hang", "--session", "s", "--context", '{"why": "test"}', "--timeout", "0.3")
    ((request_id,),) = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST'")
    home.write("aorch.toml", AGENTS.replace("exec sleep 60", "echo done"))
    done = home.aorch("contracts", "resume", request_id[:20], "--json")
    assert (done.code, done.json["data"], done.json["session_id"]) == (0, {"text": "done\n"}, "s")
    assert f"task {request_id} had already started, so its agent may now do the same work twice" in done.err
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE contract_id = ?", done.json["contract_id"])
    assert jsonio.decode(metadata) == {
        "context": {"why": "test"}, "resumes": request_id, "routing": {"reason": "only_candidate"}
    }  # fmt: skip


def test_what_runs_is_not_resumed(home: Home) -> None:
    pipeline_home(home, *COUNTED)
    process = home.start("run", "p", "--session", "s")
    wait_for((home.folder / "did-b").exists)
    refused = home.aorch("contracts", "resume", newest(home))
    assert refused.code == 13
    assert "is in_progress, and the process that runs it is alive" in refused.err
    (home.folder / "go").touch()
    assert process.communicate(timeout=WAIT_S)[1] == b""


async def test_a_request_that_is_executed_again_under_its_own_id_takes_over_what_it_completed(
    orchestrator: Orchestrator,
) -> None:
    """As a worker does that takes a REQUEST over from one that died."""
    from aorch.engine.invocation import Invocation, invoke

    worker = Worker()
    pipeline = Pipeline("p", [give("a", 1), Step("b", "work", {"name": "b", "fail": "{steps.a.data}"})])
    orchestrator.register_agent(worker)
    orchestrator.register_agent(pipeline)
    answer = await orchestrator.perform(Task("p", {}, "s"))
    assert worker.done == ["a", "b"]
    document = {"task_id": answer.contract_id, "session_id": "s", "capability": "p", "parameters": {}, "context": {}}
    invocation = Invocation(orchestrator.executor, pipeline, answer.contract_id)
    outcome = await invoke(invocation, document, 10, orchestrator.executor.watcher)
    assert outcome.error == "step b: 1"
    assert worker.done == ["a", "b", "b"]
    (request,) = [each for each in await requests(orchestrator, "work") if each["metadata"]["step"] == "a"]
    assert invocation.details == {"reused": [request["contract_id"]]}


async def test_a_step_whose_parameters_changed_is_done_again(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    orchestrator.register_agent(
        Pipeline("p", [give("a", 1), give("b", 2), Step("c", "work", {"name": "c", "fail": "x"})])
    )
    answer = await orchestrator.perform(Task("p", {}, "s"))
    async with Orchestrator(orchestrator.config.ledger) as later:
        later.register_agent(worker)
        later.register_agent(Pipeline("p", [give("a", 1), give("b", 3), give("c", "{steps.b.data}")]))
        again = await later.resume(answer.contract_id)
    assert (again.data, len(again.reused or ())) == (3, 1)
    assert worker.done == ["a", "b", "c", "b", "c"]


async def test_a_pipeline_within_a_pipeline_resumes_where_it_was_open(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    inner = Pipeline("inner", [give("a", 1), Step("b", "work", {"name": "b", "wait": "{input.wait}"})])
    orchestrator.register_agent(inner)
    orchestrator.register_agent(
        Pipeline("outer", [give("before", [True]), Step("in", "inner", {"wait": "{steps.before.data[0]}"})])
    )
    running = asyncio.create_task(orchestrator.perform(Task("outer", {}, "s")))
    await asyncio.wait_for(worker.waiting.wait(), WAIT_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {each["status"] for each in await requests(orchestrator) if each["capability"] != "work"} == {"cancelled"}
    (outer,) = await requests(orchestrator, "outer")
    worker.waiting.clear()
    resumed = asyncio.create_task(orchestrator.resume(outer["contract_id"]))
    await asyncio.wait_for(worker.waiting.wait(), WAIT_S)
    resumed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await resumed
    assert worker.done == ["before", "a", "b", "b"]


async def test_the_metadata_of_a_stranger_takes_nothing_over_from_another_session(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    orchestrator.register_agent(Pipeline("p", [give("a", 1)]))
    first = await orchestrator.perform(Task("p", {}, "s"))
    other = await orchestrator.perform(Task("p", {}, "t", metadata={"resumes": first.contract_id}))
    assert (other.reused, worker.done) == ([], ["a", "a"])


# In the queue


def test_a_pipeline_whose_worker_was_killed_is_taken_up_by_the_next_where_it_was(home: Home) -> None:
    """Under the same REQUEST, since it is declared idempotent; the steps that completed are done no second time."""
    pipeline_home(home, *COUNTED, more="idempotent = true")
    request_id = home.aorch("run", "p", "--session", "s", "--detach").out.split()[0]
    worker = home.start("worker")
    wait_for((home.folder / "did-b").exists)
    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=WAIT_S)
    (home.folder / "go").touch()
    done = home.aorch("worker", "--drain")
    assert done.code == 0, done.err
    answer = home.aorch("contracts", "wait", request_id, "--json")
    assert answer.json["data"] == {"text": "last c\n\n"}, answer.err
    assert files(home) == {"one": 1, "a": 1, "b": 2, "c": 1, "last c\n": 1}
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE request_id = ?", request_id)
    assert len(jsonio.decode(metadata)["reused"]) == 2


@pytest.mark.usefixtures("no_leftovers")
def test_a_pipeline_that_is_cancelled_from_elsewhere_cancels_its_steps_and_can_be_resumed(home: Home) -> None:
    pipeline_home(home, *COUNTED)
    request_id = home.aorch("run", "p", "--session", "s", "--detach").out.split()[0]
    with home.start("worker", "--drain") as worker:
        wait_for((home.folder / "did-b").exists)
        assert home.aorch("contracts", "cancel", request_id).code == 0
        worker.communicate(timeout=WAIT_S)
    assert statuses(home)["p"] == ["cancelled", "cancelled"]
    assert statuses(home)["count"] == ["completed"] * 4 + ["cancelled"] * 2
    (home.folder / "go").touch()
    assert home.aorch("contracts", "resume", request_id).code == 0
    assert files(home) == {"one": 1, "a": 1, "b": 2, "c": 1, "last c\n": 1}
