"""A ledger's file shrinks: at once by a rewrite, and then by small steps while others write."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rows import pairs, put, request

from aorch.errors import NotFound
from aorch.ledger import upkeep
from aorch.ledger.database import empty_log
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.sqlite.free_pages import can_release_pages, free_pages, release_pages
from aorch.ledger.sqlite.opening import connect

pytestmark = pytest.mark.sqlite_only("it reads pages of the file")


def delete(ledger: Path, where: str = "1") -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"DELETE FROM contracts WHERE {where}")
        connection.commit()


def test_after_one_rewrite_free_pages_are_released_in_small_transactions(path: Path) -> None:
    put(path, *pairs(2000))
    with closing(connect(path)) as connection:
        assert not can_release_pages(connection)
        delete(path, "position <= 2000")
        assert free_pages(connection) > 0
        assert release_pages(connection) == 0
    upkeep.vacuum(path)
    with closing(connect(path)) as connection:
        before = path.stat().st_size
        delete(path, "position <= 3000")
        free = free_pages(connection)
        assert release_pages(connection) == free > 0
        assert free_pages(connection) == 0
        assert empty_log(path)
        assert path.stat().st_size == before - free * 4096
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_vacuum_leaves_no_words_of_deleted_contracts_in_the_full_text_index(path: Path) -> None:
    put(path, *(request(text=f"unrepeatable{number}") for number in range(300)), request(text="kept"))
    which = Filter(text="kept")
    with Reader(path) as reader:
        assert len(reader.page(which)) == 1
    delete(path, "position <= 300")
    done = upkeep.vacuum(path)
    assert (done.is_final, done.bytes) == (True, path.stat().st_size)
    assert done.bytes < done.bytes_before
    with Reader(path) as reader:
        assert len(reader.page(which)) == 1
        assert reader.last_position() == 301


def test_there_is_nothing_to_measure_without_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="ledger not found"):
        upkeep.info(tmp_path / "none.db")
