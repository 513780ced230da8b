"""Copies of a ledger's file: a backup while others write, and a backup put in the ledger's place."""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from aorch.config.config_file import reason_of
from aorch.errors import (
    LedgerBusy,
    LedgerError,
    LedgerFull,
    LedgerInvalid,
    LedgerReadOnly,
    LedgerTooNew,
    NotFound,
    UsageError,
)
from aorch.ledger.sqlite import files, statements
from aorch.ledger.sqlite.connection import (
    Connection,
    as_ledger_error,
    connection_to,
    is_damage,
    not_writable,
    revision,
    translated,
)
from aorch.ledger.sqlite.locks import is_alive, owner_ids, process_ids
from aorch.ledger.sqlite.new_file import PRIVATE, exists_already, is_partial, new_file, put_in_place
from aorch.ledger.sqlite.opening import connect, is_outdated, open_without_upgrade
from aorch.ledger.upkeep_reports import STOP_PROCESSES, Copied, Progress, Restored

PAGES = 256
"""Pages that are copied between two calls of the progress callback."""
MOST_TRIES = 5
"""How often a copy is started that another user's writes spoil."""
_IN_USE = ("-wal", "-journal")
_BESIDE_A_LEDGER = ("wal", "shm", "journal", "owners", "trace", "otel", "retention")
"""What the files next to a ledger are for (`files.beside`)."""
_ASIDE = ".before-restore-"
"""The names of replaced ledgers have this and the time after the name of the ledger."""
_ANOTHER_BACKUP = "Name another backup. The ledger is unchanged."


def back_up(ledger: Path, target: Path, *, replace: bool = False, progress: Progress | None = None) -> Copied:
    """Copy the ledger to the file `target` as it is at one moment, while other processes read and write it.

    The file appears under its name once it is complete, verified (integrity_check) and on disk. It needs no other file, and its
    mode is 0600. The ledger is not written, and its schema not upgraded. Raises Conflict if `target` exists, unless it is to
    `replace` it; LedgerInvalid if the ledger is damaged; LedgerFull, and LedgerError.
    """
    target = _checked_target(ledger, files.resolved(target), replace=replace)
    with new_file(target) as partial:
        with translated(ledger):
            _copy(lambda: open_without_upgrade(ledger), partial, target, progress)
            copied = _verified(partial, f"the ledger {ledger} is damaged")
        put_in_place(partial, target, replace=replace)
    return copied


def restore(backup: Path, ledger: Path, progress: Progress | None = None) -> Restored:
    """Put the ledger in the file `backup` in the place of `ledger`, and keep the old file aside.

    First a copy of the backup is verified and upgraded; then, while no process uses the ledger, it gets the ledger's name.
    It keeps the record of erasures of the old ledger, so that no import brings their content back.
    Contracts up to the last one may have been delivered to Trace since the backup: they are looked up there before they are sent.
    Raises NotFound without a backup, LedgerBusy while a process uses the ledger, LedgerInvalid, LedgerTooNew, LedgerFull, and
    LedgerError.
    """
    target = files.resolved(ledger)
    _check_readable(backup)
    if files.is_same(ledger, backup):
        raise UsageError(f"{backup} is the ledger itself", "Name a backup of it.")
    files.make_folder(target.parent)
    _check_unused(ledger)
    if files.exists(ledger) and not files.may_write(ledger):
        raise not_writable(ledger)
    with new_file(target, _mode_of(target)) as partial:
        with _translated_backup(backup):
            _copy(lambda: _opened_backup(backup), partial, ledger, progress)
            before = _verified(partial, f"the backup {backup} is damaged").revision
        if before > statements.REVISION:
            raise LedgerTooNew(
                f"{backup} has revision {before} of a newer aorch; this aorch supports {statements.REVISION}",
                "Upgrade aorch, then restore it.",
            )
        queued, webhooks = _prepare(ledger, partial)
        _give_owner_of(target, partial)
        with _unused(ledger) as replaced:
            if replaced is not None:
                _keep_erasures(replaced, partial)
            kept_as = _keep_aside(target, is_damaged=replaced is None)
            put_in_place(partial, target, replace=True)
    with closing(connect(ledger)) as connection, translated(ledger):
        copied = _described(connection)
    return Restored(copied, before, kept_as, queued, webhooks)


def _checked_target(ledger: Path, target: Path, *, replace: bool) -> Path:
    if files.is_same(ledger, target) or target in [files.beside(ledger, name) for name in _BESIDE_A_LEDGER]:
        raise UsageError(f"{target} belongs to the ledger itself", "Choose another file.")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is not a regular file", "Choose another file.")
    if target.exists() and not replace:
        raise exists_already(target)
    for suffix in _IN_USE:  # SQLite would add what it contains to the new file
        if (beside := target.with_name(target.name + suffix)).exists():
            raise UsageError(f"{target} is a database in use: {beside.name} is next to it", "Choose another file.")
    return target


