"""The change feed: who is called after a commit, how often, and for how long."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import ledgers
import pytest
from rows import put, request
from waiting import WAIT_S

from aorch.ledger.changes import Changes, commits
from aorch.ledger.database import Database


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """The same, open."""
    with Database(path) as database:
        yield database


class Calls:
    """A watcher's calls: the moments, and a way to wait for the next one."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self._called = asyncio.Event()

    def __call__(self) -> None:
        self.moments.append(asyncio.get_running_loop().time())
        self._called.set()

    async def next(self) -> None:
        await asyncio.wait_for(self._called.wait(), WAIT_S)
        self._called.clear()

    async def none_for(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._called.wait(), seconds)
            raise AssertionError("it was called")


@pytest.mark.sqlite_only("on PostgreSQL, commits to other databases of the server count too")
async def test_a_watcher_is_called_once_at_first_and_then_after_each_commit(path: Path, database: Database) -> None:
    calls = Calls()
    with Changes(database).watcher(calls, 0.01):
        await calls.next()
        await calls.none_for(0.1)
        for _ in range(3):
            put(path, request())
            await calls.next()
        await calls.none_for(0.1)
    assert len(calls.moments) == 4


async def test_a_watcher_that_wants_fewer_calls_is_called_later_and_misses_nothing(
    path: Path, database: Database
) -> None:
    often, seldom = Calls(), Calls()
    changes, started = Changes(database), asyncio.get_running_loop().time()
    with changes.watcher(often, 0.01), changes.watcher(seldom, 0.2):
        for _ in range(10):
            last = asyncio.get_running_loop().time()
            put(path, request())
            await often.next()
        while not seldom.moments or seldom.moments[-1] < last:
            await seldom.next()
    assert len(seldom.moments) <= (seldom.moments[-1] - started) / 0.2 + 1


async def test_a_watcher_stops_when_told_to_and_when_it_is_not_wanted(path: Path, database: Database) -> None:
    calls, unwanted = Calls(), Calls()
    wanted = True
    changes = Changes(database)
    watcher = changes.watcher(calls, 0.01).start()
    other = changes.watcher(unwanted, 0.01, lambda: wanted).start()
    await calls.next()
    await unwanted.next()
    watcher.stop()
    wanted = False
    put(path, request())
    await calls.none_for(0.1)
    await unwanted.none_for(0.1)
    assert not other.active
    watcher.start().start()
    await calls.next()
    assert len(calls.moments) == 2 or ledgers.ON_POSTGRESQL  # there, commits to other databases count too
    watcher.stop()


async def test_while_the_ledger_cannot_be_read_watchers_are_called_to_meet_the_error(database: Database) -> None:
    calls = Calls()
    with Changes(database).watcher(calls, 0.01):
        await calls.next()
        database.close()
        await calls.next()
        await calls.next()


def test_each_event_loop_has_its_own_watchers(path: Path, database: Database) -> None:
    changes, both = Changes(database), threading.Barrier(2)

    async def watch() -> None:
        calls = Calls()
        with changes.watcher(calls, 0.01):
            await calls.next()
            if both.wait(WAIT_S) == 0:
                put(path, request())
            await calls.next()

    threads = [threading.Thread(target=asyncio.run, args=(watch(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_a_thread_can_wait_for_commits(path: Path, database: Database) -> None:
    waiting = commits(database, 0.01)
    next(waiting)
    writer = threading.Thread(target=put, args=(path, request()))
    writer.start()
    next(waiting)
    writer.join()
