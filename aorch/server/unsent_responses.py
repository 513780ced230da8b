"""Limits the memory that responses to slow clients use together in this process.

A page has up to 8 MiB and stays in memory until its client has read it. So a page is created only when there is room for it,
and the connection of a response that has waited for PATIENCE_S is closed when the room is needed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from aorch.server.problems import HttpError

MAX_BYTES = 32 * 1024 * 1024
"""Limit for all waiting responses. Pages that were started earlier may exceed it."""
PAGES = 2
"""Maximum number of pages to create at the same time. Each needs up to five times its size meanwhile."""
PATIENCE_S = 5.0
ROOM_S = 10.0
"""How long a request for a page waits for room."""


class Abortable(Protocol):
    """A connection."""

    def abort(self) -> None:
        """Close at once, and drop the data that waits."""
        ...


class UnsentResponses:
    """The responses that wait for their clients."""

    def __init__(self, most: int = MAX_BYTES, patience_s: float = PATIENCE_S, room_s: float = ROOM_S) -> None:
        self._most = most
        self._patience_s = patience_s
        self._room_s = room_s
        self._waiting: OrderedDict[Abortable, tuple[int, float]] = OrderedDict()
        self._bytes = 0
        self._pages = asyncio.Semaphore(PAGES)
        self._freed = asyncio.Event()

    def add(self, connection: Abortable, size: int) -> None:
        """From now on, `size` bytes wait for the client of `connection`."""
        self._waiting[connection] = size, asyncio.get_running_loop().time()
        self._bytes += size
        self._close_oldest()

    def remove(self, connection: Abortable) -> None:
        """The client has read them, or the connection is closed."""
        size, _ = self._waiting.pop(connection, (0, 0.0))
        self._bytes -= size
        self._freed.set()

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Create a page inside the block, which starts once there is room for it. Raises HttpError (503) after ROOM_S."""
        try:
            async with asyncio.timeout(self._room_s):
                await self._pages.acquire()
                try:
                    await self._wait_for_room()
                except BaseException:
                    self._pages.release()
                    raise
        except TimeoutError:
            raise HttpError(
                503, "overloaded", "responses to slow clients use all the memory reserved for them", "Try again later."
            ) from None
        try:
            yield
        finally:
            self._pages.release()

    async def _wait_for_room(self) -> None:
        while self._bytes > self._most:
            self._freed.clear()
            self._close_oldest()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s / 10):
                    await self._freed.wait()

    def _close_oldest(self) -> None:
        """Close the connections that have waited for longest, until there is room."""
        while self._bytes > self._most:
            connection, (_, since) = next(iter(self._waiting.items()))
            if asyncio.get_running_loop().time() - since < self._patience_s:
                return
            self.remove(connection)
            connection.abort()
