"""A connection to a ledger's PostgreSQL database: made from a URL, transactions that take the write lock, and the errors of the
server and of its driver (psycopg) translated.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from select import POLLIN, poll
from typing import Any, TypeAlias

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result
from psycopg.pq import TransactionStatus

from aorch.backoff import Backoff
from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerInvalid
from aorch.ledger.postgres.adaptation import adapters
from aorch.ledger.postgres.commit_marks import Marks
from aorch.ledger.postgres.connection_attempts import attempts
from aorch.ledger.postgres.failures import LOCK_NOT_AVAILABLE, translated_error
from aorch.ledger.postgres.twins import own_text
from aorch.ledger.postgres.urls import url_parameters
from aorch.ledger.row_batches import in_batches
from aorch.ledger.server_errors import ConnectionLost, OutcomeUnknown, ServerError

OLDEST_SERVER = 14
"""The oldest major version of PostgreSQL that is supported."""
LOCK_TIMEOUT_S = 30
"""How long a statement waits for a lock of another process before it raises LedgerBusy."""
SLICE_S = 0.1
"""How often a wait for the write lock looks whether it is still wanted."""
RECONNECT_S = 60
"""How long a write waits for a server that comes back, or for another one of the cluster."""
LOOK_UP_S = 120
"""The same for a write whose COMMIT was not answered: a later look-up is better than an unknown outcome."""
_BACKOFF = Backoff(0.05, 1.0, (0.5, 1.0))
CONNECT_TIMEOUT_S = 10
"""How long the connection to one host may take."""
KEEPALIVE_S = {"idle": 10, "interval": 5, "count": 3}
"""Both sides ask a silent peer after 10 s, then every 5 s, and give it up at the third question without an answer: so the
server ends the locks of a machine that was unplugged within 30 s.
"""
WRITE_LOCK = 0x616F_7263_68  # "aorch" in ASCII
"""The advisory lock that each write transaction holds, so that `position` is the order of commits."""
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock({WRITE_LOCK})"
"""One message, so that it takes one round trip."""
Rows: TypeAlias = "psycopg.Cursor[Any]"


class Connection:
    """A connection in autocommit mode that any thread may use, one at a time.

    Every method raises ServerError or one of its subclasses. `execute` takes SQL by which the ledger names a statement (that of
    SQLite's statements.py) or PostgreSQL's own, with the values of its parameters in order. It gives rows as SQLite does: times
    as RFC 3339 text, JSON as text, truth as 1 or 0.
    """

    def __init__(self, location: PostgresUrl, raw: psycopg.Connection[Any], *, read_write: bool = True) -> None:
        self.location, self.raw, self._read_write = location, raw, read_write
        self.may_wait: Callable[[], bool] = lambda: True
        """Whether a transaction may still begin to wait for the write lock, or for a server that comes back."""
        self.committed: Callable[[], None] = lambda: None
        """Called after each commit of a write transaction."""
        self.check: Callable[[Connection], None] = lambda _: None
        """Called with this before the first write after it has connected again; its error is that of the write."""
        self._is_checked = True
        self.reconnect_s, self.look_up_s = float(RECONNECT_S), float(LOOK_UP_S)
        self.opened_ms = 0
        """When it was opened, by the server's clock (milliseconds since 1970)."""
        self._is_without_sync = False
        self._marks = Marks()

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows:
        """Execute one statement and return its rows, which all are in memory."""
        try:
            return self.raw.execute(own_text(sql), values)
        except psycopg.Error as error:
            raise translated_error(error, is_lost=self.raw.closed) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Execute one statement with the values of each row, without waiting for the answer to one before the next is sent."""
        try:
            with self.raw.cursor() as cursor:
                cursor.executemany(own_text(sql), rows)
        except psycopg.Error as error:
            raise translated_error(error, is_lost=self.raw.closed) from error

    def insert(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Execute an INSERT of one row for all `rows`, with as few statements as possible."""
        for statement, values in in_batches(own_text(sql), rows):
            self.execute(statement, values)

    def stream(self, sql: str, values: Sequence[Any] = (), /) -> Generator[Any, None, None]:
        """The rows of a statement as they arrive. Close it before the connection is used again."""
        try:
            with self.raw.cursor() as cursor:
                yield from cursor.stream(own_text(sql), values)
        except psycopg.Error as error:
            raise translated_error(error, is_lost=self.raw.closed) from error

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun and not ended, also one that failed."""
        return self.raw.pgconn.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed or broken."""
        return self.raw.closed

    def transaction(self) -> "transaction":
        """A write transaction, for a `with` block: committed at its end, rolled back if it raises."""
        return transaction(self)

    def check_file(self) -> None:
        """Do nothing: a write fails by itself if the ledger is gone."""

    def savepoint(self) -> "savepoint":
        """A part of a transaction: if the block raises, its writes are rolled back, and the transaction continues."""
        return savepoint(self)

    def begin(self) -> None:
        """Begin a write transaction: one that holds the write lock.

        Raises ServerError if it is not free within LOCK_TIMEOUT_S, or once `may_wait` returns false.
        """
        if not self.may_wait():
            raise ServerError("the wait for the write lock was ended", LOCK_NOT_AVAILABLE)
        try:
            libpq = self.raw.pgconn
            libpq.send_query(_BEGIN.encode())
            is_wanted, answers = True, poll()
            answers.register(libpq.socket, POLLIN)
            while libpq.is_busy():
                if answers.poll(SLICE_S * 1000):
                    libpq.consume_input()
                elif is_wanted and not self.may_wait():
                    is_wanted = False
                    self.raw.cancel_safe(timeout=1)
            results = list(iter(libpq.get_result, None))
            if results[-1].status == pq.ExecStatus.FATAL_ERROR:
                raise error_from_result(results[-1])
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.raw.close()
            roll_back(self)
            if isinstance(error, psycopg.Error):
                raise translated_error(error, is_lost=self.raw.closed) from error
            raise

    def transact(self, work: Callable[[], None], /, *, only_writes: bool = False) -> None:
        """Call `work` in a write transaction. If the connection breaks, connect again, and call `work` again unless the
        transaction has been committed. Raises ConnectionLost if no server takes it within `reconnect_s` after the first break,
        OutcomeUnknown if none tells within `look_up_s` whether it was committed, and what `check` raises.
        """
        mark, broken_at, is_unknown = self._marks.next(), 0.0, False
        while True:
            try:
                if is_unknown and self._has_committed(mark):
                    break
                is_unknown = False
                if not self._is_checked:
                    self.check(self)
                    self._is_checked = True
                self.begin()
                with self._sent_together() if only_writes else nullcontext():
                    work()
                    is_unknown = True
                    self.execute(*self._marks.storing(mark))
                    self.execute("COMMIT")
                break
            except ConnectionLost as lost:
                broken_at = broken_at or time.monotonic()
                if is_unknown:
                    self._connect_again(OutcomeUnknown(str(lost)), broken_at + self.look_up_s)
                else:
                    self._connect_again(lost, broken_at + self.reconnect_s)
            except BaseException:
                roll_back(self)
                raise
        self.committed()

    def one(self, sql: str, values: Sequence[Any] = (), /) -> tuple[Any, ...]:
        """The first row of a statement that selects at least one."""
        row: tuple[Any, ...] | None = self.execute(sql, values).fetchone()
        assert row is not None
        return row

    def start_session(self) -> None:
        """Set what every session needs, and read the server's clock."""
        self.opened_ms = self.one(SESSION)[-1]
        self._marks.follow(self.opened_ms)

    def commit_without_sync(self) -> None:
        """Let later commits not wait for the disk: a crash of the server may undo them, but no earlier commit."""
        self.execute("SET synchronous_commit = off")
        self._is_without_sync = True

    def overwrite_deleted(self) -> None:
        """Does nothing: PostgreSQL keeps the bytes of old rows until a vacuum."""

    def close(self) -> None:
        """Close the connection, which rolls an open transaction back."""
        if self._marks.is_used and self._is_checked and not self.is_lost and not self.in_transaction:
            with suppress(psycopg.Error):
                self.raw.execute(*self._marks.removal)
        self.raw.close()

    @contextmanager
    def _sent_together(self) -> Iterator[None]:
        """Send the statements of the block without waiting for the answer to one before the next is sent.

        Otherwise other writers would wait during each of these round trips. An error of one is raised at the end of the block.
        """
        try:
            with self.raw.pipeline():
                yield
        except psycopg.Error as error:
            raise translated_error(error, is_lost=self.raw.closed) from error

    def _has_committed(self, mark: int) -> bool:
        """Whether an earlier transaction has committed `mark`.

        A former connection may still commit: it holds the write lock until then. Raises OutcomeUnknown if the mark cannot be
        read.
        """
        try:
            self.begin()
            found = self.execute(*self._marks.stored).fetchone()
            roll_back(self)
            return found == (mark,)
        except ConnectionLost:
            raise
        except ServerError as error:
            raise OutcomeUnknown(str(error)) from error

    def _connect_again(self, failure: ServerError, give_up_at: float) -> None:
        """Connect to the server that now accepts writes. Raises `failure` if there is none until `give_up_at`."""
        self.raw.close()
        if time.monotonic() > give_up_at:
            raise failure
        for failures in count(1):
            try:
                new = connection_to(self.location, read_write=self._read_write)
            except ServerError:
                if time.monotonic() > give_up_at or not self.may_wait():
                    raise failure from None
                time.sleep(_BACKOFF.pause_s(failures))
                continue
            self.raw, self._is_checked = new.raw, False
            self._marks.follow(new.opened_ms)
            if self._is_without_sync:
                self.commit_without_sync()
            return


def connection_to(location: PostgresUrl, *, read_write: bool = True) -> Connection:
    """A new connection; with `read_write`, of several hosts to the one that accepts writes. Raises ServerError.

    The password comes from PGPASSWORD, a password file or a service file, as libpq finds it.
    """
    return attempts(location, read_write).make(lambda: _connected(location, read_write=read_write))


def _connected(location: PostgresUrl, *, read_write: bool) -> Connection:
    try:
        raw = raw_connection(location, read_write=read_write, autocommit=True, context=adapters())
    except psycopg.Error as error:
        raise translated_error(error) from error
    version = raw.info.server_version // 10_000
    if version < OLDEST_SERVER:
        raw.close()
        raise LedgerInvalid(
            f"the server of {location} is PostgreSQL {version}, which is too old",
            f"Use PostgreSQL {OLDEST_SERVER} or newer.",
        )
    connection = Connection(location, raw, read_write=read_write)
    try:
        connection.start_session()
    except BaseException:
        connection.close()
        raise
    return connection


def raw_connection(location: PostgresUrl, *, read_write: bool = True, **options: Any) -> psycopg.Connection[Any]:
    """A connection of psycopg with these `options` and those of every connection of aorch. Raises psycopg.Error, ServerError."""
    of_every = {
        "target_session_attrs": "read-write" if read_write else "any",
        "fallback_application_name": "aorch",
        "client_encoding": "UTF8",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives": 1,
        **{f"keepalives_{name}": value for name, value in KEEPALIVE_S.items()},
        "tcp_user_timeout": 25_000,
    }
    return psycopg.connect(str(location), **_but_for_those_in(location, of_every), **options)


def _but_for_those_in(location: PostgresUrl, options: dict[str, Any]) -> dict[str, Any]:
    """`options` without those that the URL sets itself."""
    parsed = url_parameters(location)
    return {name: value for name, value in options.items() if name not in parsed}


_SETTINGS = {
    "tcp_keepalives_idle": KEEPALIVE_S["idle"],
    "tcp_keepalives_interval": KEEPALIVE_S["interval"],
    "tcp_keepalives_count": KEEPALIVE_S["count"],
    "tcp_user_timeout": 25_000,
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "statement_timeout": 0,
    "idle_session_timeout": 0,
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",
    "jit": "off",  # with 1,000,000 queued tasks, the server compiled for 10 ms what it executes in 0.01 ms
}
SESSION = (
    "SELECT "
    + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())
    + ", CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"
    ", (date_part('epoch', clock_timestamp()) * 1000)::bigint"
)
"""Sets what every session of aorch needs, whatever the server, the database or the role sets, and returns the time of the
server's clock as the last value.
"""


class transaction:
    """A write transaction, for a `with` block: committed at its end, rolled back if it raises. It takes the write lock first."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Connection:
        self._connection.begin()
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        failed = self._connection.raw.pgconn.transaction_status == TransactionStatus.INERROR
        if kind is None and not failed:
            try:
                self._connection.execute("COMMIT")
            except ConnectionLost as error:
                raise OutcomeUnknown(str(error)) from error
            self._connection.committed()
            return
        roll_back(self._connection)
        if kind is None:
            raise ServerError("a statement of the transaction failed, and its error was not noticed")


def roll_back(connection: Connection) -> None:
    """End the transaction without its writes, if the connection still exists: a lost one has rolled back by itself.

    The driver's own ROLLBACK also makes it forget what it has prepared. Otherwise it would use prepared statements that do not
    exist: the server skips everything that is sent together with a statement that fails, after it.
    """
    if connection.in_transaction:
        try:
            connection.raw.rollback()
        except psycopg.Error:
            connection.close()


class savepoint:
    """A part of a transaction: if the block raises, its writes are rolled back, and the transaction continues."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("SAVEPOINT part")

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if self._connection.in_transaction:
            if kind is not None:
                self._connection.execute("ROLLBACK TO part")
            self._connection.execute("RELEASE part")
