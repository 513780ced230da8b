"""A RESPONSE that the ledger cannot take is written again until it can, and whoever waits for it is told in time."""

import asyncio
import json
import signal
import subprocess
from functools import partial
from typing import Any

import pytest
from api import ask, problem
from homes import Home
from ledger_state import change, no_table
from ledgers import rows
from rows import locked
from serving import serving
from waiting import WAIT_S, wait_for

from aorch import Agent, AgentCapability, Orchestrator
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.lifecycle import in_thread
from aorch.engine.response_saver import ResponseSaver, Unsaved
from aorch.errors import Conflict
from aorch.ids import new_id
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import RESPONSE, Record

BREAKER = """
from contextlib import closing
from pathlib import Path
from aorch.agents import Agent, AgentCapability
from aorch.config.settings import ledger_path
from aorch.ledger.database import connect

class Breaker(Agent):
    '''Renames a table while it is at work: nothing can be written to the ledger afterwards.'''

    def __init__(self):
        super().__init__("breaker", "Breaker")

    def get_capabilities(self):
        return [AgentCapability("break")]

    async def execute(self, task):
        with closing(connect(ledger_path())) as connection:
            connection.execute("ALTER TABLE contracts RENAME TO away")
        Path("broken").touch()
        return {"success": True, "data": "broken"}
"""


def rename(ledger: LedgerLocation, table: str, to: str) -> None:
    change(ledger, f"ALTER TABLE {table} RENAME TO {to}")


def answered(ledger: LedgerLocation) -> list[tuple[Any, ...]]:
    """Status of each REQUEST of `break`, with status, result and error of its RESPONSE."""
    return rows(
        ledger,
        "SELECT q.status, a.status, a.result, a.error FROM contracts q LEFT JOIN contracts a ON a.request_id = q.contract_id"
        " WHERE q.contract_type = 'REQUEST' AND q.capability = 'break' ORDER BY q.position",
    )


class Breaker(Agent):
    """Makes the ledger refuse all writing while it is at work; `broken` is set then. With `hold`, goes on until that is set."""

    def __init__(self, ledger: LedgerLocation, hold: asyncio.Event | None = None) -> None:
        super().__init__("breaker", "Breaker")
        self.ledger, self.hold, self.broken = ledger, hold, asyncio.Event()

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        rename(self.ledger, "contracts", "away")
        self.broken.set()
        if self.hold is not None:
            await self.hold.wait()
        return {"success": True, "data": "broken"}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("break")]


BREAK = {"capability": "break"}


async def test_an_answer_waits_for_a_ledger_that_takes_it_soon(orchestrator: Orchestrator) -> None:
    ledger = orchestrator.config.ledger
    orchestrator.register_agent(breaker := Breaker(ledger))
    performing = asyncio.create_task(orchestrator.orchestrate("s", BREAK))
    async with asyncio.timeout(WAIT_S):
        await breaker.broken.wait()
        await asyncio.sleep(0)
        rename(ledger, "away", "contracts")
        assert (await performing)["data"] == "broken"
    assert answered(ledger) == [("completed", "completed", '"broken"', None)]


async def cancelled_call(orchestrator: Orchestrator, breaker: Breaker) -> None:
    """Call `breaker`, and cancel the call once the ledger is broken."""
    performing = asyncio.create_task(orchestrator.orchestrate("s", BREAK))
    await breaker.broken.wait()
    performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing


async def test_a_cancelled_caller_is_let_go_and_the_response_is_written_later(orchestrator: Orchestrator) -> None:
    ledger = orchestrator.config.ledger
    orchestrator.register_agent(breaker := Breaker(ledger, asyncio.Event()))
    async with asyncio.timeout(WAIT_S):
        await cancelled_call(orchestrator, breaker)
        rename(ledger, "away", "contracts")
        await orchestrator.executor.saver.saved()
    assert answered(ledger) == [("cancelled", "cancelled", None, "cancelled by the caller")]


async def test_closing_writes_what_the_ledger_did_not_take_before(orchestrator: Orchestrator) -> None:
    ledger = orchestrator.config.ledger
    orchestrator.register_agent(breaker := Breaker(ledger, asyncio.Event()))
    async with asyncio.timeout(WAIT_S):
        await cancelled_call(orchestrator, breaker)
        rename(ledger, "away", "contracts")
        await orchestrator.aclose()
    assert answered(ledger) == [("cancelled", "cancelled", None, "cancelled by the caller")]


