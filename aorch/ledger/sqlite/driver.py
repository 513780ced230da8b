"""The ledger's SQLite database: one file, opened for reading and for writing when first needed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from aorch.errors import LedgerError
from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import Connection, translated
from aorch.ledger.sqlite.opening import connect, connect_reading, is_outdated, open_without_upgrade

CLOSED = ("the ledger is closed", "Open it again to read or write.")
FORKED = (
    "the ledger was opened before this process was forked",
    "Create a new Orchestrator in the child process.",
)


class Database:
    """The database of the ledger at `path`; open inside a `with` block or until `close`.

    Any thread may use it. One thread at a time reads, and one writes: each waits for the end of the other's block. Every
    method raises SQLite's errors as LedgerError.
    """

    notifies = False
    """Whether `wake` calls back after commits now. SQLite never does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        self._refusal: tuple[str, str] | None = None
        self._commits: tuple[Connection, int] | None = None
        self._version = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exists(self) -> bool:
        """Whether the file exists. Raises LedgerError if that cannot be determined."""
        return files.exists(self.path)

    def is_stored_in(self, file: Path) -> bool:
        """Whether `file` is the ledger itself. Raises OSError."""
        return files.is_same(self.path, file)

    def can_be_created(self) -> bool:
        """Whether the permissions allow this user to create the file and its directories."""
        return files.can_be_created(self.path)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, for this thread alone inside the block. The file must exist; it is upgraded if necessary."""
        with self._reading, translated(self.path):
            yield self._opened_reader()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection inside a write transaction: committed at the end of the block, rolled back if it raises.

        The file is created or upgraded if necessary.
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
        """A connection for reading the file as it is: it is not upgraded, and nothing is written.

        Unless it `may_wait`, LedgerBusy is raised at once if another process locks the file.
        """
        with translated(self.path), closing(open_without_upgrade(self.path, may_wait=may_wait)) as connection:
            yield connection

    def open_for_writing(self) -> None:
        """Open the file now rather than for the first `write`."""
        with self._writing:
            self._opened_writer()

    def open_for_reading(self) -> None:
        """Open the file now rather than for the first `read`."""
        with self.read():
            pass

    def version(self) -> int:
        """A number that increases with each commit to the ledger, by this process or another; 0 if there is no file.

        Raises LedgerGone if the file that is open was removed or replaced: it would never change again.
        """
        if self._reader is None and not self.exists():
            return 0
        with self.read() as connection:
            connection.check_file()
            (number,) = connection.execute("PRAGMA data_version").fetchone()
            if (connection, number) != self._commits:
                self._commits = connection, number
                self._version += 1
        return self._version

    def wake(self, call: Callable[[], object]) -> None:
        """Call `call` in any thread after commits of any process, if the database notifies. SQLite does not."""

    def close(self) -> None:
        """Close the file. A thread that waits for another process's lock stops waiting, with LedgerBusy."""
        if self._refusal is None:
            self._refusal = CLOSED
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.may_wait = lambda: False
            with self._reading, self._writing:
                for connection in (self._reader, self._writer):
                    if connection is not None:
                        connection.close()

    def forget(self) -> None:
        """In a forked child: every method raises LedgerError from now on, and `close` leaves the parent's file alone."""
        self._refusal = FORKED
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def _opened_reader(self) -> Connection:
        connection = self._reader
        if self._refusal is not None:
            raise LedgerError(*self._refusal)
        if connection is not None and is_outdated(connection, self.path):
            connection.close()
            connection = None
        if connection is None:
            connection = self._reader = connect_reading(self.path)
            connection.execute("PRAGMA query_only = ON")
        return connection

    def _opened_writer(self) -> Connection:
        if self._refusal is not None:
            raise LedgerError(*self._refusal)
        if self._writer is None:
            self._writer = connect(self.path)
        return self._writer
