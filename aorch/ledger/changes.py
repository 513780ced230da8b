"""The change feed: notifies watchers in event loops of commits to the ledger, by this process or another.

SQLite does not notify other processes. So in each event loop with watchers, a timer reads a version number
(`Database.version`, which takes 10 µs; waking up takes 130 µs), as often as the most urgent watcher needs. PostgreSQL notifies
(`Database.wake`); then the timer only looks every NOTIFIED_S, unless the connection for notifications is broken.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Self

from aorch.errors import LedgerError
from aorch.ledger.database import Database
from aorch.process.per_loop import PerLoop

NOTIFIED_S = 1.0
"""How often the version is read while the database notifies: a process may die between its commit and its notification."""


class Watcher:
    """Calls `call` after commits, from `start` until `stop`: at most `every_s` seconds late, and at most once in `every_s`.

    It is also called once after `start`, for commits before that. It stops by itself once `wanted` returns False. `call`
    runs in the event loop and must not raise. It is also called while the ledger cannot be read, and gets the error then.
    """

    __slots__ = ("_call", "_called_at", "_changes", "_version", "_wanted", "active", "every_s")

    def __init__(
        self, changes: "Changes", call: Callable[[], None], every_s: float, wanted: Callable[[], bool] | None
    ) -> None:
        self._changes = changes
        self._call = call
        self._wanted = wanted
        self.every_s = every_s
        self.active = False

    def start(self) -> Self:
        """Start, in the running event loop, unless it is active."""
        if not self.active:
            self.active, self._version, self._called_at = True, -1, float("-inf")
            self._changes.pollers[asyncio.get_running_loop()].add(self)
        return self

    def stop(self) -> None:
        """Stop."""
        self.active = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_wanted(self) -> bool:
        """Whether it is still active. Stops it if it is no longer wanted."""
        if self.active and self._wanted is not None and not self._wanted():
            self.active = False
        return self.active

    def see(self, version: int | None, moment: float) -> None:
        """Receive the ledger's version (None: it cannot be read), read at that time of the loop's clock."""
        if version != self._version and moment >= self._called_at + self.every_s and self.active:
            self._version, self._called_at = -1 if version is None else version, moment
            self._call()

    def has_seen(self, version: int | None) -> bool:
        """Whether it was called for that version. Not, if its last call was less than `every_s` before."""
        return version == self._version


class Changes:
    """The changes of the ledger that `database` opens, for any number of threads with an event loop each."""

    def __init__(self, database: Database) -> None:
        self.pollers = PerLoop(partial(_Poller, database))

    def watcher(self, call: Callable[[], None], every_s: float, wanted: Callable[[], bool] | None = None) -> Watcher:
        """A Watcher that is not started yet; start it with `start` or a `with` block."""
        return Watcher(self, call, every_s, wanted)


class _Poller:
    """One timer for all watchers of an event loop. Without watchers, it does not run."""

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._loop = loop
        self._watchers: list[Watcher] = []
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = float("-inf")
        database.wake(partial(loop.call_soon_threadsafe, self._notified))

    def add(self, watcher: Watcher) -> None:
        if watcher not in self._watchers:  # it may have been stopped and started since the last check
            self._watchers.append(watcher)
        self._look_by(self._loop.time() + watcher.every_s)

    def _notified(self) -> None:
        """A process has committed, or notifications start or stop."""
        if self._watchers:
            self._look_by(self._looked_at + self._shortest_s())

    def _look_by(self, at: float) -> None:
        if self._timer is None or self._timer.when() > at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        self._watchers = watchers = [each for each in self._watchers if each.is_wanted()]
        if not watchers:
            return
        self._looked_at = moment = self._loop.time()
        try:
            version = self._database.version()
        except LedgerError:
            version = None
        try:
            for watcher in watchers:
                watcher.see(version, moment)
        finally:
            is_notified = self._database.notifies and all(each.has_seen(version) for each in self._watchers)
            self._look_by(moment + (NOTIFIED_S if is_notified else self._shortest_s()))

    def _shortest_s(self) -> float:
        return min([each.every_s for each in self._watchers])


def commits(database: Database, every_s: float) -> Iterator[None]:
    """Yields once for existing contracts, and then after each commit, without end. Waits in this thread."""
    seen = 0
    while True:
        if (version := database.version()) != seen:
            seen = version
            yield
        else:
            time.sleep(every_s)
