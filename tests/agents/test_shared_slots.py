"""Configured limits of an agent hold across the processes of a ledger."""

import asyncio
import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from file_limits import no_file_can_grow
from homes import Home
from ledgers import new_ledger
from waiting import WAIT_S, wait_for

from aorch import Agent, AgentCapability, Orchestrator, Task
from aorch.errors import LedgerError, UsageError
from aorch.ledger.sqlite.agent_limits import AgentLimits

PROGRAM = """
import json, sys, time
def note(what):
    with open("notes", "a") as notes:
        notes.write(f"{what} {time.monotonic()}\\n")
note("begin")
if "hold" in json.load(sys.stdin)["parameters"]:
    sys.stdin = open("go")
    sys.stdin.read()
time.sleep(0.02)
note("end")
print("1")
"""


def furnish(home: Home, limits: str, program: str = PROGRAM) -> Home:
    """Declare the agent `limited`."""
    home.write("agent.py", program)
    home.write(
        "aorch.toml",
        f'[agents.limited]\ncommand = ["python3", "-S", "agent.py"]\n{limits}\n[agents.limited.capabilities.work]\n',
    )
    return home


def notes(home: Home) -> list[tuple[str, float]]:
    file = home.folder / "notes"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(line.split()[0], float(line.split()[1])) for line in lines]


def most_at_once(home: Home) -> int:
    running, most = 0, 0
    for what, _ in notes(home):
        running += 1 if what == "begin" else -1
        most = max(most, running)
    return most


def run_both(home: Home, count: int) -> None:
    """Run `count` tasks in each of two processes at once."""
    for name in "ab":
        lines = [json.dumps({"capability": "work", "parameters": {"n": f"{name}{n}"}}) for n in range(count)]
        home.write(f"{name}.jsonl", "\n".join(lines) + "\n")
    line = "aorch run --batch a.jsonl >/dev/null & other=$!; aorch run --batch b.jsonl >/dev/null && wait $other"
    ran = home.bash(line)
    assert ran.returncode == 0, ran.stderr


def test_two_processes_never_exceed_the_concurrency_together(home: Home) -> None:
    furnish(home, "concurrency = 2")
    run_both(home, 8)
    assert Counter(what for what, _ in notes(home)) == Counter(begin=16, end=16)
    assert most_at_once(home) <= 2


