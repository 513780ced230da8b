"""Group commit: one writer thread per process commits all waiting writes in one transaction.

It does not wait for a fuller batch: writes that arrive while a commit syncs form the next batch. (An event loop that is busy
passes on the writes of up to five iterations together.)
"""

import asyncio
import queue
import threading
import time
from asyncio import Future
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from msgspec import Struct

from aorch.errors import AorchError, Conflict, LedgerError
from aorch.ledger.database import (
    CLOSED,
    FORKED,
    Connection,
    ConstraintError,
    DatabaseError,
    is_of_the_file,
    savepoint,
    statements,
)

Statement = tuple[str, Sequence[Any]]
"""SQL text and its parameters."""

Action = Callable[[Connection], Any]
"""Reads and writes inside a transaction of the writer, in its thread."""
Result = TypeVar("Result")

CLOSE_S = 0.2
"""How long `close` waits while another process holds the write lock: a user who pressed Ctrl-C waits for it too."""


GATHER_TURNS, ENOUGH = 4, 32
"""Maximum number of further loop iterations in which writes are gathered, and the number of writes that ends this."""

COMMIT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
"""The upper limits of the buckets for durations of commits, inclusive (seconds). The wait for the write lock is included."""

_OF_ROWS: tuple[type[Exception], ...] = (*DatabaseError, OverflowError, UnicodeError)
"""Errors that can be those of one row."""
INSERTS = {
    statements.INSERT_REQUEST,
    statements.INSERT_ROOT_REQUEST,
    statements.INSERT_RESPONSE,
    statements.INSERT_ROOT_RESULT,
}


class Unit(Struct):
    """Statements that succeed or fail together, or `action`, and the waiter that gets the result.

    `answers` is the REQUEST that the statements answer. The writer's thread calls `wanted`, whether `action` still is.
    """

    statements: Sequence[Statement]
    action: Action | None
    answers: str | None
    waiter: Future[Any]
    wanted: Callable[[], bool] = lambda: True
    result: Any = None
    error: BaseException | None = None
    finished: bool = False

    def execute(self, connection: Connection) -> None:
        for sql, parameters in self.statements:
            connection.execute(sql, parameters)
        if self.action is not None and self.wanted():
            self.result = self.action(connection)

    def failure(self, error: BaseException) -> BaseException:
        """The exception that the waiter gets for `error`."""
        if self.answers is None or not isinstance(error, ConstraintError):
            return error
        conflict = Conflict(f"request {self.answers} has been answered already")
        conflict.__cause__ = error
        return conflict