async def test_closing_says_how_many_responses_are_lost(
    orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    orchestrator.register_agent(breaker := Breaker(orchestrator.config.ledger, asyncio.Event()))
    async with asyncio.timeout(WAIT_S):
        await cancelled_call(orchestrator, breaker)
        await orchestrator.aclose()
    assert "did not accept 1 RESPONSE" in caplog.text


async def test_a_task_whose_start_cannot_be_written_is_answered_without_a_call(orchestrator: Orchestrator) -> None:
    ledger = orchestrator.config.ledger
    breaker = Breaker(ledger, asyncio.Event())
    breaker.concurrency = 1
    orchestrator.register_agent(breaker)
    first, second = (asyncio.create_task(orchestrator.orchestrate("s", BREAK)) for _ in range(2))
    async with asyncio.timeout(WAIT_S):
        await breaker.broken.wait()
        assert breaker.hold is not None
        breaker.hold.set()
        while len(orchestrator.executor.saver.unsaved) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        rename(ledger, "away", "contracts")
        answers = [await first, await second]
    assert [answer["success"] for answer in answers] == [True, False]
    (_, (status, *_, error)) = answered(ledger)
    assert (status, no_table("contracts") in error) == ("failed", True)


def response(request_id: str) -> Record:
    moment = now()
    return Record(new_id(), "s", RESPONSE, "a", "o", "break", "{}", "completed", moment, moment, request_id=request_id)


async def test_who_waits_too_long_for_the_write_lock_is_told_and_the_response_is_written_once(home: Home) -> None:
    ledger, asked = Ledger(home.ledger), home.aorch("run", "fails").code
    ((request_id,),) = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST'")
    change(home.ledger, "DELETE FROM contracts WHERE contract_type = 'RESPONSE'")
    saver = ResponseSaver(ledger, asyncio.get_running_loop())
    async with asyncio.timeout(WAIT_S):
        with locked(home.ledger), pytest.raises(Unsaved) as unsaved:
            await saver.save(response(request_id), patience_s=0.1)
        assert (unsaved.value.code, unsaved.value.http_status, unsaved.value.exit_code) == ("ledger_busy", 503, 14)
        await saver.saved()
        with pytest.raises(Conflict):
            await saver.save(response(request_id))
    assert home.rows("SELECT count(*) FROM contracts WHERE request_id = ?", request_id) == [(1,)], asked
    assert await saver.close(partial(in_thread, ledger.close)) == 0


async def test_a_request_that_was_never_written_gets_no_response(home: Home) -> None:
    ledger = Ledger(home.ledger)
    await ledger.write_response(response(new_id()), "cancelled", last=True)
    ledger.close()
    assert home.rows("SELECT count(*) FROM contracts") == [(0,)]


@pytest.fixture
def breaking(home: Home) -> Home:
    home.write("breaker.py", BREAKER)
    home.write("aorch.toml", '[agents.breaker]\nclass = "breaker:Breaker"\n')
    return home


@pytest.mark.torture
def test_run_prints_the_answer_and_goes_on_trying_until_it_is_written(breaking: Home) -> None:
    running = breaking.start("run", "break")
    assert running.stdout is not None
    assert running.stdout.readline() == b"broken\n"  # after 5 s
    rename(breaking.ledger, "away", "contracts")
    _, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0
    assert b"is not in the ledger yet" in err
    assert answered(breaking.ledger) == [("completed", "completed", '"broken"', None)]


@pytest.mark.torture
def test_run_exits_14_when_it_is_told_to_give_up(breaking: Home) -> None:
    running = breaking.start("run", "break")
    assert running.stdout is not None
    assert running.stdout.readline() == b"broken\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 14
    assert b"error: gave up: the answer above is not in the ledger" in err
    rename(breaking.ledger, "away", "contracts")


@pytest.mark.torture
def test_a_batch_prints_its_results_and_goes_on_trying_until_they_are_written(breaking: Home) -> None:
    running = breaking.start("run", "break", "--batch", "-", stdin=subprocess.PIPE)
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"{}\n")
    running.stdin.close()
    assert json.loads(running.stdout.readline())["data"] == "broken"
    rename(breaking.ledger, "away", "contracts")
    assert (running.wait(WAIT_S), answered(breaking.ledger)) == (0, [("completed", "completed", '"broken"', None)])
    running.stdout.close()
    assert running.stderr is not None
    assert "aorch keeps trying to write" in running.stderr.read().decode()
    running.stderr.close()


@pytest.mark.torture
def test_a_batch_that_ends_as_a_request_cannot_be_written_goes_on_with_the_answers_that_it_has(breaking: Home) -> None:
    breaking.write("lines", "{}\n{}\n")
    running = breaking.start("run", "break", "--batch", "lines", "--parallel", "1")
    assert running.stdout is not None
    assert running.stderr is not None
    assert json.loads(running.stdout.readline())["data"] == "broken"  # after 5 s
    assert any(b"aorch keeps trying to write" in line for line in running.stderr)
    rename(breaking.ledger, "away", "contracts")
    _, err = running.communicate(timeout=WAIT_S)
    assert (running.returncode, b"error: " in err) == (14, True)
    assert answered(breaking.ledger) == [("completed", "completed", '"broken"', None)]


@pytest.mark.torture
async def test_a_map_yields_an_answer_that_is_not_in_the_ledger_yet_and_goes_on(orchestrator: Orchestrator) -> None:
    ledger = orchestrator.config.ledger
    orchestrator.register_agent(Breaker(ledger))
    answers = []
    async with asyncio.timeout(WAIT_S):
        async for answer in orchestrator.map("break", [{}, {}], limit=1):
            answers.append((answer["index"], answer["data"]))
            rename(ledger, "away", "contracts")
        await orchestrator.executor.saver.saved()
    assert answers == [(0, "broken"), (1, "broken")]
    assert answered(ledger) == [("completed", "completed", '"broken"', None)] * 2


@pytest.mark.torture
def test_an_http_caller_is_answered_after_5_s_and_the_response_is_written_later(breaking: Home) -> None:
    with serving(breaking) as server:
        response = ask(server, "break", parameters={})
        refused = problem(response, 503, "ledger_error")
        assert "Retry-After" not in response.headers  # it was done, and is not to be done again
        assert "is not in the ledger yet" in refused["detail"]
        rename(breaking.ledger, "away", "contracts")
        wait_for(lambda: answered(breaking.ledger) == [("completed", "completed", '"broken"', None)])
        assert server.get(f"/v1/tasks/{refused['contract_id']}").json()["answer"]["data"] == "broken"
        (breaking.folder / "broken").unlink()
        queued = server.post("/v1/tasks", json={"session_id": "s", "capability": "break", "parameters": {}}).json()
        wait_for((breaking.folder / "broken").exists)
        rename(breaking.ledger, "away", "contracts")
        done = server.get(f"/v1/tasks/{queued['contract_id']}?wait_s=10").json()
        assert done["answer"]["data"] == "broken"
