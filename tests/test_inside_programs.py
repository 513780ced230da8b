"""aorch inside other programs: it closes cleanly, leaves nothing behind, and never blocks the caller's event loop."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from api import ask
from homes import Home
from ledger_state import change
from rows import locked
from serving import serving
from waiting import WAIT_S, wait_for

from aorch import Agent, AgentCapability, Orchestrator
from aorch.errors import UsageError

RAISING = """
from aorch import Agent, AgentCapability

class Raising(Agent):
    def __init__(self):
        super().__init__("raising", "Raising")

    def execute(self, task):
        raise ValueError("no such model\\n2026-01-01 a line of its own")

    def get_capabilities(self):
        return [AgentCapability("raise")]
"""


OPEN_REQUEST = (
    "INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, capability, payload, status, created_at,"
    " metadata, claimed_by) VALUES ('01', 's', 'REQUEST', 'o', 'echo', '{}', 'in_progress', '2026-01-01T00:00:00.000Z', '{}',"
    " '01K8VF9XK83SYH1HAX57ZGJDYS')"
)
"""Left by a process that died: whoever opens the ledger answers it, which takes the write lock."""


class Waits(Agent):
    """Answers once `released` is set; `wait` does so on the loop, `block` in a thread."""

    def __init__(self, concurrency: int | None = None) -> None:
        super().__init__("waits", "Waits")
        self.concurrency = concurrency
        self.begun, self.released, self.cancelled = asyncio.Event(), asyncio.Event(), False

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.begun.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return {"success": True, "data": "done"}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("wait")]


@pytest.fixture
def here(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The machine's folder is the working directory."""
    monkeypatch.chdir(home.folder)
    return home


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """No thread that the test started outlives it."""
    before = set(threading.enumerate())
    yield
    wait_for(lambda: set(threading.enumerate()) <= before)


def statuses(home: Home) -> list[tuple[str, str, str | None]]:
    return home.rows("SELECT contract_type, status, error FROM contracts ORDER BY position")


async def test_closing_cancels_what_runs_and_waits_and_each_response_is_written(
    here: Home, no_threads_left: None
) -> None:
    agent = Waits(concurrency=1)
    orchestrator = Orchestrator(here.ledger)
    orchestrator.register_agent(agent)
    runs = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "wait"}))
    await agent.begun.wait()
    waits = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "wait"}))
    begins = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "wait"}))
    await asyncio.sleep(0)
    await asyncio.wait_for(orchestrator.aclose(), WAIT_S)
    assert agent.cancelled
    for answer in await asyncio.gather(runs, waits, begins):
        assert (answer["success"], answer["error"]) == (False, "cancelled by the closing of its orchestrator")
    assert (
        sorted(statuses(here))
        == [("REQUEST", "cancelled", None)] * 3
        + [("RESPONSE", "cancelled", "cancelled by the closing of its orchestrator")] * 3
    )
    assert (await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "a"}}))["success"]
    await orchestrator.aclose()


async def test_an_answer_that_an_agent_has_given_is_kept_when_the_block_ends(here: Home) -> None:
    agent = Waits()
    agent.released.set()
    async with Orchestrator(here.ledger) as orchestrator:
        orchestrator.register_agent(agent)
        performing = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "wait"}))
        await agent.begun.wait()
    assert (await performing)["data"] == "done"
    assert statuses(here) == [("REQUEST", "completed", None), ("RESPONSE", "completed", None)]


async def test_what_was_cancelled_without_being_awaited_says_so_when_the_block_ends(here: Home) -> None:
    agent = Waits()
    async with Orchestrator(here.ledger) as orchestrator:
        orchestrator.register_agent(agent)
        performing = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "wait"}))
        await agent.begun.wait()
        performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing
    assert [status for _, status, _ in statuses(here)] == ["cancelled", "cancelled"]


async def test_closing_ends_what_another_threads_loop_runs(here: Home) -> None:
    answers: list[dict[str, Any]] = []
    begun = threading.Event()

    class Sleeps(Waits):
        async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
            begun.set()
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    orchestrator = Orchestrator(here.ledger)
    orchestrator.register_agent(Sleeps())
    other = threading.Thread(
        target=lambda: answers.append(asyncio.run(orchestrator.orchestrate("s", {"capability": "wait"})))
    )
    other.start()
    assert await asyncio.to_thread(begun.wait, WAIT_S)
    await asyncio.wait_for(orchestrator.aclose(), WAIT_S)
    await asyncio.to_thread(other.join, WAIT_S)
    assert [answer["success"] for answer in answers] == [False]
    assert [status for _, status, _ in statuses(here)] == ["cancelled", "cancelled"]


async def test_an_agent_that_closes_its_own_orchestrator_is_told_why_it_cannot(here: Home) -> None:
    class Closes(Waits):
        async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
            await orchestrator.aclose()
            raise AssertionError

    async with Orchestrator(here.ledger) as orchestrator:
        orchestrator.register_agent(Closes())
        answer = await orchestrator.orchestrate("s", {"capability": "wait"})
    assert answer["error"] == "an agent cannot close the orchestrator that runs it"
    assert UsageError.code == "usage"


class Beats:
    """A task that shares the loop, and counts its turns."""

    def __init__(self) -> None:
        self.count, self.many = 0, asyncio.Event()
        self.task = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            self.count += 1
            if self.count >= 50:
                self.many.set()

    async def go_on(self) -> None:
        """Wait for 50 more beats, which take 0.25 s."""
        self.count = 0
        self.many.clear()
        await self.many.wait()


