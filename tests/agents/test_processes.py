"""Starting programs where descriptors or processes are short."""

import asyncio
import json
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homes import Home
from waiting import WAIT_S

from aorch import Orchestrator
from aorch.agents import Agent, AgentCapability, kinds
from aorch.config.settings import Config
from aorch.engine.task import Task
from aorch.errors import AgentNotStarted

SLOW = '[agents.c]\ncommand = ["sh", "-c", "sleep 0.1; echo ok"]\nconcurrency = 32\n[agents.c.capabilities.c]\n'


def short_of_descriptors(most: int) -> Callable[[], None]:
    """What a child does so that it can have `most` descriptors and no more."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def until(ask: Callable[[], Any]) -> None:
    """Ask again until the answer is true, at most 5 s."""
    async with asyncio.timeout(WAIT_S):
        while not ask():  # noqa: ASYNC110  what it waits for is in a file
            await asyncio.sleep(0)


class Reluctant(Agent):
    """Cannot be started the first `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__("reluctant", "Reluctant")
        self.times = times
        self.calls = 0

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work")]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        if self.calls <= self.times:
            raise AgentNotStarted("too many open files")
        return {"success": True, "data": self.calls}


def test_tasks_of_a_batch_wait_for_descriptors_and_none_fails(home: Home) -> None:
    home.write("aorch.toml", SLOW)
    home.write("t.jsonl", '{"capability": "c"}\n' * 60)
    batch = home.start("run", "--batch", "t.jsonl", "--parallel", "32", preexec_fn=short_of_descriptors(64))
    out, err = batch.communicate(timeout=WAIT_S)
    assert batch.returncode == 0, err.decode()
    assert err.decode().count("warning: tasks wait: sh cannot be started now: Too many open files") == 1
    assert [json.loads(line)["success"] for line in out.splitlines()] == [True] * 60


def test_queued_tasks_wait_for_descriptors_and_none_fails(home: Home) -> None:
    home.write("aorch.toml", SLOW)

    async def submit() -> None:
        table = {"command": ["true"], "capabilities": {"c": {}}}
        config = Config(ledger=home.ledger, agents={"c": table})
        async with Orchestrator(config=config) as orchestrator:
            await orchestrator.submit_all([("s", {"capability": "c"})] * 40)

    asyncio.run(submit())
    worker = home.start("worker", "--drain", "--parallel", "32", preexec_fn=short_of_descriptors(64))
    _, err = worker.communicate(timeout=WAIT_S)
    assert worker.returncode == 0, err.decode()
    assert err.decode().count("tasks wait: sh cannot be started now: Too many open files") == 1
    ended = home.rows("SELECT status, count(*) FROM contracts WHERE contract_type = 'REQUEST' GROUP BY status")
    assert ended == [("completed", 40)]


async def test_an_agent_that_could_not_be_started_is_tried_again(orchestrator: Orchestrator) -> None:
    agent = Reluctant(2)
    orchestrator.register_agent(agent)
    answer = await orchestrator.perform(Task("work", session_id="s"))
    assert (answer.data, agent.calls) == (3, 3)


async def test_an_agent_that_cannot_be_started_in_time_was_not_called(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Reluctant(1000))
    answer = await orchestrator.perform(Task("work", session_id="s", timeout_s=0.1))
    assert answer.failure is AgentNotStarted
    assert answer.error == "too many open files"
    (response,) = (c for c in await orchestrator.get_contracts("s") if c["contract_type"] == "RESPONSE")
    assert response["metadata"]["delivered"] is False


async def test_a_program_that_runs_takes_no_thread_of_this_process(tmp_path: Path) -> None:
    """A thread that could not be started for it, once the program runs, would fail the task and leave the program."""
    waiting = "touch begun; until [ -e go ]; do sleep 0.02; done"
    table = {"command": ["sh", "-c", waiting], "cwd": str(tmp_path), "capabilities": {"c": {}}}
    (agent,) = kinds.configured(Config(tmp_path / "ledger.db", agents={"a": table}))
    before = set(threading.enumerate())
    doing = asyncio.create_task(agent.execute({"parameters": {}, "task_id": "t", "session_id": "s"}))
    try:
        await until(lambda: (tmp_path / "begun").exists())
        assert set(threading.enumerate()) <= before
    finally:
        (tmp_path / "go").touch()
        answer = await doing
    assert answer["success"]


async def test_a_program_that_ends_while_a_child_keeps_its_unread_input_open_breaks_no_callback(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    """Its input is more than a pipe takes, and less than asyncio makes the writer wait for."""
    script = "exec 3<&0; sleep 60 <&3 >/dev/null 2>&1 & echo done"
    table = {"command": ["sh", "-c", script], "capabilities": {"leave": {}}}
    (agent,) = kinds.configured(Config(tmp_path / "ledger.db", agents={"early": table}))
    orchestrator.register_agent(agent)
    orchestrator.open()
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    before = pipes_open()
    assert (await orchestrator.perform(Task("leave", {"text": "x" * 100_000}, "s"))).success
    await until(lambda: pipes_open() <= before)
    for _ in range(3):  # the loop tells the streams of the program in later iterations
        await asyncio.sleep(0)
    assert broken == []


def pipes_open() -> int:
    """The number of descriptors of this process that are pipes."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return sum(str(each.readlink()).startswith("pipe:") for each in links if each.is_symlink())
