"""A semaphore for several event loops, which limits how many tasks an agent runs at once."""

import asyncio
import contextlib
import threading
from collections import deque


class Slots:
    """Like asyncio.Semaphore, but shared by all event loops of the process. Waiters are served in order."""

    def __init__(self, limit: int) -> None:
        self._available = limit
        self._lock = threading.Lock()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        """Whether `acquire` would wait."""
        return self._available == 0

    def try_acquire(self) -> bool:
        """Take a slot if one is free."""
        with self._lock:
            if not self._available:
                return False
            self._available -= 1
            return True

    async def acquire(self) -> None:
        """Take a slot, or wait for one."""
        with self._lock:
            if self._available:
                self._available -= 1
                return
            slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(slot)
        try:
            await slot
        except asyncio.CancelledError:
            if not slot.cancelled():  # the slot was handed over in the same loop iteration
                self.release()
            raise

    def release(self) -> None:
        """Hand the slot to the task that has waited longest, or free it. Any thread may call this."""
        with self._lock:
            while self._waiting:
                slot = self._waiting.popleft()
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    slot.get_loop().call_soon_threadsafe(self._hand_over, slot)
                    return
            self._available += 1

    def _hand_over(self, slot: asyncio.Future[None]) -> None:
        if slot.cancelled():
            self.release()
        else:
            slot.set_result(None)
