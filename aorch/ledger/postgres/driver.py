"""The ledger's PostgreSQL database: connections for reading and for writing, opened when first needed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerError
from aorch.ledger.postgres.commit_feed import SNAPSHOT, CommitFeed
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.failures import translated
from aorch.ledger.postgres.notifications import is_closed
from aorch.ledger.postgres.opening import connect, connect_peeking, connect_reading

CLOSED = ("the ledger is closed", "Open it again to read or write.")
FORKED = (
    "the ledger was opened before this process was forked",
    "Create a new Orchestrator in the child process.",
)
_EXISTS = "SELECT to_regclass('contracts') IS NOT NULL"
_MAY_CREATE = "SELECT has_schema_privilege(current_schema(), 'CREATE')"


class Database:
    """The database of the ledger at `path`; open inside a `with` block or until `close`.

    Any thread may use it. One thread at a time reads, and one writes: each waits for the end of the other's block. Every
    method raises the server's errors as LedgerError. A connection that broke is replaced by a new one in the next block.
    """

    def __init__(self, path: PostgresUrl) -> None:
        self.path = path
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        self._refusal: tuple[str, str] | None = None
        self._exists = False
        self._feed = CommitFeed(path, self._snapshot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exists(self) -> bool:
        """Whether the database has a ledger. Raises LedgerError if that cannot be determined."""
        if not self._exists:
            with self._one_query(_EXISTS) as found:
                self._exists = bool(found)
        return self._exists

    def is_stored_in(self, file: Path) -> bool:
        """False: no file is the ledger."""
        return False

    def can_be_created(self) -> bool:
        """Whether this user may create tables in the database."""
        try:
            with self._one_query(_MAY_CREATE) as found:
                return bool(found)
        except LedgerError:
            return False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, for this thread alone inside the block. The ledger must exist; it is upgraded if needed."""
        with self._reading, translated(self.path):
            yield self._opened_reader()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection inside a write transaction: committed at the end of the block, rolled back if it raises.

        The ledger is created or upgraded if necessary.
        """
        with self._writing, translated(self.path):
            connection = self._opened_writer()
            with connection.transaction():
                yield connection

    @contextmanager
    def transactions(self) -> Iterator[Connection]:
        """A connection of the caller's own for several transactions (`transaction`), closed at the end of the block."""
        with closing(connect(self.path)) as connection, translated(self.path):
            yield connection

    @contextmanager
    def peek(self, *, may_wait: bool = True) -> Iterator[Connection]:
        """A connection for reading the ledger as it is: it is not upgraded, and nothing is written. A reader never waits."""
        with translated(self.path), closing(connect_peeking(self.path)) as connection:
            yield connection

    def open_for_writing(self) -> None:
        """Connect now rather than for the first `write`."""
        with self._writing:
            self._opened_writer()

    def open_for_reading(self) -> None:
        """Connect now rather than for the first `read`."""
        with self.read():
            pass

    def version(self) -> int:
        """A number that increases with each commit to the ledger, by this process or another, and sometimes without one; 0 if
        there is no ledger.
        """
        return self._feed.version() if self.exists() else 0

    @property
    def notifies(self) -> bool:
        """Whether `wake` calls back after commits now."""
        return self._feed.notifies

    def wake(self, call: Callable[[], object]) -> None:
        """Call `call` in any thread after commits of any process."""
        self._feed.wake(call)

    def close(self) -> None:
        """Close the connections. A thread that waits for another process's lock stops waiting, with LedgerBusy."""
        if self._refusal is None:
            self._refusal = CLOSED
            self._feed.close()
            if self._writer is not None:
                self._writer.may_wait = lambda: False
            with self._reading, self._writing:
                for connection in (self._reader, self._writer):
                    if connection is not None:
                        connection.close()

    def forget(self) -> None:
        """In a forked child: every method raises LedgerError from now on, and `close` leaves the parent's connections alone."""
        self._refusal = FORKED
        self._feed.forget()
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def _snapshot(self) -> str:
        with self.read() as connection:
            return str(connection.one(SNAPSHOT)[0])

    def _opened_reader(self) -> Connection:
        self._reader = self._opened(self._reader, connect_reading)
        return self._reader

    def _opened_writer(self) -> Connection:
        self._writer = self._opened(self._writer, connect)
        return self._writer

    def _opened(self, connection: Connection | None, opened: Callable[[PostgresUrl], Connection]) -> Connection:
        if self._refusal is not None:
            raise LedgerError(*self._refusal)
        if connection is None or is_closed(connection):
            connection = opened(self.path)
            self._exists = True
        return connection

    @contextmanager
    def _one_query(self, sql: str) -> Iterator[int]:
        """The only value that `sql` selects, read through a connection that is open or through one of its own."""
        with translated(self.path):
            with self._reading:
                reader = self._reader
                if reader is not None and not is_closed(reader):
                    yield reader.one(sql)[0]
                    return
            with closing(connection_to(self.path, read_write=False)) as connection:
                yield connection.one(sql)[0]
