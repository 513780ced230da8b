"""The interface of the ledger to its database. A ledger is in an SQLite file or in a PostgreSQL database, as its location says.

Only this module, search.py, upkeep.py and user_query.py import the package of a database: `ledger/sqlite/`, or, if a location is
a PostgreSQL URL, `ledger/postgres/`. What is here works on both. `statements` has the SQL of SQLite, by which all other modules
name a statement; the connection of another database executes its own text for it.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self, cast

from aorch.config.ledger_location import LedgerLocation, PostgresUrl
from aorch.errors import LedgerError
from aorch.ledger.server_errors import RowRejected, ServerError
from aorch.ledger.sqlite import interface as sqlite
from aorch.ledger.sqlite import statements
from aorch.ledger.sqlite.driver import CLOSED, FORKED
from aorch.ledger.sqlite.rewriting import empty_log
from aorch.ledger.upkeep_reports import RewriteEstimate

__all__ = ["CLOSED", "FORKED", "RewriteEstimate", "empty_log", "statements"]

ALL_ROWS = 2**63 - 1
"""The value of a LIMIT that selects all rows, in every database."""
DatabaseError: tuple[type[Exception], ...] = (sqlite.DatabaseError, ServerError)
"""Any error of the database, for `except`."""
ConstraintError: tuple[type[Exception], ...] = (sqlite.ConstraintError, RowRejected)
"""The database rejects a row because a value that must be unique exists already; for `except`."""


def module_for(location: LedgerLocation, name: str) -> Any:
    """The module `name` of the package for the database at `location`. Both packages have modules of the same names."""
    package = "postgres" if isinstance(location, PostgresUrl) else "sqlite"
    return import_module(f"aorch.ledger.{package}.{name}")


def package_of(location: LedgerLocation) -> Any:
    """What the package for the database at `location` offers: its functions and classes with the names of those below."""
    return module_for(location, "interface") if isinstance(location, PostgresUrl) else sqlite


class RowStream(Protocol):
    """The rows of a statement, one after another, as tuples of text, int, float and None."""

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None:
        """Drop the rows that are left."""
        ...


class Rows(RowStream, Protocol):
    """The rows of a statement."""

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...


class Connection(Protocol):
    """A connection in autocommit mode. Raises DatabaseError."""

    @property
    def location(self) -> LedgerLocation:
        """The location of the ledger."""
        ...

    may_wait: Callable[[], bool]
    """Whether it may still wait for the lock of another process."""

    def check_file(self) -> None:
        """Raise LedgerGone if there is another ledger now than when this was opened: writes would be lost."""
        ...

    def execute(self, sql: str, values: Any = ..., /) -> Rows:
        """Execute a statement of `statements`, or one composed from its pieces, with the values of its parameters in order."""
        ...

    def executemany(self, sql: str, rows: Any, /) -> object:
        """Execute a statement with the values of each row."""
        ...

    def insert(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Execute an INSERT of one row (`VALUES (…)`) for all `rows`, with as few statements as possible."""
        ...

    def stream(self, sql: str, values: Any = ..., /) -> "RowStream":
        """Like `execute`, for rows that need not fit into memory together. Close it before the connection is used again."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """Begin a write transaction, for a `with` block: committed at its end, rolled back if it raises."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """A part of a transaction: if the block raises, its writes are rolled back, and the transaction continues."""
        ...

    def transact(self, work: Callable[[], None], /, *, only_writes: bool = False) -> None:
        """Call `work` in a write transaction. It is called again if the transaction was certainly not committed.

        `only_writes`: it uses no result of its statements, so they can be sent together.
        """
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun and not ended."""
        ...

    def commit_without_sync(self) -> None:
        """Let later commits not wait for the disk: a power failure may undo them, but no earlier commit."""
        ...

    def overwrite_deleted(self) -> None:
        """Overwrite the bytes of rows that are deleted or changed from now on, if the database can."""
        ...

    def close(self) -> None:
        """Close the connection, which rolls an open transaction back."""
        ...


