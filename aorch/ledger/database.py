"""Opening a ledger's SQLite file: pragmas, its revision, and its migration under the lock.

Only the standard library is imported here; Alembic comes in where a file is new or behind.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aorch.errors import LedgerBusy, LedgerError, LedgerFull, LedgerInvalid, LedgerReadOnly, LedgerTooNew
from aorch.ledger.statements import REVISION

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for the write lock before LedgerBusy."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection for writing to the ledger at `path`, which is made or upgraded where that is due.

    Autocommit (`isolation_level=None`): transactions are begun by hand, with BEGIN IMMEDIATE. Raises LedgerError.
    """
    with translated(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _read_only(path) from error
        connection = _open(f"{path.as_uri()}?mode=rwc", path)
        return connection


def connect_reading(path: Path) -> sqlite3.Connection:
    """A connection for reading the ledger at `path`, which must be there; it is upgraded where that is due."""
    with translated(path):
        try:
            return _open(f"{path.as_uri()}?mode=rw", path)
        except (LedgerReadOnly, sqlite3.OperationalError):
            return _open_read_only(path)


def revision(connection: sqlite3.Connection) -> str | None:
    """The revision that the file stands at; None for an empty one. Raises LedgerInvalid for another program's."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" in tables and "contracts" in tables:
        return next((number for (number,) in connection.execute("SELECT version_num FROM alembic_version")), None)
    if tables:
        raise LedgerInvalid("it is another program's database")
    return None


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's own errors as ours, each with the file's name, the reason and the next step."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(path, error) from error
    except LedgerInvalid as error:
        raise LedgerInvalid(
            f"{path} is not a ledger: {error}", "Name another file by --ledger or AORCH_LEDGER."
        ) from error


def _open(uri: str, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        _check_revision(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        found = revision(connection)
    except sqlite3.OperationalError:  # a WAL file on a read-only disk can be read only as one that nobody writes
        connection.close()
        connection = sqlite3.connect(
            f"{path.as_uri()}?immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
        found = revision(connection)
    if found != REVISION:
        connection.close()
        raise LedgerReadOnly(f"the ledger {path} is of an older form and read-only", "Make it writable, or copy it.")
    return connection


def _check_revision(connection: sqlite3.Connection, path: Path) -> None:
    found = revision(connection)
    if found == REVISION:
        return
    if found is not None and found > REVISION:
        raise LedgerTooNew(
            f"the ledger {path} is of revision {found}, made by a newer aorch; this one knows {REVISION}",
            "Upgrade aorch, or name another ledger by --ledger.",
        )
    from aorch.ledger.migration import upgrade  # noqa: PLC0415  Alembic and SQLAlchemy take 400 ms

    upgrade(path)


def _translate(path: Path, error: sqlite3.Error) -> LedgerError:
    if path.is_dir():
        return _read_only(path)
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LedgerBusy(f"the ledger {path} was locked by another process for {BUSY_TIMEOUT_S:g} s", "Try again.")
    if name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):  # the latter: no room for the index of the write-ahead log
        return LedgerFull(f"the disk of the ledger {path} is full", "Make room, then try again.")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return _read_only(path)
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return LedgerInvalid(f"{path} is not a ledger: {error}", "Name another file by --ledger or AORCH_LEDGER.")
    return LedgerError(f"the ledger {path} failed: {error} ({name or type(error).__name__})")


def _read_only(path: Path) -> LedgerReadOnly:
    reason = "is a folder" if path.is_dir() else "cannot be written (read-only, or its folder is)"
    return LedgerReadOnly(f"the ledger {path} {reason}", "Name another place by --ledger or AORCH_LEDGER.")
