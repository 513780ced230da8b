"""Rewriting the file of a ledger: unused space and old bytes are gone, while other processes have it open."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from disks import Disk
from homes import Home
from rows import pairs, put, request

from aorch.ledger.database import empty_log, estimate_rewrite, rewrite
from aorch.ledger.filters import EVERYTHING
from aorch.ledger.reader import Reader

pytestmark = pytest.mark.sqlite_only("it reads bytes of the file")

NEEDLE = b"a-needle-that-nothing-else-contains"


def all_bytes(ledger: Path) -> bytes:
    """The bytes of the ledger's file and of the files beside it."""
    return b"".join(file.read_bytes() for file in sorted(ledger.parent.glob(f"{ledger.name}*")) if file.is_file())


def deleted_needle(home: Home) -> None:
    """Write a contract with the needle, and delete it as any program can."""
    put(home.ledger, *pairs(200), request("gone", text=NEEDLE.decode()), *pairs(200))
    with closing(sqlite3.connect(home.ledger)) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")  # the default depends on how SQLite was compiled
        connection.execute("DELETE FROM contracts WHERE session_id = 'gone'")


def test_old_bytes_are_nowhere_after_a_rewrite_although_other_connections_have_the_file_open(home: Home) -> None:
    with Reader(home.ledger) as reader, closing(sqlite3.connect(home.ledger)) as other:
        assert other.execute("SELECT count(*) FROM contracts").fetchone() == (0,)
        deleted_needle(home)
        assert reader.total(EVERYTHING) == 800
        assert other.execute("SELECT count(*) FROM contracts").fetchone() == (800,)
        assert NEEDLE in all_bytes(home.ledger)
        assert rewrite(home.ledger)
        assert NEEDLE not in all_bytes(home.ledger)
        assert home.ledger.with_name("ledger.db-wal").stat().st_size == 0
        assert reader.total(EVERYTHING) == 800
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_rewrite_says_if_another_process_still_reads_from_the_log(home: Home) -> None:
    deleted_needle(home)
    with closing(sqlite3.connect(home.ledger, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM contracts").fetchone()
        assert not rewrite(home.ledger, wait_s=0.1)
        other.execute("COMMIT")
        assert empty_log(home.ledger)
    assert NEEDLE not in all_bytes(home.ledger)


def test_the_estimate_is_that_of_the_kept_pages(home: Home) -> None:
    deleted_needle(home)
    with closing(sqlite3.connect(home.ledger)) as connection, connection:
        connection.execute("DELETE FROM contracts")
    before = estimate_rewrite(home.ledger)
    assert before.kept_bytes < before.file_bytes
    assert before.disk_bytes == 2 * before.kept_bytes
    assert 0 < before.lock_s < 60
    assert rewrite(home.ledger)
    assert home.ledger.stat().st_size <= before.kept_bytes
    assert [file.name for file in home.folder.glob(".aorch-*")] == []


def test_a_disk_without_room_is_refused_before_anything_is_written(disk: Disk) -> None:
    program = """
import pathlib, rows
from aorch.ledger.database import empty_log, rewrite
ledger = pathlib.Path("disk/ledger.db").resolve()
rows.put(ledger, rows.request(text="x" * 300_000))
empty_log(ledger)
rewrite(ledger)
"""
    disk.home.environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "support")
    result = disk.run(sys.executable, "-c", program)
    assert f"LedgerFull: rewriting the ledger {disk.folder}/ledger.db needs 0." in result.err
    assert disk.sql("PRAGMA integrity_check") == [["ok"]]
