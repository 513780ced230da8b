"""Workers killed at random while they work through a queue: nothing is lost, and nothing is done twice that must not be."""

import asyncio
import random
import signal
import subprocess
from collections import Counter

import pytest
from homes import Home
from ledger_state import is_intact
from queueing import besides_log

from aorch.config import settings
from aorch.orchestrator import Orchestrator

AGENT = """
import asyncio, os, random
from pathlib import Path
from aorch.agents import Agent, AgentCapability

class Counted(Agent):
    '''Says in a file that it began a task, takes its time, and says that it did it.'''

    def __init__(self):
        super().__init__("counted", "Counted")
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self.begun, self.done = os.open("begun", how), os.open("done", how)

    def get_capabilities(self):
        return [AgentCapability("once"), AgentCapability("again", idempotent=True)]

    async def execute(self, task):
        line = f"{task['task_id']}\\n".encode()
        os.write(self.begun, line)
        if not Path("hurry").exists():
            await asyncio.sleep(random.uniform(0, 0.08))
        os.write(self.done, line)
        return {"success": True, "data": {}}
"""

WORKERS, PARALLEL = 4, 4


def submitted(home: Home, count: int) -> dict[str, str]:
    """The ids of that many tasks that were accepted, half of them idempotent, and the capability of each."""

    async def submit() -> dict[str, str]:
        ids = {}
        async with Orchestrator(config=settings.Config(ledger=home.ledger)) as orchestrator:
            orchestrator.register_agent(_loaded(home))
            for start in range(0, count, 500):
                names = [("once", "again")[number % 2] for number in range(start, min(start + 500, count))]
                tasks = [orchestrator.submit(f"s{n % 7}", {"capability": name}) for n, name in enumerate(names)]
                ids |= dict(zip(await asyncio.gather(*tasks), names, strict=True))
        return ids

    return asyncio.run(submit())


def _loaded(home: Home):  # type: ignore[no-untyped-def]  # an agent's class that is only known here
    from aorch import Agent, AgentCapability

    class Declared(Agent):
        def get_capabilities(self) -> list[AgentCapability]:
            return [AgentCapability("once"), AgentCapability("again", idempotent=True)]

        async def execute(self, task: dict[str, object]) -> dict[str, object]:
            raise NotImplementedError

    return Declared("counted", "Counted")


def kill_and_start_again(home: Home, kills: int, most_wait_s: float) -> None:
    """Kill one of the workers at random, that often, and start another in its place; then let them finish."""
    command = ("worker", "--parallel", str(PARALLEL))
    log = (home.folder / "workers.log").open("ab")  # a pipe that nobody reads would hold them up
    workers = [home.start(*command, stderr=log) for _ in range(WORKERS)]
    try:
        for _ in range(kills):
            place = random.randrange(WORKERS)
            try:
                workers[place].wait(timeout=random.uniform(0, most_wait_s))
            except subprocess.TimeoutExpired:
                workers[place].kill()
            workers[place].communicate()
            assert workers[place].returncode == -signal.SIGKILL
            workers[place] = home.start(*command, stderr=log)
        home.write("hurry", "")
        drained = home.aorch("worker", "--drain", timeout=120)
        assert (drained.code, besides_log(drained.err)) == (0, "")
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.communicate(timeout=60)
        assert besides_log((home.folder / "workers.log").read_text()) == ""
        assert {worker.returncode for worker in workers} <= {0, -signal.SIGTERM}, "the latter while it started"
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
        log.close()


def check(home: Home, ids: dict[str, str], kills: int) -> None:
    """What the ledger says, beside what the agents' own files say."""
    begun, done = (Counter((home.folder / name).read_text().split()) for name in ("begun", "done"))
    asked = home.rows(
        "SELECT q.contract_id, q.status, a.status, q.claimed_by FROM contracts q"
        " LEFT JOIN contracts a ON a.request_id = q.contract_id WHERE q.contract_type = 'REQUEST'"
    )
    ends = {request_id: end for request_id, *end in asked}
    assert len(asked) == len(ends) == len(ids)
    assert ends.keys() == ids.keys()
    assert begun.keys() <= ids.keys()
    completed, interrupted = ["completed", "completed", None], ["failed", "interrupted", None]
    for request_id, capability in ids.items():
        if capability == "again":
            assert ends[request_id] == completed
            assert done[request_id] >= 1
        else:
            assert begun[request_id] <= 1
            assert ends[request_id] in (completed, interrupted)
            assert ends[request_id] == interrupted or done[request_id] == 1
    assert sum(end == interrupted for end in ends.values()) <= kills * PARALLEL
    assert is_intact(home.ledger)


def trial(home: Home, *, tasks: int, kills: int, most_wait_s: float) -> None:
    home.write("counted.py", AGENT)
    home.write("aorch.toml", '[agents.counted]\nclass = "counted:Counted"\n')
    ids = submitted(home, tasks)
    kill_and_start_again(home, kills, most_wait_s)
    check(home, ids, kills)


def test_three_kills_lose_nothing(home: Home) -> None:
    trial(home, tasks=200, kills=3, most_wait_s=0.6)


@pytest.mark.torture
def test_two_hundred_kills_of_four_workers_over_twenty_thousand_tasks_lose_nothing(home: Home) -> None:
    trial(home, tasks=20_000, kills=200, most_wait_s=0.6)
