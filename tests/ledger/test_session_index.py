"""Contracts are found by session through an index that is extended by a run of contracts at a time."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rows import put, request

from aorch.ledger.filters import records_of
from aorch.ledger.memory_blocks import Memory
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.schema import RUN, Contract

pytestmark = pytest.mark.sqlite_only("on PostgreSQL, the session index is an ordinary index")

ROWS = 2 * RUN + 100
SESSIONS = 7


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """A ledger of two runs and 100 contracts, which SESSIONS take turns to write, and these."""
    path = tmp_path_factory.mktemp("filled") / "ledger.db"
    rows = [request(f"session_{number % SESSIONS}") for number in range(ROWS - 1)]
    rows.append(request("the newest one"))
    put(path, *rows)
    return path, rows


@pytest.fixture
def ledger(filled: tuple[Path, list[Record]], tmp_path: Path) -> Path:
    """A copy of that ledger."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(filled[0])) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    return path


def test_the_index_has_the_contracts_of_whole_runs_and_the_views_have_all(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        indexed = connection.execute("SELECT position, session_id FROM session_index ORDER BY position").fetchall()
        wanted = connection.execute("SELECT position, session_id FROM contracts ORDER BY position").fetchall()
        assert indexed == wanted[: 2 * RUN]
        for view in ("session_positions", "session_contracts"):
            assert connection.execute(f"SELECT position, session_id FROM {view} ORDER BY position").fetchall() == wanted


def test_the_view_has_the_columns_of_the_table(ledger: Path) -> None:
    """A migration that adds a column to contracts makes `session_contracts` anew."""
    with closing(sqlite3.connect(ledger)) as connection:
        names = [name for _, name, *_ in connection.execute("PRAGMA table_info(session_contracts)")]
    assert names == [column.name for column in Contract.__table__.columns]  # type: ignore[attr-defined]


def test_a_session_is_read_across_the_end_of_the_index(filled: tuple[Path, list[Record]]) -> None:
    path, rows = filled
    its = [row.contract_id for row in rows if row.session_id == "session_3"]
    which = Filter(session_id="session_3")
    with Reader(path) as reader:
        assert [each.contract_id for each in reader.page(which, limit=None)] == its[::-1]
        assert [each.contract_id for each in reader.page(which, limit=20, newest_first=False)] == its[:20]
        assert [row.contract_id for row in reader.stream(which)] == its
        assert reader.total(which) == len(its)
        assert reader.total(Filter(session_id="session_3", contract_type="REQUEST")) == len(its)


def test_sessions_are_listed_and_counted_across_the_end_of_the_index(filled: tuple[Path, list[Record]]) -> None:
    path, rows = filled
    names = [f"session_{number}" for number in range(SESSIONS)]
    with Reader(path) as reader:
        listed = reader.sessions()
        assert [each["session_id"] for each in listed] == [*names, "the newest one"]
        for each in listed:
            its = [row for row in rows if row.session_id == each["session_id"]]
            assert each["contracts"] == len(its)
            assert (each["first_at"], each["last_at"]) == (its[0].created_at, its[-1].created_at)
        assert [each["session_id"] for each in reader.sessions(after="session_4", limit=2)] == names[5:]
        assert [each["session_id"] for each in reader.sessions(after="session_6")] == ["the newest one"]
        assert reader.counts()["total_sessions"] == SESSIONS + 1
    with Memory(path) as memory:
        assert list(memory.every_session()) == [(name, True) for name in [*names, "the newest one"]]


def test_a_deleted_contract_is_gone_from_the_index_and_one_of_another_session_moves(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("DELETE FROM contracts WHERE session_id IN ('session_1', 'the newest one')")
        connection.execute("UPDATE contracts SET session_id = 'renamed' WHERE session_id = 'session_2'")
        connection.commit()
        (left,) = connection.execute("SELECT count(*) FROM contracts").fetchone()
        assert connection.execute("SELECT count(*) FROM session_contracts").fetchone() == (left,)
        assert connection.execute("SELECT count(*) FROM session_positions").fetchone() == (left,)
    with Reader(ledger) as reader:
        assert [each["session_id"] for each in reader.sessions()] == [
            "renamed", "session_0", "session_3", "session_4", "session_5", "session_6"
        ]  # fmt: skip
        assert reader.counts()["total_sessions"] == SESSIONS - 1


PAGES = {
    "a page": records_of(Filter(session_id="session_3")).page(limit=20, newest_first=True),
    "a page after a position": records_of(Filter(session_id="session_3")).page(limit=20, after=50),
    "a session of few contracts": records_of(Filter(session_id="the newest one")).page(limit=50, before=ROWS + 1),
    "a session that does not exist": records_of(Filter(session_id="other")).page(limit=50, after=1),
}


@pytest.mark.parametrize(("sql", "values"), PAGES.values(), ids=PAGES)
def test_a_session_is_read_without_a_look_at_the_indexed_contracts_of_others(
    filled: tuple[Path, list[Record]], sql: str, values: tuple[Any, ...]
) -> None:
    """Each of 20 contracts takes about 40 steps of SQLite's machine, each of the 100 after the last run about 5."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    with closing(sqlite3.connect(filled[0])) as connection:
        connection.set_progress_handler(count, 1)
        connection.execute(sql, values).fetchall()
    assert 0 < taken < 20 * 60 + 100 * 10
