"""Backups are of one moment, whole and verified, and a restored ledger goes on where the backup ended."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest
from homes import Home
from revisions import ledger_at
from rows import locked, pairs, put, request
from waiting import wait_for

from aorch.errors import (
    Conflict,
    LedgerBusy,
    LedgerError,
    LedgerGone,
    LedgerInvalid,
    LedgerTooNew,
    NotFound,
    UsageError,
)
from aorch.ledger import upkeep
from aorch.ledger.database import Database, ProcessLock
from aorch.ledger.ledger import Ledger
from aorch.ledger.outbox import Outbox
from aorch.ledger.reader import Reader

pytestmark = pytest.mark.sqlite_only("a backup is a copy of the file; PostgreSQL has its own")

WRITER = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from rows import pairs, put
print("ready", flush=True)
while True:
    put(pathlib.Path(sys.argv[1]), *pairs(20))
"""
BACKUP = """
import pathlib, sys
from aorch.ledger import upkeep
print("ready", flush=True)
while True:
    upkeep.back_up(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), replace=True)
"""
SUPPORT = str(Path(__file__).parents[1] / "support")


def contracts_in(file: Path) -> int:
    """Also a check that the file is a whole database that needs no other file."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM contracts").fetchone()[0])


def started(program: str, *arguments: Path | str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where a backup goes."""
    return tmp_path / "backups" / "copy.db"


@pytest.fixture(autouse=True)
def _folder(copy: Path) -> None:
    copy.parent.mkdir()


def test_a_backup_is_one_private_file_with_all_contracts(path: Path, copy: Path) -> None:
    put(path, *pairs(5))
    done = upkeep.back_up(path, copy)
    assert os.listdir(copy.parent) == [copy.name]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert (done.contracts, done.last_position, done.bytes) == (10, 10, copy.stat().st_size)
    assert contracts_in(copy) == 10
    with Reader(copy) as reader:
        assert reader.counts()["total_contracts"] == 10


def test_a_backup_is_of_one_moment_although_another_process_writes(path: Path, copy: Path) -> None:
    """Every copy ends with a whole transaction of the writer: 20 exchanges."""
    put(path, *pairs(3000))
    seen: list[tuple[int, int]] = []
    with started(WRITER, path, SUPPORT) as writer:
        try:
            for number in range(5):
                upkeep.back_up(path, target := copy.with_name(f"{number}.db"), progress=lambda *each: seen.append(each))
                assert contracts_in(target) % 40 == 0
        finally:
            writer.kill()
    assert seen[0][0] < seen[0][1]
    assert all(done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1]


def test_writers_are_not_delayed_by_a_backup(path: Path, copy: Path) -> None:
    """One holds the write lock during the whole backup."""
    put(path, *pairs(5))
    with locked(path):
        assert upkeep.back_up(path, copy).contracts == 10


def test_a_backup_replaces_nothing_unasked(path: Path, copy: Path) -> None:
    put(path, *pairs(1))
    copy.write_text("something else")
    with pytest.raises(Conflict, match="exists already"):
        upkeep.back_up(path, copy)
    assert copy.read_text() == "something else"
    assert upkeep.back_up(path, copy, replace=True).contracts == 2
    assert contracts_in(copy) == 2


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal", "ledger.db-owners", "backups", "backups/none/copy.db"])
def test_a_backup_is_refused_over_the_ledger_a_directory_or_into_none(path: Path, name: str) -> None:
    put(path, *pairs(1))
    ProcessLock(path).close()
    with pytest.raises((UsageError, LedgerError)) as refused:
        upkeep.back_up(path, path.parent / name, replace=True)
    assert refused.value.hint
    assert contracts_in(path) == 2


def test_a_backup_is_refused_over_a_database_in_use_whose_log_would_spoil_it(path: Path, copy: Path) -> None:
    shutil.copy(path, copy)
    with closing(sqlite3.connect(copy)) as other:
        other.execute("DELETE FROM counters WHERE name = 'none'")
        with pytest.raises(UsageError, match=r"copy.db-(wal|shm)"):
            upkeep.back_up(path, copy, replace=True)