class Database:
    """The database of a ledger; open inside a `with` block or until `close`.

    Any thread may use it. One thread at a time reads, and one writes: each waits for the end of the other's block. Every
    method raises LedgerError. A new object is one of the location's own class, as a new pathlib.Path is a PosixPath.
    """

    path: LedgerLocation

    def __new__(cls, location: LedgerLocation) -> "Database":
        """The database of the ledger at that location."""
        return cast("Database", package_of(location).Database(location))

    def __enter__(self) -> Self: ...  # type: ignore[empty-body]  # as all below: the package's own class has the methods

    def __exit__(self, *_: object) -> None: ...

    def exists(self) -> bool:  # type: ignore[empty-body]
        """Whether there is a ledger. Raises LedgerError if that cannot be determined."""

    def is_stored_in(self, file: Path) -> bool:  # type: ignore[empty-body]
        """Whether `file` is the ledger itself. Raises OSError."""

    def can_be_created(self) -> bool:  # type: ignore[empty-body]
        """Whether the permissions allow this user to create the ledger."""

    def read(self) -> AbstractContextManager[Connection]:  # type: ignore[empty-body]
        """A connection for reading, for this thread alone inside the block. The ledger must exist; it is upgraded if needed."""

    def write(self) -> AbstractContextManager[Connection]:  # type: ignore[empty-body]
        """A connection inside a write transaction: committed at the end of the block, rolled back if it raises.

        The ledger is created or upgraded if necessary.
        """

    def transactions(self) -> AbstractContextManager[Connection]:  # type: ignore[empty-body]
        """A connection of the caller's own for several transactions (`transaction`), closed at the end of the block."""

    def peek(self, *, may_wait: bool = True) -> AbstractContextManager[Connection]:  # type: ignore[empty-body]
        """A connection for reading the ledger as it is: it is not upgraded, and nothing is written.

        Unless it `may_wait`, LedgerBusy is raised at once if another process locks the ledger.
        """

    def open_for_writing(self) -> None:
        """Open the ledger now rather than for the first `write`."""

    def open_for_reading(self) -> None:
        """Open the ledger now rather than for the first `read`."""

    def version(self) -> int:  # type: ignore[empty-body]
        """A number that increases with each commit to the ledger, by this process or another; 0 if there is no ledger."""

    @property
    def notifies(self) -> bool:  # type: ignore[empty-body]
        """Whether `wake` calls back after commits now."""

    def wake(self, call: Callable[[], object]) -> None:
        """Call `call` in any thread after commits of any process, if the database notifies."""

    def close(self) -> None:
        """Close the ledger. A thread that waits for another process's lock stops waiting, with LedgerBusy."""

    def forget(self) -> None:
        """In a forked child: every method raises LedgerError from now on, and `close` leaves the parent's ledger alone."""


def connect(location: LedgerLocation) -> Connection:
    """A connection for writing to the ledger, which is created or upgraded if necessary. Raises LedgerError."""
    return cast("Connection", package_of(location).connect(location))


def transaction(connection: Connection) -> AbstractContextManager[Any]:
    """A write transaction of `connection`, for a `with` block: committed at its end, rolled back if it raises."""
    return connection.transaction()


def savepoint(connection: Connection) -> AbstractContextManager[None]:
    """A part of a transaction of `connection`: if the block raises, its writes are rolled back, and the transaction continues."""
    return connection.savepoint()


# Errors


def translated(location: LedgerLocation) -> AbstractContextManager[None]:
    """Raise DatabaseError as LedgerError with the location, the reason and the next step."""
    return cast("AbstractContextManager[None]", package_of(location).translated(location))


def as_ledger_error(location: LedgerLocation, error: Exception) -> LedgerError:
    """The LedgerError for a DatabaseError."""
    return cast("LedgerError", package_of(location).as_ledger_error(location, error))


def is_of_the_file(error: Exception) -> bool:
    """Whether `error` is about the ledger (locked, full, gone, damaged), not about the row to be written."""
    return error.is_of_the_server if isinstance(error, ServerError) else sqlite.is_of_the_file(error)


def is_taken_key(error: Exception) -> bool:
    """Whether the primary key of a row that raised ConstraintError exists already."""
    return error.is_taken_key if isinstance(error, RowRejected) else sqlite.is_taken_key(error)


# Locks


class ProcessLock:
    """Shows that this process, under its `owner_id`, is alive, until `close`. Raises LedgerError."""

    owner_id: str
    others: list[str]
    """Other owners, alive or dead, that had not closed their lock when this one was taken; none if they cannot be read."""
    is_copied: bool
    """Whether a process copies the ledger that may not have seen this lock."""
    is_undisputed: bool
    """Whether no other process can have taken this one for dead: it never lost its lock, or took it again in time."""
    losses: int
    """How often it was perhaps judged dead before it took its lock again."""

    def __new__(cls, location: LedgerLocation) -> "ProcessLock":
        """The lock for the ledger at that location."""
        return cast("ProcessLock", package_of(location).ProcessLock(location))

    def check(self) -> None:
        """Raise LedgerError if other processes cannot see now that this one is alive."""

    def close(self) -> None:
        """Release the lock: no exchange of this owner is open any more. In a forked child, do nothing."""


