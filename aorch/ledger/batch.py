"""Group commit: one writer thread a process commits whatever is queued in one transaction.

No lingering for a fuller batch: what arrives while a commit syncs is the next batch.
"""

import asyncio
import queue
import sqlite3
import threading
from asyncio import Future
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from aorch.errors import AorchError, LedgerError

Statement = tuple[str, Sequence[Any]]
"""SQL text and its parameters."""

Action = Callable[[sqlite3.Connection], Any]
"""What reads and writes inside a transaction of the writer, in its thread."""
Result = TypeVar("Result")


class _Unit:
    """Statements that stand or fall together, or `action`, and the waiter to tell."""

    result: Any = None
    error: BaseException | None = None
    told = False

    def __init__(self, statements: Sequence[Statement], action: Action | None, waiter: Future[Any]) -> None:
        self.statements = statements
        self.action = action
        self.waiter = waiter

    def tell(self) -> None:
        self.told = True
        if self.waiter.done():
            return
        if self.error is None:
            self.waiter.set_result(self.result)
        else:
            self.waiter.set_exception(self.error)


class Writer:
    """The writer thread of one connection, which is its alone from here on; `check` is called before each transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        check: Callable[[], None],
        translate: Callable[[sqlite3.Error], AorchError],
    ) -> None:
        self._connection = connection
        self._check = check
        self._translate = translate
        self._closed = False
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Unit]] = {}
        self._queue: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, list[_Unit]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="aorch-ledger-writer", daemon=True)
        self._thread.start()

    def commit(self, *statements: Statement) -> Future[None]:
        """Commit `statements` together, in order; they are durable once what this returns is done.

        A cancelled caller does not take them back: they are committed all the same. Raises LedgerError, and
        sqlite3.IntegrityError where a unique index refuses one.
        """
        return self._gather(statements, None).waiter

    async def commit_or_refuse(self, *statements: Statement) -> None:
        """The same, but that a refusal goes before the caller's cancellation."""
        unit = self._gather(statements, None)
        try:
            await unit.waiter
        except asyncio.CancelledError:
            if not unit.told:
                unit.waiter = asyncio.get_running_loop().create_future()
                await unit.waiter
            elif unit.error is not None:
                raise unit.error from None
            raise

    async def work(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `action` returns, once what it wrote is durable. It must bear being done again: a batch may be rolled back.

        Raises what it raises, which takes back what it wrote, and LedgerError.
        """
        result: Result = await self._gather((), action).waiter
        return result

    def _gather(self, statements: Sequence[Statement], action: Action | None) -> _Unit:
        if self._closed:
            raise LedgerError("the ledger is closed", "Open it again: nothing more can be written here.")
        loop = asyncio.get_running_loop()
        unit = _Unit(statements, action, loop.create_future())
        gathered = self._gathered.get(loop)
        if gathered is None:
            gathered = self._gathered[loop] = []
            loop.call_soon(self._hand_over, loop)
        gathered.append(unit)
        return unit

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand the writer what one turn of the loop gathered: at 32 in flight half as many transactions as one by one."""
        if gathered := self._gathered.pop(loop, None):
            self._queue.put((loop, gathered))

    def close(self) -> None:
        """Commit what is queued, then close the connection."""
        self._closed = True
        for loop in list(self._gathered):
            self._hand_over(loop)
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_ = True
        while open_:
            handed_over = [self._queue.get()]
            while not self._queue.empty():
                handed_over.append(self._queue.get())
            open_ = None not in handed_over
            gathered = [each for each in handed_over if each is not None]
            if gathered:
                self._write([unit for _, units in gathered for unit in units])
                _tell(gathered)
        self._connection.close()

    def _write(self, units: list[_Unit]) -> None:
        """The fast way: one executemany for each kind of statement, then the actions. So statements of one unit never depend
        on another's rows, whereas an action may.
        """
        rows: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
        for unit in units:
            for sql, parameters in unit.statements:
                rows[sql].append(parameters)
        try:
            self._transaction(rows.items(), [unit for unit in units if unit.action is not None])
        except sqlite3.OperationalError as error:  # the file's trouble (locked, full, gone), so everybody's
            for unit in units:
                unit.error = self._translate(error)
        except Exception:  # noqa: BLE001  a row's trouble: that unit alone fails, and the thread must live
            self._one_by_one(units)

    def _one_by_one(self, units: list[_Unit]) -> None:
        for unit in units:
            try:
                rows = [(sql, [parameters]) for sql, parameters in unit.statements]
                self._transaction(rows, [unit] if unit.action is not None else [])
            except sqlite3.IntegrityError as error:
                unit.error = error
            except sqlite3.Error as error:
                unit.error = self._translate(error)
            except Exception as error:  # noqa: BLE001  the waiter must be told, whatever it was
                unit.error = error

    def _transaction(self, work: Iterable[tuple[str, list[Sequence[Any]]]], actions: list[_Unit]) -> None:
        self._check()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, rows in work:
                self._connection.executemany(sql, rows)
            for unit in actions:
                unit.result = unit.action(self._connection)  # type: ignore[misc]  # those that have one
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _tell(gathered: list[tuple[asyncio.AbstractEventLoop, list[_Unit]]]) -> None:
    """Wake all waiters of a loop by one call into it."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Unit]] = defaultdict(list)
    for loop, units in gathered:
        by_loop[loop] += units
    for loop, its in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_tell_each, its)


def _tell_each(units: list[_Unit]) -> None:
    for unit in units:
        unit.tell()