async def test_making_a_ledger_leaves_the_callers_loop_alone(bare_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bare_home.folder)
    orchestrator = Orchestrator(bare_home.ledger)
    beats = Beats()
    with locked(bare_home.ledger):  # as by another process that makes it at this moment
        making = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "fly"}))
        await beats.go_on()
        assert not making.done()
    await making
    beats.task.cancel()
    await orchestrator.aclose()


async def test_opening_and_closing_wait_for_the_write_lock_outside_the_callers_loop(here: Home) -> None:
    beats = Beats()
    orchestrator = Orchestrator(here.ledger)
    change(here.ledger, OPEN_REQUEST)  # opening needs the lock, since a process that died left something open
    with locked(here.ledger):
        opening = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "fly"}))
        await beats.go_on()
        assert not opening.done()
    await opening
    with locked(here.ledger):
        accepted = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "fly"}))
        await asyncio.sleep(0)
        ending = asyncio.create_task(orchestrator.aclose())
        await beats.go_on()
        assert not ending.done()
    await asyncio.gather(accepted, ending)
    beats.task.cancel()


async def test_tasks_whose_ledger_is_not_open_yet_are_recorded_as_cancelled(here: Home, no_threads_left: None) -> None:
    orchestrator = Orchestrator(here.ledger)
    orchestrator.register_agent(Waits())
    asking = [asyncio.create_task(orchestrator.orchestrate("s", {"capability": "wait"})) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking[0].cancel()
    await orchestrator.aclose()
    first, *rest = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert [each["error"] for each in rest if isinstance(each, dict)] == [
        "cancelled by the closing of its orchestrator"
    ] * 2
    assert [status for _, status, _ in statuses(here)] == ["cancelled"] * 4


async def test_opening_that_nobody_awaits_any_more_is_closed_again(here: Home, no_threads_left: None) -> None:
    change(here.ledger, OPEN_REQUEST)
    with locked(here.ledger):
        orchestrator = Orchestrator(here.ledger)
        asking = asyncio.create_task(orchestrator.orchestrate("s", {"capability": "fly"}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(orchestrator.aclose(), 4)  # it does not wait 5 s for the lock
    assert [kind for kind, _, _ in statuses(here)][:1] == ["REQUEST"]


async def test_closing_in_the_middle_of_much_work_leaves_no_request_open_and_complains_of_nothing(
    here: Home, caplog: pytest.LogCaptureFixture
) -> None:
    class Asks(Waits):
        async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
            self.begun.set()
            while True:
                await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "a"}})

    orchestrator, agent = Orchestrator(here.ledger), Asks()
    orchestrator.register_agent(agent)
    asking = [asyncio.create_task(orchestrator.orchestrate("s", {"capability": "wait"})) for _ in range(20)]
    await agent.begun.wait()
    for _ in range(50):
        await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "b"}})
    await orchestrator.aclose()
    assert {answer["error"] for answer in await asyncio.gather(*asking)} == {
        "cancelled by the closing of its orchestrator"
    }
    counts = dict(here.rows("SELECT contract_type, count(*) FROM contracts GROUP BY 1"))
    assert counts["REQUEST"] == counts["RESPONSE"] > 70
    assert {status for _, status, _ in statuses(here)} == {"completed", "cancelled"}
    assert caplog.text == ""


def test_a_forgotten_orchestrator_is_a_resource_warning_and_leaves_no_thread(here: Home, no_threads_left: None) -> None:

    with warnings.catch_warnings(record=True, action="always") as warned:
        asyncio.run(Orchestrator(here.ledger).orchestrate("s", {"capability": "echo", "parameters": {"text": "a"}}))
        gc.collect()
    (warning,) = [each for each in warned if each.category is ResourceWarning]
    assert "was not closed: use `async with`" in str(warning.message)
    assert statuses(here) == [("REQUEST", "completed", None), ("RESPONSE", "completed", None)]


class Raises(Waits):
    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no such model\n2026-01-01 a line of its own")


async def test_an_agents_traceback_goes_to_the_logger_and_its_message_to_the_ledger(
    here: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with Orchestrator(here.ledger) as orchestrator:
        orchestrator.register_agent(Raises())
        answer = await orchestrator.orchestrate("s", {"capability": "wait"})
    (record,) = [each for each in caplog.records if each.name == "aorch.agents"]
    assert record.levelname == "ERROR"
    assert "'waits'" in record.getMessage()
    assert answer["contract_id"] in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    assert "in execute" in caplog.text
    (_, (_, _, error)) = statuses(here)
    assert str(error).startswith("ValueError: no such model")
    assert "Traceback" not in str(error)


def test_a_service_logs_the_traceback_of_an_agent_and_a_command_does_not(home: Home) -> None:
    home.write("my.py", RAISING)
    home.write("aorch.toml", '[agents.raising]\nclass = "my:Raising"\n')
    done = home.aorch("run", "raise")
    assert done.code == 10
    assert "Traceback" not in done.err
    with serving(home) as server:
        assert not ask(server, capability="raise").json()["success"]
        wait_for(lambda: "a line of its own" in server.log)  # the last of the traceback
        assert "in execute" in server.log
        assert "agent 'raising' failed at 'raise'" in server.log
        assert "\n  ValueError: no such model" in server.log
        assert "\n2026-01-01" not in server.log
