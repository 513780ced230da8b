"""Answers that wait for slow clients: how much memory they may take together in this process.

A page has up to 8 MiB, and stays in memory until its client has taken it. So a page is read only when there is room for it,
and an answer that has waited for PATIENCE_S gives way: its connection is closed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from aorch.server.problems import Refusal

MOST_BYTES = 32 * 1024 * 1024
"""Of all answers that wait. Pages that were begun before come on top."""
PAGES = 2
"""How many are made at a time: each takes up to five times its size meanwhile."""
PATIENCE_S = 5.0
ROOM_S = 10.0
"""How long a request for a page waits for room."""


class Abortable(Protocol):
    """A connection."""

    def abort(self) -> None:
        """Close at once, and drop what waits."""
        ...


class Unsent:
    """The answers that wait for their clients."""

    def __init__(self, most: int = MOST_BYTES, patience_s: float = PATIENCE_S, room_s: float = ROOM_S) -> None:
        self._most = most
        self._patience_s = patience_s
        self._room_s = room_s
        self._waiting: OrderedDict[Abortable, tuple[int, float]] = OrderedDict()
        self._bytes = 0
        self._turns = asyncio.Semaphore(PAGES)
        self._freed = asyncio.Event()

    def add(self, connection: Abortable, size: int) -> None:
        """So many bytes wait for the client of `connection` from now on."""
        self._waiting[connection] = size, asyncio.get_running_loop().time()
        self._bytes += size
        self._let_go()

    def remove(self, connection: Abortable) -> None:
        """They have been taken, or the connection is closed."""
        size, _ = self._waiting.pop(connection, (0, 0.0))
        self._bytes -= size
        self._freed.set()

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Make a page inside the block, which begins once there is room for it. Raises Refusal (503) after ROOM_S."""
        try:
            async with asyncio.timeout(self._room_s):
                await self._turns.acquire()
                try:
                    await self._until_room()
                except BaseException:
                    self._turns.release()
                    raise
        except TimeoutError:
            raise Refusal(
                503, "overloaded", "the answers that wait for slow clients take all the memory that they may have"
            ) from None
        try:
            yield
        finally:
            self._turns.release()

    async def _until_room(self) -> None:
        while self._bytes > self._most:
            self._freed.clear()
            self._let_go()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s / 10):
                    await self._freed.wait()

    def _let_go(self) -> None:
        """Close the connections that have waited for longest, as long as there is no room."""
        while self._bytes > self._most:
            connection, (_, since) = next(iter(self._waiting.items()))
            if asyncio.get_running_loop().time() - since < self._patience_s:
                return
            self.remove(connection)
            connection.abort()
