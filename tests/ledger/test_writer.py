"""The writer thread: what fails costs only itself, and whoever waits is told."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import ledgers
import pytest
from rows import locked, request, response
from waiting import WAIT_S, wait_for

from aorch.errors import Conflict, LedgerBusy, LedgerError, NotFound
from aorch.ledger.ledger import Ledger
from aorch.ledger.queue_entry import Entry
from aorch.ledger.record import Record
from aorch.ledger.sqlite.connection import as_ledger_error
from aorch.ledger.sqlite.opening import connect
from aorch.ledger.sqlite.statements import INSERT_CONTRACT
from aorch.ledger.task_queue import Capacity
from aorch.ledger.writer import Writer


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """The same, open for writing."""
    with closing(Ledger(path)) as ledger:
        yield ledger


def count(path: Path) -> int:
    return int(ledgers.rows(path, "SELECT count(*) FROM contracts")[0][0])


def writer_of(path: Path, said: list[str]) -> Writer:
    """A writer whose SQL goes to `said`."""
    connection = connect(path)
    connection.set_trace_callback(said.append)
    return Writer(connection, lambda error: as_ledger_error(path, error))


@pytest.mark.sqlite_only("it reads the SQL that SQLite executes")
async def test_a_cancel_of_an_unknown_id_costs_the_others_no_transaction(ledger: Ledger, path: Path) -> None:
    """Four hundred exchanges and one such cancel are two transactions' work: here, each of two turns is one."""
    said: list[str] = []
    with closing(writer_of(path, said)) as writer:

        def refuse(connection: sqlite3.Connection) -> None:
            connection.execute(INSERT_CONTRACT, request("taken back"))
            raise NotFound("NOPE")

        commits = [writer.commit((INSERT_CONTRACT, request(text=str(number)))) for number in range(400)]
        with pytest.raises(NotFound):
            await writer.work(refuse)
        await asyncio.gather(*commits)
    assert said.count("COMMIT") == 1
    assert count(path) == 400
    with pytest.raises(NotFound):
        await ledger.cancel("NOPE", "a test")


@pytest.mark.sqlite_only("it reads the SQL that SQLite executes")
async def test_statements_that_fail_are_taken_back_alone_in_one_more_transaction(path: Path) -> None:
    """A row that is there already, a statement that SQLite does not understand, a number that it cannot hold."""
    said: list[str] = []
    there = request()
    with closing(writer_of(path, said)) as writer:
        good = [writer.commit((INSERT_CONTRACT, request())), writer.commit((INSERT_CONTRACT, there))]
        bad = [
            writer.commit((INSERT_CONTRACT, request("before it")), (INSERT_CONTRACT, there)),
            writer.commit((INSERT_CONTRACT, request("before it")), ("INSERT INTO nowhere VALUES (?)", (1,))),
            writer.commit((INSERT_CONTRACT, request("before it")), ("SELECT ?", (2**64,))),
        ]
        counted = writer.submit(  # in this turn of the loop, so that it is in the same transaction
            (), lambda connection: connection.execute("SELECT count(*) FROM contracts").fetchone()[0]
        ).waiter
        *ended, rows = await asyncio.gather(*good, *bad, counted, return_exceptions=True)
    assert ended[:2] == [None, None]
    assert [type(each) for each in ended[2:]] == [sqlite3.IntegrityError, LedgerError, OverflowError]
    assert "nowhere" in str(ended[3])
    assert said.count("COMMIT") == 1
    assert rows == count(path) == 2


@pytest.mark.parametrize("parent_id", [None, "a parent"])
@pytest.mark.parametrize("error", [None, "it failed"])
async def test_contracts_that_are_written_together_are_stored_as_they_are_and_in_their_order(
    ledger: Ledger, path: Path, parent_id: str | None, error: str | None
) -> None:
    """61 of a kind: 32, 24 and 4 rows of one statement each, and one row of its own."""
    status = "completed" if error is None else "failed"
    requests = [
        request(text=str(number), status="in_progress", completed_at=None, parent_id=parent_id) for number in range(61)
    ]
    responses = [response(asked, status=status, error=error, parent_id=parent_id) for asked in requests]
    await asyncio.gather(*(ledger.write_request(asked) for asked in requests))
    await asyncio.gather(*(ledger.write_response(answer, status) for answer in responses))
    ended = [
        asked._replace(status=status, completed_at=answer.created_at, claimed_by=None)
        for asked, answer in zip(requests, responses, strict=True)
    ]
    rows = ledgers.rows(path, f"SELECT {', '.join(Record._fields)} FROM contracts ORDER BY position")
    assert [Record(*row) for row in rows] == [*ended, *responses]


async def test_a_second_answer_is_a_conflict_and_the_first_stands(ledger: Ledger, path: Path) -> None:
    """Also in the same batch."""
    asked = request(status="in_progress", completed_at=None)
    await ledger.write_request(asked)
    answers = [ledger.write_response(response(asked, text), "completed") for text in ("first", "second")]
    first, second = await asyncio.gather(*answers, return_exceptions=True)
    assert first is None
    assert isinstance(second, Conflict)
    assert count(path) == 2


def test_the_writer_outlives_a_loop_that_closed_before_it_was_told(ledger: Ledger, path: Path) -> None:
    """The lock is held until that loop is closed; what it asked for is committed, and so is what the next one asks for."""

    async def ask_and_leave() -> None:
        ledger.write_request(request())
        await asyncio.sleep(0)

    with locked(path):
        asyncio.run(ask_and_leave())

    async def ask() -> None:
        await asyncio.wait_for(asyncio.shield(ledger.write_request(request())), WAIT_S)

    asyncio.run(ask())
    assert count(path) == 2


@pytest.mark.parametrize("turn", range(10))
def test_whoever_writes_while_another_thread_closes_is_told(path: Path, turn: int) -> None:
    """What was promised is committed, and the rest is refused; nobody waits for ever."""
    ledger = Ledger(path)
    written: list[int] = []

    async def write() -> None:
        with suppress(LedgerError):
            while True:
                await asyncio.wait_for(asyncio.shield(ledger.write_request(request())), WAIT_S)
                written.append(1)

    threads = [threading.Thread(target=asyncio.run, args=(write(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(written) >= turn)
    ledger.close()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert count(path) == len(written)


async def test_closing_waits_no_second_for_a_lock_that_another_program_holds(path: Path) -> None:
    """What could not be written by then is dropped, and its waiter is told."""
    ledger = Ledger(path)
    with locked(path):
        waiting = ledger.write_request(request())
        await asyncio.sleep(0)
        begun = time.monotonic()
        ledger.close()
        assert time.monotonic() - begun < 4  # a write waits 5 s for the lock
        with pytest.raises(LedgerBusy):
            await waiting
    assert count(path) == 0


async def test_a_claim_that_is_not_wanted_any_more_claims_nothing(ledger: Ledger, path: Path) -> None:
    """A worker that is told to stop while another program holds the lock need not wait for it."""
    await ledger.enqueue(Entry(request(status="pending", to_agent=None, completed_at=None), 3))
    wanted = [True]
    capacities = [Capacity("echo", 1, {"agent": 1})]
    with locked(path):
        claiming = asyncio.ensure_future(ledger.claim(capacities, 1, lambda: bool(wanted)))
        await asyncio.wait((claiming,), timeout=0.1)
        wanted.clear()
        assert await asyncio.wait_for(claiming, 4) == []  # a write waits 5 s for the lock
    assert await ledger.claim(capacities, 1, lambda: bool(wanted)) == []
    wanted.append(True)
    assert len(await ledger.claim(capacities, 1, lambda: bool(wanted))) == 1