def test_a_killed_process_frees_its_slots_at_once(home: Home) -> None:
    furnish(home, "concurrency = 1")
    os.mkfifo(home.folder / "go")
    with home.start("run", "work", "hold=yes", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as held:
        wait_for(lambda: len(notes(home)) == 1)
        full = home.aorch("run", "work", "--timeout", "0.2")
        status = json.loads(home.aorch("agents", "show", "limited", "--json").out)["status"]
        held.kill()
    again = home.aorch("run", "work")
    (home.folder / "go").write_text("")  # ends the program that it has left
    assert (full.code, status, again.code) == (11, "busy", 0)
    assert "limited was not called within 0.2 s: it is running its maximum number of tasks (1)" in full.err


def test_the_rate_holds_over_two_processes(home: Home) -> None:
    furnish(home, "rate_per_min = 300")
    started = time.monotonic()
    run_both(home, 4)
    begun = [moment for what, moment in notes(home) if what == "begin"]
    assert len(begun) == 8
    assert begun[-1] - started >= 7 * 0.2 - 0.15, "a program may start late, but no call is early"


def test_an_agent_that_calls_itself_in_another_process_is_rejected(home: Home) -> None:
    command = home.command("run", "work", "nested=yes")
    nested = f"import subprocess, sys\nsys.exit(subprocess.call({command!r}))\n"
    furnish(home, "concurrency = 1", nested)
    ran = home.aorch("run", "work", "--timeout", "20")
    assert ran.code == 10
    errors = [error for (error,) in home.rows("SELECT error FROM contracts WHERE error IS NOT NULL")]
    assert any("limited calls itself and runs at most 1 at a time" in error for error in errors), errors


class Limited(Agent):
    """Runs until `go` is set."""

    def __init__(self, agent_id: str, rate_per_min: float | None = None) -> None:
        super().__init__(agent_id, agent_id)
        self.rate_per_min, self.shares_concurrency, self.concurrency = rate_per_min, True, 1
        self.go, self.begun, self.order = asyncio.Event(), asyncio.Event(), list[str]()

    async def execute(self, task: dict[str, object]) -> dict[str, object]:
        self.order.append(task["session_id"])  # type: ignore[arg-type]
        self.begun.set()
        await self.go.wait()
        return {"success": True, "data": self.agent_id}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work")]


async def test_waiters_of_a_process_are_served_in_order_and_a_cancelled_one_is_left_out(tmp_path: Path) -> None:
    agent = Limited("agent")
    async with Orchestrator(new_ledger(tmp_path)) as orchestrator, asyncio.timeout(WAIT_S):
        orchestrator.register_agent(agent)
        orchestrator.open()
        tasks = []
        for n in range(5):
            tasks.append(asyncio.create_task(orchestrator.perform(Task("work", {}, f"s{n}"))))
            await asyncio.sleep(0)
        line = orchestrator.registry.get("agent").line
        assert len(line) == 4
        tasks[1].cancel()
        agent.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [False, True, False, False, False]
    assert (agent.order, line) == (["s0", "s2", "s3", "s4"], {})


async def test_routing_prefers_an_agent_whose_slots_no_process_uses(tmp_path: Path) -> None:
    first, second = Limited("first"), Limited("second")
    elsewhere = Limited("first")
    ledger = new_ledger(tmp_path)
    async with Orchestrator(ledger) as other, Orchestrator(ledger) as orchestrator:
        other.register_agent(elsewhere)
        running = asyncio.create_task(other.perform(Task("work", {}, "s")))
        await elsewhere.begun.wait()
        orchestrator.register_agent(first)
        orchestrator.register_agent(second)
        second.go.set()
        answer = await orchestrator.perform(Task("work", {}, "s"))
        elsewhere.go.set()
        await running
    assert answer.agent_id == "second"


async def test_a_task_whose_turn_comes_after_its_time_limit_ends_as_busy(tmp_path: Path) -> None:
    agent = Limited("agent", rate_per_min=1)
    agent.go.set()
    async with Orchestrator(new_ledger(tmp_path)) as orchestrator:
        orchestrator.register_agent(agent)
        assert (await orchestrator.perform(Task("work", {}, "s"))).success
        started = time.monotonic()
        late = await orchestrator.perform(Task("work", {}, "s", timeout_s=0.1))
        assert time.monotonic() - started < 30
        assert orchestrator.list_agents()[-1]["status"] == "busy"
        metadata = (await orchestrator.get_contracts("s"))[-1]["metadata"]
    assert "or it is called at most 1 times a minute (rate_per_min)" in str(late.error)
    assert (metadata["code"], metadata["delivered"], metadata["retry_safe"]) == ("agent_busy", False, True)


@pytest.mark.parametrize("rate", [0, -1, "3", True, float("inf")])
async def test_an_invalid_rate_is_rejected(orchestrator: Orchestrator, rate: float) -> None:
    with pytest.raises(UsageError, match="the rate_per_min of Limited is"):
        orchestrator.register_agent(Limited("agent", rate))


@pytest.mark.sqlite_only("a file that cannot grow")
def test_a_slot_is_free_again_after_the_time_of_its_call_could_not_be_written(tmp_path: Path) -> None:
    here, elsewhere = (AgentLimits(tmp_path / "ledger.db", "agent", 2, 60_000) for _ in range(2))
    (tmp_path / "ledger.db-owners").mkdir()
    wait_for(lambda: here.take() == 0)
    with no_file_can_grow(), pytest.raises(LedgerError):
        wait_for(lambda: here.take() == 0)
    wait_for(lambda: elsewhere.take() == 0)
    here.release()
    elsewhere.release()