def test_two_backups_to_one_file_do_not_mix(path: Path, copy: Path) -> None:
    put(path, *pairs(5))

    def again(done: int, total: int) -> None:
        with pytest.raises(LedgerBusy, match="another process is writing"):
            upkeep.back_up(path, copy)

    upkeep.back_up(path, copy, progress=again)
    assert contracts_in(copy) == 10


def test_a_killed_backup_leaves_the_older_file_and_the_next_one_removes_its_remains(path: Path, copy: Path) -> None:
    put(path, *pairs(2000))
    upkeep.back_up(path, copy)
    for _ in range(5):
        with started(BACKUP, path, copy) as process:
            wait_for(lambda: any(name.endswith(".partial") for name in os.listdir(copy.parent)))
            process.send_signal(signal.SIGKILL)
        assert contracts_in(copy) == 4000
    upkeep.back_up(path, copy, replace=True)
    assert os.listdir(copy.parent) == [copy.name]


def test_an_interrupted_backup_leaves_nothing(path: Path, copy: Path) -> None:
    put(path, *pairs(5))

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upkeep.back_up(path, copy, progress=interrupt)
    assert os.listdir(copy.parent) == []


def test_an_older_ledger_is_copied_as_it_is_and_upgraded_when_it_is_restored(tmp_path: Path, copy: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    ledger_at(old, "0007")
    assert upkeep.back_up(old, copy).revision == "0007"
    assert Database(old).peek is not None
    assert upkeep.info(old)["revision"] == "0007"
    done = upkeep.restore(copy, new)
    assert (done.revision_before, done.kept_as) == ("0007", None)
    assert done.copied.revision == upkeep.info(new)["newest_revision"]
    assert upkeep.info(new)["journal_mode"] == "wal"
    assert upkeep.info(copy)["revision"] == "0007"


def test_a_restored_ledger_has_what_the_backup_had_and_the_old_one_is_kept(path: Path, copy: Path) -> None:
    put(path, *pairs(3))
    upkeep.back_up(path, copy)
    put(path, *pairs(2, "later"))
    path.chmod(0o640)
    before = copy.read_bytes()
    done = upkeep.restore(copy, path)
    assert copy.read_bytes() == before
    assert done.copied.contracts == 6 == contracts_in(path)
    assert path.stat().st_mode & 0o777 == 0o640
    assert done.kept_as is not None
    assert contracts_in(done.kept_as) == 10
    assert sorted(os.listdir(path.parent)) == sorted([path.name, done.kept_as.name, copy.parent.name, "aorch.toml"])
    put(path, *pairs(1))
    assert upkeep.info(path)["last_position"] == 8


def hint_of_refused_restore(copy: Path, ledger: Path) -> str:
    """The traceback of the error, which holds a statement and with it the lock of this process, ends with this function."""
    with pytest.raises(LedgerBusy, match="cannot replace the ledger") as refused:
        upkeep.restore(copy, ledger)
    return refused.value.hint


@pytest.mark.parametrize("how", ["a process that runs tasks", "a reader", "a writer"])
def test_a_ledger_in_use_is_not_replaced(path: Path, copy: Path, how: str) -> None:
    put(path, *pairs(3))
    upkeep.back_up(path, copy)
    put(path, *pairs(1))
    if how == "a process that runs tasks":
        using = closing(ProcessLock(path))
    else:
        using = closing(sqlite3.connect(path, isolation_level=None))
    with using as user:
        if how != "a process that runs tasks":
            user.execute("SELECT count(*) FROM contracts").fetchone()  # type: ignore[attr-defined]
        if how == "a writer":
            user.execute("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
        hint = hint_of_refused_restore(copy, path)
        assert hint.startswith("Stop every process that uses it (such as `aorch serve`, a worker, `aorch run` or")
    assert upkeep.info(path)["contracts"] == 8
    assert upkeep.restore(copy, path).copied.contracts == 6


def test_a_damaged_ledger_can_be_replaced_and_its_log_goes_with_it(path: Path, copy: Path) -> None:
    put(path, *pairs(3))
    upkeep.back_up(path, copy)
    path.write_bytes(b"no database " * 1000)
    log = path.with_name("ledger.db-wal")
    log.write_bytes(b"frames of the damaged one")
    done = upkeep.restore(copy, path)
    assert done.kept_as is not None
    assert done.kept_as.read_bytes().startswith(b"no database")
    assert done.kept_as.with_name(f"{done.kept_as.name}-wal").exists()
    assert not log.exists()
    assert contracts_in(path) == 6


def test_a_damaged_newer_or_foreign_backup_replaces_nothing(path: Path, copy: Path) -> None:
    put(path, *pairs(3))
    with pytest.raises(NotFound):
        upkeep.restore(copy, path)
    with pytest.raises(UsageError, match="the ledger itself"):
        upkeep.restore(path, path)
    copy.write_text("no database")
    with pytest.raises(LedgerInvalid):
        upkeep.restore(copy, path)
    copy.unlink()
    with closing(sqlite3.connect(copy)) as other:
        other.execute("CREATE TABLE others (name)")
    with pytest.raises(LedgerInvalid, match="another program"):
        upkeep.restore(copy, path)
    upkeep.back_up(path, copy, replace=True)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerTooNew, match="of a newer aorch"):
        upkeep.restore(copy, path)
    assert contracts_in(path) == 6
    assert not [name for name in os.listdir(path.parent) if "partial" in name or "before" in name]


def test_a_process_that_opened_the_old_file_writes_nothing_after_a_restore(path: Path, copy: Path) -> None:
    """It opened the ledger before the restore locked it, and got its turn after the end."""
    upkeep.back_up(path, copy)
    ledger = Ledger(path)
    try:
        path.rename(path.with_name("moved.db"))
        shutil.copy(copy, path)
        with pytest.raises(LedgerGone):
            ledger.check_file()
    finally:
        ledger.close()


def test_contracts_after_the_delivered_ones_count_as_perhaps_sent_after_a_restore(path: Path, copy: Path) -> None:
    put(path, *pairs(5))
    with Outbox(path) as outbox:
        outbox.advance(4, 6)
    upkeep.back_up(path, copy)
    with Outbox(path) as outbox:
        outbox.advance(10, 10)
    upkeep.restore(copy, path)
    with Outbox(path) as outbox:
        assert outbox.reached() == (4, 10)


def test_queued_tasks_of_a_backup_are_counted_because_they_run_again(home: Home, copy: Path) -> None:
    home.aorch("run", "echo", "text=hi", "--detach")
    upkeep.back_up(home.ledger, copy)
    done = home.aorch("ledger", "restore", str(copy))
    assert done.code == 0, done.err
    assert "1 queued task" in done.err


def test_a_backup_through_a_symlink_reads_the_ledger_and_goes_where_the_link_leads(path: Path, copy: Path) -> None:
    put(path, *pairs(1))
    (link := copy.with_name("link.db")).symlink_to(copy)
    (other := path.with_name("other.db")).symlink_to(path)
    upkeep.back_up(other, link)
    assert link.is_symlink()
    assert contracts_in(copy) == 2
    with pytest.raises(UsageError, match="the ledger itself"):
        upkeep.back_up(other, path, replace=True)


def test_writers_during_restores_write_to_the_restored_ledger(path: Path, copy: Path) -> None:
    """A writer that waited for a file while it was replaced opens the new one."""
    put(path, *pairs(1))
    upkeep.back_up(path, copy)
    written: list[int] = []
    kept: list[Path] = []

    def write() -> None:
        for number in range(10_000):
            if number >= 60 and kept:
                break
            put(path, request(text=f"{number}"))
            written.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        with suppress(LedgerBusy):
            if (aside := upkeep.restore(copy, path).kept_as) is not None:
                kept.append(aside)
    thread.join()
    found = sum(contracts_in(file) - 2 for file in (path, *kept))
    assert found == len(written)
    assert kept


def test_a_backup_may_have_a_name_that_begins_like_the_ledger(path: Path) -> None:
    put(path, *pairs(1))
    assert upkeep.back_up(path, path.with_name("ledger.db-2026-01-31")).contracts == 2
