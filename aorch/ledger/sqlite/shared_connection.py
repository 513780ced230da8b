"""A connection to a ledger that threads share."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from aorch.ledger.sqlite.driver import Connection, translated


class Shared:
    """`connection` to the ledger at `path`, for any thread, one at a time; open inside a `with` block, or until `close`."""

    def __init__(self, path: Path, connection: Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. A thread that waits for another process's lock stops waiting (LedgerBusy)."""
        self._connection.may_wait = lambda: False
        with self._lock:
            self._connection.close()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. SQLite's errors come out as LedgerError."""
        with self._lock, translated(self._path):
            yield self._connection
