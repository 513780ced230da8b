"""Counts are counts, and positions are given once, whatever somebody deletes with another program."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import ledgers
import pytest
from homes import Home
from ledgers import new_ledger, no_ledger
from revisions import ledger_at
from rows import pairs, put, request, response

from aorch.ledger.ledger import Ledger
from aorch.ledger.reader import EVERYTHING, Filter, Reader
from aorch.ledger.record import Record


def delete(ledger: Path, where: str) -> None:
    """As a person does with sqlite3 or psql."""
    ledgers.rows(ledger, f"DELETE FROM contracts WHERE {where}")


def counted(ledger: Path) -> tuple[int, int, dict[str, int]]:
    """What is told, which is first held to the rows themselves."""
    rows = dict(ledgers.rows(ledger, "SELECT status, count(*) FROM contracts GROUP BY status"))
    with Reader(ledger) as reader:
        counts = reader.counts()
        assert counts["by_status"] == rows
        assert counts["total_contracts"] == reader.total(EVERYTHING) == sum(rows.values())
        assert reader.total(Filter(status="completed")) == rows.get("completed", 0)
        assert len(reader.page(limit=None)) == sum(rows.values())
    return counts["total_contracts"], counts["total_sessions"], rows


def test_counts_are_right_after_rows_were_deleted(tmp_path: Path) -> None:
    """In the middle, at both ends, all of them, and after more was written."""
    path = no_ledger(tmp_path)
    assert Reader(path).counts() == {"total_contracts": 0, "total_sessions": 0, "by_status": {}}
    put(path, *pairs(4, "a"), request("b", status="failed"), request("c", status="pending", completed_at=None))
    assert counted(path) == (10, 3, {"completed": 8, "failed": 1, "pending": 1})
    delete(path, "position IN (3, 4)")
    assert counted(path)[0] == 8
    delete(path, "position = 1 OR position >= 9")
    assert counted(path) == (5, 1, {"completed": 5})
    put(path, *pairs(1))
    assert counted(path)[0] == 7
    delete(path, "true")
    assert counted(path) == (0, 0, {})
    put(path, *pairs(1))
    assert counted(path)[0] == 2


def test_a_position_is_given_once_so_full_text_and_followers_find_what_comes_after_a_deletion(tmp_path: Path) -> None:
    path = new_ledger(tmp_path)
    put(path, request(text="first"), request(text="second"))
    with Reader(path) as reader:
        assert len(reader.page(Filter(text="second"))) == 1
        last = reader.last_position()
        delete(path, "position = (SELECT max(position) FROM contracts)")
        put(path, request(text="third"))
        assert [json_text(each.payload) for each in reader.page(Filter(text="third"))] == ["third"]
        assert reader.page(Filter(text="second")) == []
        assert [json_text(each.payload) for each in reader.page(after=last, newest_first=False)] == ["third"]
        delete(path, "true")
        put(path, request(text="fourth"))
        assert [position for position, _ in reader.rows(Filter(text="fourth"), after=0)] == [4]


def json_text(payload: str) -> str:
    return str(json.loads(payload)["text"])


@pytest.mark.sqlite_only("copies that SQLite makes")
@pytest.mark.parametrize("way", ["VACUUM INTO", ".dump"])
def test_counts_and_positions_survive_a_copy(tmp_path: Path, way: str) -> None:
    """One that SQLite made, restored."""
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    put(path, *pairs(3))
    delete(path, "position IN (2, 6)")
    with closing(sqlite3.connect(path)) as source:
        if way == "VACUUM INTO":
            source.execute("VACUUM INTO ?", (str(copy),))
        else:
            with closing(sqlite3.connect(copy)) as target:
                target.executescript("\n".join(source.iterdump()))
    Ledger(copy).close()
    put(copy, request(text="new"))
    assert counted(copy)[0] == 5
    with Reader(copy) as reader:
        assert reader.last_position() == 7
        assert len(reader.page(Filter(text="new"))) == 1


@pytest.mark.sqlite_only("PostgreSQL ledgers exist only since the newest revision")
def test_an_older_ledger_from_which_rows_were_deleted_counts_right_once_it_is_upgraded(tmp_path: Path) -> None:
    """Positions that Trace or a memory block knows are not given again; full text is indexed anew."""
    path = tmp_path / "ledger.db"
    ledger_at(path, "0005")
    columns = ", ".join(Record._fields)
    with closing(sqlite3.connect(path)) as connection:
        for number, row in enumerate(pairs(3), 1):
            values = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO contracts (position, {columns}) VALUES (?, {values})", (number, *row))
            connection.execute("INSERT INTO contracts_text (rowid, words) VALUES (?, 'stale')", (number,))
        connection.execute("DELETE FROM contracts WHERE position IN (1, 5, 6)")
        connection.execute("INSERT INTO outbox (destination, position, reach) VALUES ('trace', 6, 6)")
        connection.commit()
    put(path, request(text="天气很好"))
    assert counted(path)[0] == 4
    with Reader(path) as reader:
        assert reader.last_position() == 7
        assert len(reader.page(Filter(text="天气"))) == len(reader.page(Filter(text="word1"))) == 1
        assert reader.page(Filter(text="stale")) == []


def test_status_and_lists_say_what_is_there(home: Home) -> None:
    """On the command line."""
    put(home.ledger, *pairs(3))
    delete(home.ledger, "position > 4")
    lost = request(status="failed")
    put(home.ledger, request(status="failed"), lost, response(lost)._replace(status="interrupted"))
    found = home.aorch("status", "--json").json
    assert found["contracts"]["total_contracts"] == 7
    assert found["contracts"]["by_status"] == {"completed": 4, "failed": 2, "interrupted": 1}
    assert found["exchanges"] == {"total": 4, "by_status": {"completed": 2, "failed": 1, "interrupted": 1}}
    assert ": 2 completed, 1 failed, 1 interrupted\n" in home.aorch("status").out
