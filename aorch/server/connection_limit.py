"""How many connections may be open at once: fewer than the process may have descriptors."""

import asyncio
import math
import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

LEAST = 16
RESERVED, RESERVED_SHARE = 64, 4
"""Descriptors that are left for programs and the ledger: so many, or one in RESERVED_SHARE if that is more."""


TELL_AFTER_S = 60.0
"""How often the log says that connections are turned away."""


class Closable(Protocol):
    """A connection."""

    def give_way(self) -> None:
        """Close."""
        ...


class ConnectionLimit:
    """Counts open connections. At the limit one that has sent nothing for `patience_s` gives way to a new one.

    If there is none, the new one is turned away, so that those that are open are answered; `tell` hears of it now and then.
    """

    def __init__(self, patience_s: float, tell: Callable[[str], None], most: int | None = None) -> None:
        self._patience_s = patience_s
        self._tell = tell
        self._told_at = -math.inf
        self._most = most if most is not None else _most()
        self._loop = asyncio.get_running_loop()
        self._open = 0
        self._silent: OrderedDict[Closable, float] = OrderedDict()

    def let_in(self, connection: Closable) -> bool:
        """Count `connection`, which was made now; False if it must be turned away."""
        self._open += 1
        self._silent[connection] = self._loop.time()
        if self._open <= self._most:
            return True
        oldest, since = next(iter(self._silent.items()))
        if self._loop.time() - since < self._patience_s:
            self._say_so()
            return False
        del self._silent[oldest]
        oldest.give_way()
        return True

    def heard(self, connection: Closable) -> None:
        """`connection` has sent something."""
        self._silent.pop(connection, None)

    def left(self, connection: Closable) -> None:
        """`connection` is closed."""
        self._open -= 1
        self._silent.pop(connection, None)

    def _say_so(self) -> None:
        if self._loop.time() - self._told_at > TELL_AFTER_S:
            self._told_at = self._loop.time()
            self._tell(
                f"{self._most} connections are open, which is the limit (ulimit -n): new ones are turned away with 503"
            )


def _most() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        limit = 2**31
    return max(LEAST, limit - max(RESERVED, limit // RESERVED_SHARE))
