"""Reads the ledger without blocking an event loop: in a few threads, each with a Reader that stays open."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.reader import Reader

Result = TypeVar("Result")
THREADS = 4


class Readers:
    """Runs reading functions in threads, so that a long page never blocks the loop."""

    def __init__(self, path: LedgerLocation, threads: int = THREADS) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aorch-reader")
        self._here = threading.local()
        self._opened: list[Reader] = []

    async def read(self, work: Callable[[Reader], Result]) -> Result:
        """Return the result of `work`, called with a Reader. Raises LedgerError, and any exception of `work`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._work, work)

    def close(self) -> None:
        """Wait until running functions have returned, and close the file."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for reader in self._opened:
            reader.close()

    def _work(self, work: Callable[[Reader], Result]) -> Result:
        reader: Reader | None = getattr(self._here, "reader", None)
        if reader is None:
            reader = self._here.reader = Reader(self._path)
            self._opened.append(reader)
        return work(reader)