class LockedState:
    """A state of up to 4,000 bytes, which any process can read and only the holder of its lock writes; the lock is held until
    `close`. Raises BlockingIOError if another process holds the lock, and LedgerError.
    """

    def __new__(cls, location: LedgerLocation, name: str) -> "LockedState":
        """The state `name` of the ledger at that location."""
        return cast("LockedState", package_of(location).LockedState(location, name))

    @classmethod
    def peek(cls, location: LedgerLocation, name: str) -> tuple[bytes, bool]:
        """The bytes that were written last (b"": none can be read), and whether a process holds the lock."""
        return cast("tuple[bytes, bool]", package_of(location).LockedState.peek(location, name))

    @property
    def run_id(self) -> str:  # type: ignore[empty-body]
        """An ID that changes when the last states may have been lost: with a restart of the machine or of the server."""

    def read(self) -> bytes:  # type: ignore[empty-body]
        """The bytes that the last holder wrote."""

    def write(self, state: bytes) -> None:
        """Replace the stored bytes with `state`, which must not end in a space. Raises LedgerError."""

    def close(self) -> None:
        """Release the lock."""


class AgentLimits:
    """The slots and the rate of the agent `agent_id` on a ledger, for all its processes. Any thread may use it.

    `slots` is None if the agent runs any number of tasks, and `rate_per_min` if it is called any number of times.
    """

    def __new__(
        cls, location: LedgerLocation, agent_id: str, slots: int | None, rate_per_min: float | None
    ) -> "AgentLimits":
        """The limits of that agent on the ledger at that location."""
        return cast("AgentLimits", package_of(location).AgentLimits(location, agent_id, slots, rate_per_min))

    def take(self) -> float:  # type: ignore[empty-body]
        """Take a slot and the permission to call the agent now. Returns 0.0; if none is free, the seconds until the next attempt
        (math.inf: after `release`). Raises LedgerError.
        """

    def release(self) -> None:
        """Free a slot that this object holds."""

    def look(self) -> tuple[int, float]:  # type: ignore[empty-body]
        """The number of tasks that could start now; if it is 0, also the seconds until the next look. Takes nothing."""


def exclusive(location: LedgerLocation, work: str) -> AbstractContextManager[bool]:
    """Run the block with True if no other process does `work` on that ledger; none can start it meanwhile.

    Raises LedgerError.
    """
    return cast("AbstractContextManager[bool]", package_of(location).exclusive(location, work))


def check_exclusive(location: LedgerLocation, work: str) -> None:
    """Raise LedgerError if the lock of `exclusive`, in whose block the caller is, was lost."""
    package_of(location).check_exclusive(location, work)


def is_running(location: LedgerLocation, work: str) -> bool:
    """Whether a process does `work` on that ledger under `exclusive`, checked without taking its lock."""
    return bool(package_of(location).is_running(location, work))


def dead_owner(location: LedgerLocation, owner_id: str) -> AbstractContextManager[bool]:
    """Whether that owner's process has ended. While the block runs, no other process gets True."""
    return cast("AbstractContextManager[bool]", package_of(location).dead_owner(location, owner_id))


def is_alive(location: LedgerLocation, owner_id: str) -> bool:
    """Whether that owner's process runs, checked without taking a lock."""
    return bool(package_of(location).is_alive(location, owner_id))


def dead_owners(location: LedgerLocation, owner_ids: Collection[str]) -> list[str]:
    """Those of `owner_ids` whose processes have ended, checked without taking a lock. Raises LedgerError."""
    return cast("list[str]", package_of(location).dead_owners(location, owner_ids))


def owner_ids(location: LedgerLocation) -> list[str]:
    """The ids of all owners, alive or dead, that have not closed their lock; none if they cannot be read."""
    return cast("list[str]", package_of(location).owner_ids(location))


# Removing old bytes


def rewrite(location: LedgerLocation, **options: Any) -> bool:
    """Remove the bytes of deleted rows from the ledger's files. Returns False if some may remain. Raises LedgerError."""
    return bool(package_of(location).rewrite(location, **options))


def estimate_rewrite(location: LedgerLocation) -> RewriteEstimate:
    """What `rewrite` would need now. Raises LedgerError."""
    return cast("RewriteEstimate", package_of(location).estimate_rewrite(location))


def check_rewrite_space(location: LedgerLocation) -> None:
    """Raise LedgerFull if the disk has not enough space for `rewrite`; and LedgerError."""
    package_of(location).check_rewrite_space(location)
