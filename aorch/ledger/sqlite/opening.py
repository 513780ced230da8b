"""Opens a ledger's SQLite file: checks its revision, upgrades it under the write lock, reads it without write permission.

Imports only the standard library; Alembic is imported if the file is of an older revision.
"""

import sqlite3
from pathlib import Path

from aorch.errors import LedgerError, LedgerReadOnly
from aorch.ledger import newer_revision
from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import (
    Connection,
    as_ledger_error,
    connection_to,
    is_damage,
    ledger_gone,
    not_writable,
    revision,
    translated,
)
from aorch.ledger.sqlite.statements import REVISION

MOST_OPENINGS = 100
"""How often a file is opened that is replaced meanwhile. Some network file systems give a file another number each time."""


def connect(path: Path) -> Connection:
    """A connection for writing to the ledger at `path`, which is created or upgraded if necessary.

    It is in autocommit mode; `transaction` starts a transaction. Raises LedgerError.
    """
    if not files.may_write(path):
        try:
            files.make_ledger(path)
        except OSError as error:
            raise not_writable(path) from error
        if not files.may_write(path):  # SQLite would open it for reading, and create files of this user next to it
            raise not_writable(path)
    try:
        return _open(path, for_writing=True)
    except sqlite3.Error as error:
        raise as_ledger_error(path, error) from error


def connect_reading(path: Path) -> Connection:
    """A connection for reading the ledger at `path`, which must exist and is upgraded if necessary. Raises LedgerError."""
    with translated(path):
        if files.may_write(path):
            try:
                return _open(path)
            except (LedgerReadOnly, sqlite3.OperationalError) as error:
                if not _lacks_permission(error):
                    raise
        return _open_read_only(path)


def open_without_upgrade(path: Path, *, may_wait: bool = True) -> Connection:
    """A connection for reading the ledger at `path` without upgrading it. Raises sqlite3.Error and LedgerReadOnly."""
    connection = _opened(path, "mode=rw", may_wait=may_wait) if files.may_write(path) else _connection_read_only(path)
    connection.may_wait = lambda: may_wait
    return connection


def is_outdated(connection: Connection, path: Path) -> bool:
    """Whether a process has written to the file that `connection` opened as immutable. If so, reopen it."""
    return connection.read_at is not None and connection.read_at != files.state(path)


def _opened(path: Path, query: str, *, may_wait: bool = True) -> Connection:
    """A connection to the file that is at `path` once it is locked: from then on, no restore replaces it.

    A restore may replace it between the opening and the first statement, which then reads the replaced file with the
    write-ahead log of the new one (https://www.sqlite.org/howtocorrupt.html, "Unlinking or renaming a database file while in
    use"). So what this statement finds or raises counts only if the file is still the same. A damaged file is opened: the next
    statement tells what is damaged. Raises LedgerGone if there is another file each time.
    """
    for _ in range(MOST_OPENINGS):
        connection = connection_to(path, query)
        connection.may_wait = lambda: may_wait
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException as error:
            if not isinstance(error, sqlite3.DatabaseError) or not (is_damage(error) or connection.was_replaced()):
                connection.close()
                raise
        if not connection.was_replaced():
            return connection
        connection.close()
    raise ledger_gone(path)


def _open(path: Path, *, for_writing: bool = False) -> Connection:
    connection = _opened(path, "mode=rw")
    try:
        found = revision(connection)
        if found != REVISION:
            _upgrade(connection, found)
        if for_writing and connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            _to_write_ahead_log(connection)
    except BaseException:
        connection.close()
        raise
    connection.known_revision = REVISION
    return connection


def _lacks_permission(error: Exception) -> bool:
    """Whether reading alone may still succeed: it cannot if another process locks the file, or if the file is damaged."""
    name = getattr(error, "sqlite_errorname", "SQLITE_READONLY")
    return name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"))


def _open_read_only(path: Path) -> Connection:
    connection = _connection_read_only(path)
    try:
        if revision(connection) != REVISION:
            raise LedgerReadOnly(
                f"the ledger {path} has an older schema and is read-only", "Make it writable, or copy it."
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _connection_read_only(path: Path) -> Connection:
    """A connection that creates no file next to the ledger: `-wal` and `-shm` would belong to this user and lock its owner
    out.

    If these are empty, the file alone is the ledger, and is opened as `immutable`. Raises LedgerReadOnly if they are not
    empty and cannot be read, because the newest contracts would be missing.
    """
    logs = [log for log in (files.beside(path, "wal"), files.beside(path, "journal")) if files.holds_something(log)]
    if not logs:
        state = files.state(path)
        connection = connection_to(path, "mode=ro&immutable=1")
        connection.read_at = state
        return connection
    try:
        return _opened(path, "mode=ro&readonly_shm=1")
    except sqlite3.OperationalError as error:
        if not _lacks_permission(error):
            raise
        raise LedgerReadOnly(
            f"the newest contracts of the ledger {path} are in {logs[0].name}, which cannot be read "
            "without writing to the directory",
            f"Copy {path.name} and {logs[0].name} together to a directory that you can write to, and name the copy.",
        ) from error


def _upgrade(connection: Connection, found: str | None) -> None:
    if found is not None:
        newer_revision.refuse(connection.path, found, REVISION)
    _to_write_ahead_log(connection)
    if found is None and _create(connection):
        return
    from aorch.ledger.sqlite.migrate import upgrade  # noqa: PLC0415  Alembic and SQLAlchemy take 400 ms

    upgrade(connection)


def _create(connection: Connection) -> bool:
    """Create the ledger if the file is still empty: another process may have been first. Returns whether it is up to date."""
    from aorch.ledger.sqlite.new_ledger import STATEMENTS  # noqa: PLC0415  only for a new file

    with connection.transaction():
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            for statement in STATEMENTS:
                connection.execute(statement)
        return revision(connection) == REVISION


def _to_write_ahead_log(connection: Connection) -> None:
    """Switch to WAL, which the file remembers; a copy that SQLite made (VACUUM INTO, .dump) is not in WAL mode."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(
            "the file system of the ledger does not support a write-ahead log", "Put the ledger on a local disk."
        )