def _copy(open_source: Callable[[], Connection], partial: Path, target: Path, progress: Progress | None) -> None:
    """Copy the pages of one moment. Other processes may write meanwhile; their write-ahead log grows until the end.

    Raises SQLite's errors as they are: the caller knows whether the source is a ledger or a backup.
    """
    for _ in range(MOST_TRIES):
        with closing(open_source()) as reading:
            if revision(reading) is None:
                raise LedgerInvalid(f"{reading.path} is not a ledger: it is empty", "Choose another file.")
            _copy_pages(reading, partial, target, progress)
            if not is_outdated(reading, reading.path):
                return
    raise LedgerBusy(
        f"{reading.path} changed during each of {MOST_TRIES} copies, and this user may not lock it",
        "Copy it as its owner, or while nobody writes.",
    )


def _opened_backup(path: Path) -> Connection:
    """A connection that changes neither the backup nor its directory, if the file alone is the whole backup."""
    if files.holds_something(files.beside(path, "wal")):
        return open_without_upgrade(path)
    return connection_to(path, "mode=ro&immutable=1")


def _copy_pages(reading: Connection, partial: Path, target: Path, progress: Progress | None) -> None:
    with closing(connection_to(partial, "mode=rw")) as writing:
        writing.execute("PRAGMA synchronous = OFF")  # it is synced at the end
        if reading.read_at is None:
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on, it sees one moment
        try:
            reading.backup(
                writing, pages=PAGES, progress=progress and (lambda _, left, total: progress(total - left, total))
            )
            writing.execute("PRAGMA journal_mode = DELETE")  # a file that needs none next to it
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
                raise LedgerFull(f"no room to write {target}", "Make room, or choose another disk.") from error
            raise


