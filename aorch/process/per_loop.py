"""Values that belong to an event loop, such as its timers."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


class PerLoop(dict[asyncio.AbstractEventLoop, Value]):
    """A value for each event loop, which `make` creates at the first access. Each access also removes the
    values of closed loops.
    """

    def __init__(self, make: Callable[[asyncio.AbstractEventLoop], Value]) -> None:
        self._make = make

    def __missing__(self, loop: asyncio.AbstractEventLoop) -> Value:
        for known in list(self):  # a copy, because another thread may add its loop
            if known.is_closed():
                self.pop(known, None)
        value = self[loop] = self._make(loop)
        return value