class Writer:
    """The writer thread of a connection that only it uses."""

    def __init__(self, connection: Connection, translate: Callable[[Exception], AorchError]) -> None:
        connection.may_wait = self._may_wait
        self.commit_counts, self.commits_took_s = [0] * (len(COMMIT_BUCKETS_S) + 1), 0.0
        """For metrics, which the writer's thread alone changes: the number of commits in each of COMMIT_BUCKETS_S and above, and
        the sum of their durations (seconds).
        """
        self._connection = connection
        self._translate = translate
        self._lock = threading.Lock()
        self._refusal: tuple[str, str] | None = None
        self._close_by = 0.0
        self._units: list[Unit] = []
        self._gathered: dict[asyncio.AbstractEventLoop, list[Unit]] = {}
        self._queue: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, list[Unit]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="aorch-ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, statements: Sequence[Statement], action: Action | None = None, answers: str | None = None) -> Unit:
        """Have the writer commit `statements`, in order, or what `action` writes. `waiter` is done once that is
        durable.

        Cancelling the caller does not undo this: the writes are still committed. The waiter raises LedgerError,
        ConstraintError if a unique index rejects a row, and any exception of `action`. If `answers`, a REQUEST, has been
        answered already, it raises Conflict.
        """
        loop = asyncio.get_running_loop()
        unit = Unit(statements, action, answers, Future(loop=loop))
        with self._lock:
            if self._refusal is not None:
                raise LedgerError(*self._refusal)
            gathered = self._gathered.get(loop)
            if gathered is None:
                gathered = self._gathered[loop] = []
                loop.call_soon(self._hand_over, loop, 1, GATHER_TURNS)
            gathered.append(unit)
        return unit

    def commit(self, *statements: Statement) -> Future[None]:
        """Submit `statements`, and return their waiter."""
        return self.submit(statements).waiter

    async def commit_or_refuse(self, *statements: Statement) -> None:
        """Like `commit`, but if the writes are rejected, their error is raised even if the caller is cancelled."""
        unit = self.submit(statements)
        try:
            await unit.waiter
        except asyncio.CancelledError:
            if not unit.finished:
                unit.waiter = asyncio.get_running_loop().create_future()
                await unit.waiter
            elif unit.error is not None:
                raise unit.error from None
            raise

    async def work_while(self, wanted: Callable[[], bool], action: Callable[[Connection], Result]) -> Result | None:
        """Like `work`, but returns None and does nothing if `wanted` returns False before the write lock is acquired."""
        unit = self.submit((), action)
        unit.wanted = wanted
        result: Result | None = await unit.waiter
        return result

    async def work(self, action: Callable[[Connection], Result]) -> Result:
        """Return the result of `action` once its writes are durable. If `action` raises, its writes are rolled back and
        the exception is raised here. Raises LedgerError.
        """
        result: Result = await self.submit((), action).waiter
        return result

    def _hand_over(self, loop: asyncio.AbstractEventLoop, seen: int, turns: int) -> None:
        """Pass on the writes of one loop iteration together: with 32 in flight, this halves the number of transactions.

        While they are few and the last iteration added some to the `seen` ones, wait for up to `turns` more iterations: the
        loop has more to do, and each transaction costs as much processor time as three requests.
        """
        with self._lock:
            gathered = self._gathered.get(loop)
            if gathered is None:  # `close` has passed them on
                return
            if turns and ENOUGH > len(gathered) > seen:
                loop.call_soon(self._hand_over, loop, len(gathered), turns - 1)
                return
            del self._gathered[loop]
            self._queue.put((loop, gathered))

    def close(self) -> None:
        """Commit the waiting writes, then close the connection.

        If another process holds the write lock for CLOSE_S from now on, waiting writes are dropped, and their waiters
        get LedgerBusy.
        """
        with self._lock:
            if self._refusal is None:
                self._refusal = CLOSED
                for handed_over in self._gathered.items():
                    self._queue.put(handed_over)
                self._gathered.clear()
                self._close_by = time.monotonic() + CLOSE_S
                self._queue.put(None)
        self._thread.join()

    def forget(self) -> None:
        """In a forked child: it has no writer thread, and SQLite forbids the use of the parent's connection."""
        self._lock = threading.Lock()
        self._gathered = {}
        self._refusal = FORKED

    def _work(self) -> None:
        is_open = True
        while is_open:
            batches = [self._queue.get()]
            while not self._queue.empty():
                batches.append(self._queue.get())
            is_open = None not in batches
            by_loop: dict[asyncio.AbstractEventLoop, list[Unit]] = {}
            for loop, units in filter(None, batches):
                by_loop.setdefault(loop, []).extend(units)
            if by_loop:
                self._write(list(chain.from_iterable(by_loop.values())))
            for loop, units in by_loop.items():
                with suppress(RuntimeError):  # the loop is closed, so no task waits in it
                    loop.call_soon_threadsafe(_finish, units)
        self._connection.close()

    def _write(self, units: list[Unit]) -> None:
        """Commit `units` in one transaction.

        The rows of each kind of statement are written together, which is faster. Statements of a unit must not depend on
        rows of another unit; actions may. An error of one unit fails only that unit; an error of the file fails all.
        """
        self._units, started = units, time.perf_counter()
        statements = [unit for unit in units if unit.action is None]
        actions = [unit for unit in units if unit.action is not None]
        try:
            self._connection.check_file()
            try:
                self._connection.transact(partial(self._together, statements, actions), only_writes=not actions)
            except _OF_ROWS as error:
                if is_of_the_file(error):
                    raise
                self._connection.transact(partial(self._each, [*statements, *actions]))
            took_s = time.perf_counter() - started
            self.commit_counts[bisect_left(COMMIT_BUCKETS_S, took_s)] += 1
            self.commits_took_s += took_s
        except Exception as error:  # noqa: BLE001 the waiters must get any error, and the thread must survive
            failure = self._failure(error)
            for unit in units:
                unit.error = unit.error or (failure if unit.wanted() else None)

    def _together(self, statements: list[Unit], actions: list[Unit]) -> None:
        """Execute all statements, those of the same kind together, and then the actions."""
        by_kind: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
        for unit in statements:
            for sql, parameters in unit.statements:
                by_kind[sql].append(parameters)
        for sql, rows in by_kind.items():
            if len(rows) > 1 and sql in INSERTS:
                self._connection.insert(sql, rows)
            else:
                self._connection.executemany(sql, rows)
        if actions:
            self._each(actions)

    def _each(self, units: list[Unit]) -> None:
        """Execute the units one by one, each in a savepoint: if a unit fails, only its own writes are rolled back."""
        connection = self._connection
        for unit in units:
            unit.error = None
            try:
                with savepoint(connection):
                    unit.execute(connection)
            except Exception as error:
                if is_of_the_file(error) or not connection.in_transaction:
                    raise
                unit.error = error
                if isinstance(error, DatabaseError) and not isinstance(error, ConstraintError):
                    unit.error = self._translate(error)

    def _failure(self, error: Exception) -> AorchError:
        """`error` as one that callers expect: a RESPONSE is only tried again after a LedgerError."""
        if isinstance(error, AorchError):
            return error
        if isinstance(error, DatabaseError):
            return self._translate(error)
        failure = LedgerError(f"the ledger could not be written: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    def _may_wait(self) -> bool:
        in_time = self._refusal is None or time.monotonic() < self._close_by
        return in_time and any(unit.wanted() for unit in self._units)


def _finish(units: list[Unit]) -> None:
    """Give each waiter its result, in the waiters' loop."""
    for unit in units:
        unit.finished = True
        if unit.waiter.done():
            continue
        if unit.error is None:
            unit.waiter.set_result(unit.result)
        else:
            unit.waiter.set_exception(unit.failure(unit.error))
