"""A connection to a ledger's SQLite file: waits for locks, transactions, the revision of the file, and SQLite's errors
translated.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aorch.errors import LedgerBusy, LedgerError, LedgerFull, LedgerGone, LedgerInvalid, LedgerReadOnly
from aorch.ledger import copy_mark, newer_revision
from aorch.ledger.row_batches import in_batches

CHOOSE_ANOTHER = "Choose another file with --ledger or AORCH_LEDGER."
DAMAGED = "`aorch ledger check` shows the damage; `aorch ledger restore FILE` puts a backup in its place."
BUSY_TIMEOUT_S = 30.0
"""How long a statement waits for another process's lock before it raises LedgerBusy."""
SLICE_S = 0.1
"""How long SQLite itself waits at a time: Python runs signal handlers only between two of these waits."""
PAUSE_S = 0.005
"""The pause between two of these waits: for some statements SQLite does not wait at all."""


class Connection(sqlite3.Connection):
    """A connection that waits for a lock in slices of SLICE_S, BUSY_TIMEOUT_S in all, so that Ctrl-C ends the wait.

    It stops waiting once `may_wait` returns false.
    """

    path: Path
    identity: tuple[int, int] | None
    """Device and inode of the file; None: there was none when this was opened."""
    may_wait: Callable[[], bool] = staticmethod(lambda: True)
    read_at: object = None
    """The state of the file (`files.state`) when it was opened as one that no process writes; otherwise None."""
    known_revision: str | None = None
    """The newest revision that this aorch knows, once the ledger has it."""

    def cursor(self, factory: Any = None) -> Any:
        """A Cursor."""
        return super().cursor(factory or Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Like sqlite3's method. A statement inside a transaction is not repeated."""
        execute = sqlite3.Cursor(self).execute
        try:
            return execute(sql, parameters)
        except sqlite3.OperationalError as error:
            return self.execute_again(error, execute, sql, parameters)

    def execute_again(
        self, error: sqlite3.OperationalError, execute: Callable[[str, Any], sqlite3.Cursor], sql: str, parameters: Any
    ) -> sqlite3.Cursor:
        """Repeat a statement that raised `error` until it gets the lock. Raises `error` if it has another cause."""
        give_up_at = time.monotonic() + BUSY_TIMEOUT_S
        while _is_busy(error) and not self.in_transaction and self.may_wait() and time.monotonic() < give_up_at:
            time.sleep(PAUSE_S)
            try:
                return execute(sql, parameters)
            except sqlite3.OperationalError as again:
                error = again
        raise error

    stream = execute

    def check_file(self) -> None:
        """Raise LedgerGone if the file was removed or replaced since it was opened: writes to it would be lost."""
        if (found := _identity(self.path)) is None or found != self.identity:
            raise ledger_gone(self.path)

    def was_replaced(self) -> bool:
        """Whether another file is at `path` now than when this was opened."""
        return _identity(self.path) not in (None, self.identity)

    @property
    def location(self) -> Path:
        """The location of the ledger."""
        return self.path

    def insert(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Execute an INSERT of one row for all `rows`, with as few statements as possible."""
        for statement, values in in_batches(sql, rows):
            self.execute(statement, values)

    def transaction(self) -> "Connection":
        """Begin a write transaction, for a `with` block: committed at its end, rolled back if it raises.

        It takes the write lock first (BEGIN IMMEDIATE): a transaction that begins by reading cannot wait for the lock later.
        Raises LedgerTooNew if a newer aorch has upgraded the ledger since it was opened.
        """
        execute = sqlite3.Cursor(self).execute  # as `execute` does
        try:
            execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            self.execute_again(error, execute, "BEGIN IMMEDIATE", ())
        if self.known_revision is not None:
            try:
                found = execute(_NEWEST_REVISION).fetchone()[0]
                if found != self.known_revision:
                    newer_revision.refuse(self.path, found, self.known_revision)
            except BaseException:
                self.rollback()
                raise
        return self  # its own `with` commits or rolls back, unless SQLite has rolled back, as if the disk is full

    def savepoint(self) -> "savepoint":
        """A part of a transaction: if the block raises, its writes are rolled back, and the transaction continues."""
        return savepoint(self)

    def transact(self, work: Callable[[], None], /, *, only_writes: bool = False) -> None:
        """Call `work` in a write transaction."""
        with self.transaction():
            work()

    def commit_without_sync(self) -> None:
        """Let later commits not wait for the disk: a power failure may undo them, but no earlier commit."""
        self.execute("PRAGMA synchronous = NORMAL")

    def overwrite_deleted(self) -> None:
        """Overwrite the bytes of rows that are deleted or changed from now on. Copies in unused space of other pages remain
        until a rewrite.
        """
        self.execute("PRAGMA secure_delete = ON")


class Cursor(sqlite3.Cursor):
    """A cursor for SQLAlchemy that waits for locks like its Connection."""

    def execute(self, sql: str, parameters: Any = (), /) -> "Cursor":
        """Like sqlite3's method. A statement inside a transaction is not repeated."""
        try:
            super().execute(sql, parameters)
        except sqlite3.OperationalError as error:
            assert isinstance(self.connection, Connection)
            self.connection.execute_again(error, super().execute, sql, parameters)
        return self


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def connection_to(path: Path, query: str) -> Connection:
    """A connection in autocommit mode that any thread may use. `query` is the query of SQLite's file URI (`mode=ro`)."""
    identity = _identity(path)  # before it is opened, so that a file that is put in its place then is noticed
    connection = sqlite3.connect(
        f"{path.as_uri()}?{query}",
        uri=True,
        timeout=SLICE_S,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
    )
    connection.path, connection.identity = path, identity
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at `path`; None if there is none: SQLite has a better error for that."""
    try:
        found = os.stat(path)  # noqa: PTH116  each transaction does it, and Path.stat takes three times as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


_REVISION = (
    "SELECT version_num FROM alembic_version WHERE EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'contracts')"
)


_NEWEST_REVISION = "SELECT max(version_num) FROM alembic_version"


def revision(connection: Connection) -> str | None:
    """The revision of the ledger that is open; None for an empty file. Raises LedgerInvalid for another program's database, and
    IncompleteCopy.
    """
    try:
        found: tuple[str] | None = connection.execute(_REVISION).fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # not: there is no such table
            raise
        found = None
    if found is not None:
        if found[0].startswith(copy_mark.MARK):
            raise copy_mark.IncompleteCopy(connection.path)
        return found[0]
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" in tables and "contracts" in tables:
        return None
    if tables:
        raise _not_a_ledger(connection.path, "it is another program's database")
    return None


class savepoint:
    """A part of a transaction: if the block raises, its writes are rolled back, and the transaction continues."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("SAVEPOINT part")

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if (
            self._connection.in_transaction
        ):  # SQLite has rolled back everything by itself, for example if the disk is full
            if kind is not None:
                self._connection.execute("ROLLBACK TO part")
            self._connection.execute("RELEASE part")


def is_taken_key(error: Exception) -> bool:
    """Whether the primary key of the row exists already."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_PRIMARYKEY"


DatabaseError = sqlite3.Error
"""Any error of the database."""
ConstraintError = sqlite3.IntegrityError
"""The database rejects a row because a value that must be unique exists already."""
_OF_THE_FILE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM),
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
}


def is_of_the_file(error: Exception) -> bool:
    """Whether `error` is about the ledger's file (locked, full, gone, damaged), not about the row to be written."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_FILE


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite found that the file is damaged or no database."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as LedgerError with the file's name, the reason and the next step."""
    try:
        yield
    except sqlite3.Error as error:
        raise as_ledger_error(path, error) from error


def as_ledger_error(path: Path, error: sqlite3.Error) -> LedgerError:
    """The LedgerError for `error`."""
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        return not_writable(path)
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LedgerBusy(f"the ledger {path} is locked by another process", "Try again when it has finished.")
    if name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):  # IOERR_SHMSIZE: no room for the index of the write-ahead log
        return LedgerFull(f"the disk of the ledger {path} is full", "Make room, then try again.")
    if name == "SQLITE_READONLY_DBMOVED":  # SQLite itself noticed, before a transaction
        return ledger_gone(path)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return not_writable(path)
    if name.startswith("SQLITE_CORRUPT"):
        return LedgerInvalid(f"the ledger {path} is damaged: {error}", DAMAGED)
    if name.startswith("SQLITE_NOTADB"):
        return _not_a_ledger(path, error, f"{CHOOSE_ANOTHER} If it was a ledger, {DAMAGED}")
    return LedgerError(f"the ledger {path} failed: {error} ({name or type(error).__name__})")


@contextmanager
def translated_os() -> Iterator[None]:
    """Translate an OSError of a file next to the ledger to LedgerError.

    A BlockingIOError, which a lock raises, is not changed.
    """
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise cannot_write(error) from error


def cannot_write(error: OSError) -> LedgerError:
    """The LedgerError for the `error` of a file next to the ledger."""
    full, forbidden = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)
    kind = LedgerFull if error.errno in full else LedgerReadOnly if error.errno in forbidden else LedgerError
    hint = ""
    if kind is LedgerReadOnly and isinstance(error.filename, (str, Path)):
        hint = f"Let this user write in {Path(error.filename).parent}, or choose another file."
    return kind(f"cannot write {error.filename}: {error.strerror}", hint)


def not_writable(path: Path) -> LedgerReadOnly:
    """The error of a ledger that cannot be opened for writing."""
    try:
        reason = "it is a directory" if path.is_dir() else "the file or its directory is read-only"
    except OSError as error:
        reason = str(error.strerror)
    return LedgerReadOnly(f"cannot open the ledger {path} for writing: {reason}", CHOOSE_ANOTHER)


def ledger_gone(path: Path) -> LedgerGone:
    """The error of a process that has another file open than the one at `path`."""
    return LedgerGone(
        f"the ledger {path} was removed, or another file was put in its place",
        "Put the file back, or restart this process.",
    )


def _not_a_ledger(path: Path, reason: object, hint: str = CHOOSE_ANOTHER) -> LedgerInvalid:
    return LedgerInvalid(f"{path} is not a ledger: {reason}", hint)
