"""Slots of an agent whose limits hold across the processes of a ledger."""

import asyncio
import contextlib
import math
import time
from typing import Protocol

from aorch.agents.slots import Slots


class Limits(Protocol):
    """The limits of an agent that all processes of a ledger share (see `ledger/database.py`)."""

    def take(self) -> float:
        """Take a slot, and return 0.0, or after how many seconds to try again (math.inf: after `release`)."""
        ...

    def release(self) -> None:
        """Free a slot that this process holds."""
        ...

    def look(self) -> tuple[int, float]:
        """How many tasks could start now, and if none could, after how many seconds to look again."""
        ...


class SharedSlots:
    """Like Slots, for `limits`. The waiters of this process are served in order: only the first one tries to take a slot."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._first = Slots(1)
        self._woken: asyncio.Future[None] | None = None
        self._free_at = 0.0

    def locked(self) -> bool:
        """Whether `acquire` would wait, as far as this process knows without looking at the others."""
        return self._first.locked() or time.monotonic() < self._free_at

    def busy_s(self) -> float:
        """The seconds until `locked` may become False by the passing of time."""
        return max(0.0, self._free_at - time.monotonic())

    def look(self) -> int:
        """How many tasks could start now: the slots that no process uses, at most 1 if there is a rate. 0 while others wait."""
        free, wait_s = self._limits.look()
        self._free_at = time.monotonic() + wait_s if wait_s else 0.0
        return 0 if self._first.locked() else free

    def try_acquire(self) -> bool:
        """Take a slot if one is free. Raises LedgerError."""
        if not self._first.try_acquire():
            return False
        try:
            return not self._take()
        finally:
            self._first.release()

    async def acquire(self) -> None:
        """Take a slot, or wait for one. Raises LedgerError."""
        await self._first.acquire()
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._woken = woken = loop.create_future()
                if not (wait_s := self._take()):
                    return
                await asyncio.wait((woken,), timeout=None if wait_s == math.inf else wait_s)
        finally:
            self._woken = None
            self._first.release()

    def release(self) -> None:
        """Free a slot. Any thread may call this."""
        self._limits.release()
        self._free_at, woken = 0.0, self._woken
        if woken is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                woken.get_loop().call_soon_threadsafe(_resolve, woken)

    def _take(self) -> float:
        wait_s = self._limits.take()
        self._free_at = time.monotonic() + wait_s if 0 < wait_s < math.inf else 0.0
        return wait_s


def _resolve(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
