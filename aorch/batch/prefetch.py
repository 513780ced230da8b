"""Reads a blocking iterator (a file, a pipe, a query) in a thread, so that the event loop is not blocked."""

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")


class ThreadedIterator(Generic[Item]):
    """Reads `items` in a daemon thread, so that a pipe that sends nothing does not delay the end of the process."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._requests: queue.SimpleQueue[asyncio.Future[Item | None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="aorch-prefetch", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)

    def request_next(self) -> "asyncio.Future[Item | None]":
        """Start reading the next item. The future holds it (None after the last), or the error that reading raised."""
        result: asyncio.Future[Item | None] = self._loop.create_future()
        self._requests.put(result)
        return result

    def _read(self) -> None:
        while (result := self._requests.get()) is not None:
            outcome: tuple[Any, Any]
            try:
                outcome = (result.set_result, next(self._items, None))
            except BaseException as error:  # noqa: BLE001  the task that waits for the item raises it
                outcome = (result.set_exception, error)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_set, result, *outcome)


def _set(result: "asyncio.Future[Any]", setter: Any, value: Any) -> None:
    if not result.done():
        setter(value)
