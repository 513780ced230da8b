"""No background loop dies silently: whatever ends one is logged, it is started again, and `/v1/health` names it meanwhile."""

import asyncio
import contextlib
from typing import Any

import pytest
from api import ask, listening
from homes import Home
from ledger_state import change, no_table
from queueing import detach, end, furnish, said
from serving import serving
from waiting import WAIT_S, wait_for

from aorch import Agent, AgentAnswer, AgentCapability, AgentTask
from aorch.agents.registry import Registry
from aorch.clock import from_rfc3339
from aorch.engine.supervision import Supervisor, Turned
from aorch.errors import LedgerBusy

MOODY = """
from pathlib import Path
from aorch.agents import Agent, AgentCapability

class Moody(Agent):
    def __init__(self):
        super().__init__("moody", "Moody")

    def get_capabilities(self):
        return [AgentCapability("brood")]

    async def execute(self, task):
        return {"success": True, "data": "brooded"}

    def problem(self):
        if Path("mood").exists():
            raise RuntimeError("in no mood")
"""


def rename(home: Home, table: str, to: str) -> None:
    """Rename a table of the ledger, so that whatever needs it fails, or needs it no more in vain."""
    change(home.ledger, f"ALTER TABLE {table} RENAME TO {to}")


def down(health: dict[str, Any]) -> list[str]:
    """The loops that an answer of /v1/health names; `status` must fit them."""
    assert health["status"] == ("degraded" if health["down"] else "healthy")
    return [loop["loop"] for loop in health["down"]]


async def test_a_loop_that_ignores_its_cancellation_is_cancelled_again() -> None:
    """`asyncio.wait_for` of Python 3.11 ignores one that comes together with its result."""
    supervisor, waits, ended = Supervisor(pytest.fail, cancel_again_s=0.01), asyncio.Event(), asyncio.Event()

    async def loop(_: Turned) -> None:
        waits.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(WAIT_S):
        supervisor.start("deaf", loop)
        await waits.wait()
        await supervisor.stop()
    assert ended.is_set()


async def test_a_loop_that_raises_is_logged_once_named_and_started_again() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    supervisor, starts, third, turn = Supervisor(told.put_nowait), iter((1, 2)), asyncio.Event(), asyncio.Event()

    async def loop(turned: Turned) -> None:
        if next(starts, None):
            raise OSError(24, "Too many open files")
        third.set()
        await turn.wait()
        turned()
        await asyncio.Event().wait()

    async with asyncio.timeout(WAIT_S):
        running = supervisor.start("queue", loop)
        assert (await told.get()).startswith("queue: OSError: [Errno 24] Too many open files")
        await third.wait()
        (only,) = supervisor.down()
        assert only.loop == "queue"
        assert from_rfc3339(only.since)
        turn.set()
        assert await told.get() == "queue: runs again"
        assert supervisor.down() == []
        await supervisor.stop()
    assert running.cancelled()


async def test_the_log_has_the_hint_of_an_error_as_a_sentence_of_its_own() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    supervisor = Supervisor(told.put_nowait)

    async def loop(turned: Turned) -> None:
        raise LedgerBusy("the ledger is locked by another process", "Try again when it has finished.")

    async with asyncio.timeout(WAIT_S):
        supervisor.start("queue", loop)
        expected = "the ledger is locked by another process. Try again when it has finished; it is restarted"
        assert await told.get() == f"queue: {expected}"
        await supervisor.stop()


