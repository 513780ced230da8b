"""The writer on PostgreSQL: what fails costs only itself, and what a broken connection interrupts is written once."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from cut_commits import cutting
from cut_connections import CUT
from postgres_rows import put_in
from postgres_servers import Cluster
from rows import request

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import Conflict, LedgerError, LedgerGone, LedgerOutcomeUnknown, LedgerTooNew
from aorch.ledger.database import connect, statements
from aorch.ledger.ledger import Ledger
from aorch.ledger.postgres.commit_marks import KEPT_MS, Marks
from aorch.ledger.postgres.connection import connection_to
from aorch.ledger.postgres.driver import Database
from aorch.ledger.postgres.failures import translated
from aorch.ledger.server_errors import RowRejected


@pytest.fixture
def ledger(postgres: PostgresUrl) -> Iterator[Ledger]:
    with closing(Ledger(postgres)) as ledger:
        yield ledger


def texts(location: PostgresUrl) -> list[str]:
    with closing(connection_to(location)) as connection:
        rows = connection.execute("SELECT payload::json ->> 'text' FROM contracts ORDER BY position")
        return [text for (text,) in rows]


async def test_a_statement_that_fails_costs_only_its_own_unit(ledger: Ledger, postgres: PostgresUrl) -> None:
    there, insert = request(text="there"), statements.INSERT_CONTRACT
    writer = ledger._writer
    ended = await asyncio.gather(
        writer.commit((insert, there)),
        writer.commit((insert, request(text="good"))),
        writer.commit((insert, request(text="before")), (insert, there)),
        writer.commit((insert, request(text="before")), ("INSERT INTO nowhere VALUES (1)", ())),
        writer.commit((insert, request(text="before")), (insert, request(contract_id="a\x00b"))),
        return_exceptions=True,
    )
    assert ended[:2] == [None, None]
    assert [type(each) for each in ended[2:4]] == [RowRejected, LedgerError]
    assert isinstance(ended[4], Exception)
    assert texts(postgres) == ["there", "good"]


async def test_a_statement_that_was_sent_after_one_that_failed_can_be_executed_later(
    ledger: Ledger, postgres: PostgresUrl
) -> None:
    """The server has skipped it, and with it the PREPARE that the driver had sent."""
    there, writer = request(), ledger._writer
    put_in(postgres, there)
    for name in ("one", "two", "three"):
        rejected, done = await asyncio.gather(
            writer.commit((statements.INSERT_CONTRACT, there)),
            writer.commit(("INSERT INTO counters (name, value) VALUES (%s, 1)", (name,))),
            return_exceptions=True,
        )
        assert (type(rejected), done) == (RowRejected, None)


async def test_a_second_answer_is_a_conflict(ledger: Ledger) -> None:
    asked = request(status="in_progress", completed_at=None)
    await ledger.write_request(asked)
    from rows import response

    answers = [ledger.write_response(response(asked, text), "completed") for text in ("first", "second")]
    first, second = await asyncio.gather(*answers, return_exceptions=True)
    assert first is None
    assert isinstance(second, Conflict)


async def test_a_write_reconnects_after_the_server_has_ended_its_connection(
    ledger: Ledger, postgres: PostgresUrl
) -> None:
    await ledger.write_request(request(text="before"))
    with closing(connection_to(postgres)) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await ledger.write_request(request(text="after"))
    assert texts(postgres) == ["before", "after"]


@pytest.mark.parametrize("how", ["before", "after"])
async def test_what_a_connection_that_breaks_during_a_commit_carried_is_written_once(
    cluster: Cluster, postgres: PostgresUrl, how: str
) -> None:
    """An insert without a key of its own, so that a second one would not be rejected."""
    connect(postgres).close()
    with cutting(cluster, postgres) as (cut, behind), closing(connect(behind)) as connection:
        calls = []

        def work() -> None:
            calls.append(1)
            connection.execute("INSERT INTO counters (name, value) VALUES (%s, 1)", (f"call {len(calls)}",))

        cut.cuts.append(how)
        connection.transact(work)
        assert not cut.cuts
    with closing(connection_to(postgres)) as reading:
        found = reading.execute("SELECT name FROM counters WHERE name LIKE 'call %%'").fetchall()
    assert found == ([("call 2",)] if how == "before" else [("call 1",)])


def test_a_write_whose_commit_is_not_answered_and_cannot_be_looked_up_has_an_unknown_outcome(
    cluster: Cluster, postgres: PostgresUrl
) -> None:
    """The server has committed both, so to report a failure would let a client write them again."""
    connect(postgres).close()
    with (
        cutting(cluster, postgres) as (cut, behind),
        closing(connect(behind)) as connection,
        Database(behind) as database,
    ):
        connection.look_up_s = 0.0
        cut.cuts.append("after")
        with pytest.raises(LedgerOutcomeUnknown), translated(behind):
            connection.transact(partial(connection.execute, "INSERT INTO counters (name, value) VALUES ('a', 1)"))
        database.open_for_writing()
        cut.cuts.append("after")
        with pytest.raises(LedgerOutcomeUnknown), database.write() as writing:
            writing.execute("INSERT INTO counters (name, value) VALUES ('b', 1)")
    with closing(connection_to(postgres)) as reading:
        found = reading.execute("SELECT name FROM counters WHERE name IN ('a', 'b') ORDER BY name").fetchall()
    assert found == [("a",), ("b",)]


async def test_a_writer_leaves_no_mark_behind(postgres: PostgresUrl) -> None:
    with closing(Ledger(postgres)) as ledger:
        await ledger.write_request(request())
    with closing(connection_to(postgres)) as connection:
        assert connection.execute("SELECT 1 FROM counters WHERE name LIKE 'write:%%'").fetchall() == []


def test_a_machine_whose_clock_is_wrong_removes_no_marks_of_others(postgres: PostgresUrl) -> None:
    """Here the server's clock is two days behind the clock of this machine."""
    with closing(connect(postgres)) as connection:
        server_ms = connection.opened_ms - 2 * KEPT_MS
        other, marks = Marks(), Marks()
        for each in (other, marks):
            each.follow(server_ms)
        mark = other.next()
        connection.execute(*other.storing(mark))
        connection.execute(*marks.storing(marks.next()))
        connection.execute(*marks.removal)
        assert connection.execute("SELECT value FROM counters WHERE name LIKE 'write:%%'").fetchall() == [(mark,)]


def test_a_writer_that_connects_again_refuses_a_newer_ledger_and_an_empty_database(postgres: PostgresUrl) -> None:
    insert = "INSERT INTO counters (name, value) VALUES ('written', 1)"
    with closing(connect(postgres)) as connection, closing(connection_to(postgres)) as other:
        ((revision,),) = other.execute("SELECT version_num FROM alembic_version").fetchall()
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.execute(CUT)
        for _ in range(2):
            with pytest.raises(LedgerTooNew):
                connection.transact(partial(connection.execute, insert))
        assert other.execute("SELECT 1 FROM counters WHERE name = 'written'").fetchall() == []
        other.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        connection.transact(partial(connection.execute, insert))
        assert len(other.execute("SELECT 1 FROM counters WHERE name = 'written'").fetchall()) == 1
        other.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        other.execute(CUT)
        with pytest.raises(LedgerGone):
            connection.transact(partial(connection.execute, insert))