def _verified(partial: Path, damaged: str) -> Copied:
    with closing(connection_to(partial, "mode=ro&immutable=1")) as connection:
        found = [text for (text,) in connection.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise LedgerInvalid(f"{damaged}: {'; '.join(found)}", "`aorch ledger check` shows what can be done.")
        return _described(connection)


def _described(connection: Connection) -> Copied:
    (contracts,) = connection.execute(statements.CONTRACT_TOTAL).fetchone()
    newest_at, position = connection.execute(statements.NEWEST_CONTRACT).fetchone() or (None, 0)
    (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return Copied(pages * size, contracts, position, newest_at, revision(connection) or "")


# Restoring


def _check_readable(backup: Path) -> None:
    """Raise NotFound without a file, and LedgerError if it is not a regular file or this user cannot read it."""
    try:
        is_file, is_folder = stat.S_ISREG(mode := backup.stat().st_mode), stat.S_ISDIR(mode)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no file {backup}", "Name a file that `aorch ledger backup` wrote.") from None
    except (OSError, ValueError) as error:
        raise LedgerError(f"cannot read the backup {backup}: {reason_of(error)}", _ANOTHER_BACKUP) from error
    if is_file and os.access(backup, os.R_OK):
        return
    reason = "permission denied" if is_file else "it is a directory" if is_folder else "it is not a regular file"
    raise LedgerReadOnly(f"cannot read the backup {backup}: {reason}", _ANOTHER_BACKUP)


@contextmanager
def _translated_backup(backup: Path) -> Iterator[None]:
    """Raise the errors of a damaged or foreign file as those of the backup: the ledger has none of them."""
    try:
        yield
    except LedgerInvalid as error:
        error.hint = _ANOTHER_BACKUP
        raise
    except sqlite3.Error as error:
        if not is_damage(error):
            raise as_ledger_error(backup, error) from error
        is_database = error.sqlite_errorname != "SQLITE_NOTADB"
        what = f"the backup {backup} is damaged" if is_database else f"{backup} is not a backup of a ledger"
        raise LedgerInvalid(f"{what}: {error}", _ANOTHER_BACKUP) from error


def _prepare(ledger: Path, partial: Path) -> tuple[int, int]:
    """Upgrade the copy. Returns the numbers of queued tasks and of due webhooks in it."""
    with closing(connect(partial)) as connection, translated(partial):
        with connection.transaction():
            # Trace may have received contracts after the backup: those up to `reach` count as perhaps sent
            position, reach = connection.execute(statements.OUTBOX_POSITION, ("trace",)).fetchone() or (0, 0)
            (last,) = connection.execute(statements.LAST_POSITION).fetchone()
            if reach or files.beside(ledger, "trace").exists():
                connection.execute(statements.ADVANCE_OUTBOX, ("trace", position, max(reach, last)))
        (queued,) = connection.execute(statements.QUEUE_LENGTH).fetchone()
        (webhooks,) = connection.execute(statements.DUE_WEBHOOK_COUNT).fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return queued, webhooks


def _keep_erasures(replaced: Connection, partial: Path) -> None:
    """Add the record of erasures of the ledger that is replaced to the copy."""
    with translated(replaced.path):
        tables = {name for (name,) in replaced.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "erased_contracts" not in tables:  # an older aorch wrote it, or it is empty
            return
        erasures = replaced.execute(statements.ERASURES, (-1,)).fetchall()  # all
        contracts = replaced.execute(statements.ERASED_CONTRACTS).fetchall()
    with closing(connect(partial)) as connection, translated(partial):
        with connection.transaction():
            connection.executemany(statements.INSERT_ERASURE, [row[:-1] for row in erasures])
            connection.executemany(statements.INSERT_ERASED_CONTRACT, contracts)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _check_unused(ledger: Path) -> None:
    alive = sum(is_alive(ledger, owner_id) for owner_id in owner_ids(ledger))
    if alive:
        processes = "a process uses it" if alive == 1 else f"{alive} processes use it"
        if ids := process_ids(ledger):
            processes += f" (process ID {', '.join(map(str, ids))})"
        raise LedgerBusy(f"cannot replace the ledger {ledger}: {processes}", STOP_PROCESSES)


@contextmanager
def _unused(ledger: Path) -> Iterator[Connection | None]:
    """Keep all other processes from the ledger's present file during the block, which gets the connection that locks it.

    Raises LedgerBusy if one has it open. A damaged file, which no process can open, needs no lock: then, and without a file,
    the block gets None.
    """
    if not files.exists(ledger) or not files.holds_something(ledger):
        yield None
        return
    if not files.may_write(ledger):
        raise not_writable(ledger)
    with closing(connection_to(ledger, "mode=rw")) as connection:
        connection.may_wait = lambda: False
        locking = None
        with contextlib.suppress(_Damaged):
            _lock_out_others(ledger, connection)
            locking = connection
        _check_unused(ledger)
        yield locking


class _Damaged(Exception):
    """The file is no database that SQLite can open."""


def _lock_out_others(ledger: Path, connection: Connection) -> None:
    """Lock the file, which SQLite does only if no other connection has it open, and empty the write-ahead log.

    The file remains in WAL mode: to leave that, SQLite would need a rollback journal, and a process that still waits to open
    an older file of this name would roll that file back with it.
    """
    try:
        with closing(sqlite3.Cursor(connection)) as cursor:  # a failed statement that is not closed keeps its lock
            cursor.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            cursor.execute("SELECT 1 FROM sqlite_master").fetchone()  # in WAL mode, this takes the exclusive lock
            ((is_busy, _, _),) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise _Damaged from error
        if not error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise LedgerError(f"cannot lock the ledger {ledger}: {error}") from error
        is_busy = True
    if is_busy:
        raise LedgerBusy(
            f"cannot replace the ledger {ledger}: another process has it open",
            STOP_PROCESSES,
        )


def kept_aside(ledger: Path) -> list[Path]:
    """The older ledgers that `restore` has kept next to this one, and unfinished copies there, of killed backups and restores."""
    target = files.resolved(ledger)
    try:
        beside = sorted(os.listdir(target.parent))
    except OSError:  # the directory may be used, but not listed
        return []
    older = [name for name in beside if name.startswith(f"{target.name}{_ASIDE}") and name.endswith("Z")]
    unfinished = [name for name in beside if is_partial(target.with_name(name))]
    return [target.with_name(name) for name in older + unfinished]


def _keep_aside(target: Path, *, is_damaged: bool) -> Path | None:
    """Give the present file, and what a damaged one has next to it, a name with the present time. Next to a file that is
    locked and not damaged, there is nothing but an empty log.
    """
    if not target.exists():
        return None
    aside = target.with_name(f"{target.name}{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for suffix in ("-wal", "-shm", "-journal"):
        beside = target.with_name(target.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            if is_damaged:
                beside.rename(aside.with_name(aside.name + suffix))
            else:
                beside.unlink()
    try:
        os.link(target, aside)  # so that there is a ledger at every moment
    except OSError:
        target.rename(aside)
    return aside


def _give_owner_of(target: Path, partial: Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):  # only root can give a file to another user
        found = target.stat()
        os.chown(partial, found.st_uid, found.st_gid)


def _mode_of(target: Path) -> int:
    if target.exists():
        return target.stat().st_mode & 0o777
    return files.mode(target.parent, *files.FILE) if target.parent.is_dir() else PRIVATE
