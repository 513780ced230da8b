"""An iterator that blocks (a file, a pipe, a query), read beside an event loop."""

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")


class Puller(Generic[Item]):
    """Runs `items` in a daemon thread of its own: one that waits for a pipe never holds up the end of the process."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[asyncio.Future[Item | None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="aorch-puller", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._asked.put(None)

    def pull(self) -> "asyncio.Future[Item | None]":
        """The next item, None after the last; what the iterator raises is raised."""
        asked: asyncio.Future[Item | None] = self._loop.create_future()
        self._asked.put(asked)
        return asked

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            answer: tuple[Any, Any]
            try:
                answer = (asked.set_result, next(self._items, None))
            except BaseException as error:  # noqa: BLE001  handed over to whoever waits for the item
                answer = (asked.set_exception, error)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_tell, asked, *answer)


def _tell(asked: "asyncio.Future[Any]", setter: Any, value: Any) -> None:
    if not asked.done():
        setter(value)