async def test_a_loop_that_ends_as_something_it_awaits_is_cancelled_is_started_again() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    supervisor, starts, again = Supervisor(told.put_nowait), iter((1,)), asyncio.Event()

    async def loop(turned: Turned) -> None:
        if next(starts, None):
            (awaited := asyncio.get_running_loop().create_future()).cancel()
            await awaited
        again.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(WAIT_S):
        running = supervisor.start("queue", loop)
        assert await told.get() == "queue: something that it awaited was cancelled; it is restarted"
        await again.wait()
        assert [each.loop for each in supervisor.down()] == ["queue"]
        await supervisor.stop()
    assert running.cancelled()


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_whatever_a_problem_raises_is_the_problem(kind: type[BaseException]) -> None:
    class Moody(Agent):
        def execute(self, task: AgentTask) -> AgentAnswer:
            raise AssertionError

        def get_capabilities(self) -> list[AgentCapability]:
            return [AgentCapability("brood")]

        def problem(self) -> str | None:
            raise kind("in no mood")

    (registered,) = Registry([Moody("moody", "Moody")])
    assert str(registered.problem()).startswith(f"its problem() raised {kind.__name__}: in no mood")


async def test_a_loop_that_has_nothing_more_to_do_ends_and_is_not_down() -> None:
    supervisor, started = Supervisor(pytest.fail), [0]

    async def loop(turned: Turned) -> None:
        started[0] += 1

    await supervisor.start("queue", loop)
    assert (started, supervisor.down()) == ([1], [])


def test_an_agent_whose_problem_raises_is_in_error_and_holds_up_no_other(home: Home) -> None:
    home.write("moody.py", MOODY)
    furnish(home, '[agents.moody]\nclass = "moody:Moody"\n')
    home.write("mood", "")
    brooding, noting = detach(home, "brood"), detach(home, "note")
    with serving(home) as server:
        assert server.get(f"/v1/tasks/{noting}?wait_s=20").json()["status"] == "completed"
        assert down(server.get("/v1/health").json()) == []
        agent = server.get("/v1/agents/moody").json()
        assert agent["status"] == "error"
        assert "RuntimeError: in no mood (moody.py, line 17)" in agent["problem"]
        assert ask(server, "brood").status_code == 503
        wait_for(lambda: "agent moody: its problem() raised RuntimeError: in no mood" in server.log)
        (home.folder / "mood").unlink()
        assert server.get(f"/v1/tasks/{brooding}?wait_s=20").json()["answer"]["data"] == "brooded"


def test_a_queue_that_fails_is_named_by_health_and_goes_on_once_it_can(home: Home) -> None:
    furnish(home)
    noting = detach(home, "note")
    rename(home, "queue_clock", "away")
    with serving(home) as server:
        wait_for(lambda: down(server.get("/v1/health").json()) == ["queue"])
        since = server.get("/v1/health").json()["down"][0]["since"]
        assert ask(server).json()["success"] is True
        assert server.get("/v1/health").json()["down"][0]["since"] == since
        rename(home, "away", "queue_clock")
        assert server.get(f"/v1/tasks/{noting}?wait_s=20").json()["status"] == "completed"
        wait_for(lambda: down(server.get("/v1/health").json()) == [])
        wait_for(lambda: "queue: runs again" in server.log)
        assert no_table("queue_clock") in server.log


def test_a_worker_whose_queue_fails_says_so_and_goes_on_once_it_can(home: Home) -> None:
    furnish(home)
    noting = detach(home, "note")
    rename(home, "queue_clock", "away")
    working = home.start("worker", "--drain")
    assert working.stderr is not None
    assert no_table("queue_clock") in working.stderr.readline().decode()
    rename(home, "away", "queue_clock")
    code, err = end_by_itself(working)
    assert (code, "queue: runs again" in err) == (0, True)
    assert said(home, noting) == ("completed", "completed", None)


def end_by_itself(process: Any) -> tuple[int, str]:
    process.wait(WAIT_S)
    return end(process)


def test_events_are_sent_again_after_the_ledger_could_not_be_read(home: Home) -> None:
    with serving(home) as server, listening(server) as events:
        change(home.ledger, "ALTER TABLE contracts RENAME COLUMN result TO away")  # a ledger without the table is none
        wait_for(lambda: " events: " in server.log)
        change(home.ledger, "ALTER TABLE contracts RENAME COLUMN away TO result")
        wait_for(lambda: "events: runs again" in server.log)
        ask(server, session="afterwards")
        assert next(events).contract["session_id"] == "afterwards"
