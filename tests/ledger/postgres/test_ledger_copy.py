"""A ledger is copied whole from a file to PostgreSQL and back, or not at all."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from homes import Home
from postgres_rows import put_in
from rows import pairs, put, request
from sqlalchemy import Float, Integer, Table

from aorch.config.ledger_location import LedgerLocation, PostgresUrl
from aorch.errors import Conflict, LedgerBusy, LedgerError, LedgerInvalid, UsageError
from aorch.ledger.checking import check
from aorch.ledger.copying import OWN, copy_ledger
from aorch.ledger.database import ProcessLock, connect, transaction
from aorch.ledger.ledger import Ledger
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.schema import metadata
from aorch.ledger.upkeep import info
from aorch.ledger.work_leases import open_lease

TABLES = [table for table in metadata.sorted_tables if table.name not in OWN]


def fill(path: Path) -> None:
    """Put contracts and a row in each other table, and remove the newest contract, whose position is not given again."""
    put(path, *pairs(3), request("späť", "ünï 天气 \\ '", metadata='{"a":1.0,"a":1e400, "b": "\\u0000"}'), request())
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in TABLES:
            if table.name not in ("contracts", "queue_clock"):
                values = [value_for(table, place) for place in range(len(table.columns))]
                connection.execute(f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(values))})", values)
        connection.execute("UPDATE work_leases SET ends_at = '2020-01-01T00:00:00.000000Z'")
        connection.execute("UPDATE queue_clock SET turn = 77 WHERE priority = 3")
        connection.execute("DELETE FROM contracts WHERE position = 8")


def value_for(table: Table, place: int) -> object:
    column = list(table.columns)[place]
    if isinstance(column.type, Integer):
        return 2**31 + place  # more than an int of 32 bits
    return place + 0.1 if isinstance(column.type, Float) else f'{{"{column.name}":"ž"}}'


def everything(location: LedgerLocation) -> dict[str, list[tuple[object, ...]]]:
    with closing(connect(location)) as connection:
        return {
            table.name: connection.execute(
                f"SELECT {', '.join(table.columns.keys())} FROM {table.name} ORDER BY 1, 2"
            ).fetchall()
            for table in TABLES
        }


def test_everything_is_the_same_in_postgresql_and_back_in_a_file(
    path: Path, postgres: PostgresUrl, tmp_path: Path
) -> None:
    fill(path)
    there = copy_ledger(path, postgres)
    with closing(connect(postgres)) as connection:  # as a process does that writes there
        connection.execute("INSERT INTO counters VALUES ('write:01', 7)")
    back = copy_ledger(postgres, tmp_path / "back.db")
    with closing(connect(tmp_path / "back.db")) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM counters").fetchall()}
    assert names == {"deleted_contracts", "session_index"}
    assert there == back
    assert there.rows["contracts"] == 7
    assert all(there.rows.values())
    assert everything(path) == everything(postgres) == everything(tmp_path / "back.db")
    for location in (postgres, tmp_path / "back.db"):
        with Reader(location) as reader:
            assert len(reader.page(Filter(text="天气"))) == 1
            assert reader.total(Filter()) == 7
        put_in(location, request())
        assert info(location)["last_position"] == 9
        assert not [
            each for each in check(location) if each.check in ("schema", "counts", "sessions", "turns", "full text")
        ]


def test_a_copy_that_fails_leaves_a_ledger_that_is_refused_until_it_is_repeated(
    path: Path, postgres: PostgresUrl
) -> None:
    put(path, *pairs(2))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE contracts SET error = 'a' || char(0) || 'b' WHERE position = 2")
        connection.execute("UPDATE contracts SET priority = 'x' WHERE position = 3")
    with pytest.raises(LedgerError):  # it is no number
        copy_ledger(path, postgres)
    with pytest.raises(LedgerInvalid, match=r"a copy to the ledger .* is not complete"):
        connect(postgres)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE contracts SET priority = NULL WHERE position = 3")
    done = copy_ledger(path, postgres)
    assert (done.rows["contracts"], done.replaced) == (4, 1), (
        "PostgreSQL stores no U+0000; aorch itself never writes it"
    )
    with closing(connect(postgres)) as connected:
        assert connected.execute("SELECT error FROM contracts WHERE position = 2").fetchall() == [("a\ufffdb",)]


def test_a_target_with_rows_is_refused_and_not_changed(path: Path, postgres: PostgresUrl) -> None:
    put(path, *pairs(2))
    put_in(postgres, *pairs(1))
    with pytest.raises(Conflict, match="is not empty"):
        copy_ledger(path, postgres)
    assert info(postgres)["contracts"] == 2
    with pytest.raises(UsageError):
        copy_ledger(path, path)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (r'{"x":"\u0000\u0000","caller":{"id":"me"}}', "me"),
        (r'{"x":"\ude00 \ud800 \ud83d\ude00","caller":{"id":"me"}}', "me"),
        (r'{"\u0000":1,"caller":{"id":"\ud83d\ude00\ud83d \\u0000 \\\u0000"}}', "😀\ufffd \\u0000 \\\ufffd"),
        ("no JSON", None),
    ],
)
def test_metadata_with_an_escape_that_postgresql_does_not_read_keeps_its_other_keys(
    postgres: PostgresUrl, document: str, found: str | None
) -> None:
    with closing(connect(postgres)) as connection:
        assert connection.execute("SELECT aorch_json_text(%s, 'caller', 'id')", (document,)).fetchall() == [(found,)]


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_ledger_that_a_process_uses_is_not_copied(
    kind: str, path: Path, postgres: PostgresUrl, tmp_path: Path
) -> None:
    source, target = (path, postgres) if kind == "file" else (postgres, tmp_path / "copy.db")
    put_in(source, *pairs(1))
    lock = ProcessLock(source)
    with pytest.raises(LedgerBusy, match="1 process uses the ledger"):
        copy_ledger(source, target)
    lock.close()

    def refused_meanwhile(*_: object) -> None:
        with pytest.raises(LedgerBusy, match="is being copied"):
            Ledger(source)

    assert copy_ledger(source, target, refused_meanwhile).last_position == 2
    Ledger(source).close()


def test_a_ledger_whose_workers_over_http_may_still_report_is_not_copied(path: Path, tmp_path: Path) -> None:
    put(path, *pairs(1))
    with closing(connect(path)) as connection:
        with transaction(connection):
            open_lease(connection, "", "worker", 60, [])
        with pytest.raises(LedgerBusy, match="1 worker holds a lease"):
            copy_ledger(path, tmp_path / "copy.db")
        connection.execute("UPDATE work_leases SET ends_at = created_at")
    assert copy_ledger(path, tmp_path / "copy.db").rows["work_leases"] == 1


def test_the_command_says_what_it_copied_and_tasks_continue_there(home: Home, postgres: PostgresUrl) -> None:
    put(home.ledger, *pairs(2))
    done = home.aorch("ledger", "copy", str(home.ledger), str(postgres))
    assert done.out == f"{postgres}: 4 contracts, 9 rows in all, verified\n", done
    Ledger(postgres).close()
    refused = home.aorch("ledger", "copy", str(home.ledger), str(postgres))
    assert (refused.code, refused.out) == (13, "")
