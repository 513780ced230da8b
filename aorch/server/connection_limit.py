"""The limit on open connections: lower than the limit on file descriptors."""

import asyncio
import math
import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

MIN_CONNECTIONS = 16
RESERVED, RESERVED_SHARE = 64, 4
"""Number of descriptors reserved for programs and the ledger: RESERVED, or a share of 1/RESERVED_SHARE if that is more."""
LOG_AFTER_S = 60.0
"""How often the log mentions rejected connections."""


class Closable(Protocol):
    """A connection."""

    def give_way(self) -> None:
        """Close."""
        ...


class ConnectionLimit:
    """Counts open connections. At the limit, a connection that has sent nothing for `patience_s` is closed to make room for
    a new one. If there is none, the new one is rejected. `log` gets a message about it every LOG_AFTER_S.
    """

    def __init__(self, patience_s: float, log: Callable[[str], None], most: int | None = None) -> None:
        self._patience_s = patience_s
        self._log = log
        self._logged_at = -math.inf
        self._most = most if most is not None else _default_limit()
        self._loop = asyncio.get_running_loop()
        self._open = 0
        self._silent: OrderedDict[Closable, float] = OrderedDict()

    def let_in(self, connection: Closable) -> bool:
        """Count a new connection. Returns False if it must be rejected."""
        self._open += 1
        self._silent[connection] = self._loop.time()
        if self._open <= self._most:
            return True
        oldest, since = next(iter(self._silent.items()))
        if self._loop.time() - since < self._patience_s:
            self._log_rejection()
            return False
        del self._silent[oldest]
        oldest.give_way()
        return True

    def has_sent(self, connection: Closable) -> None:
        """`connection` has sent data."""
        self._silent.pop(connection, None)

    def closed(self, connection: Closable) -> None:
        """`connection` is closed."""
        self._open -= 1
        self._silent.pop(connection, None)

    def _log_rejection(self) -> None:
        if self._loop.time() - self._logged_at > LOG_AFTER_S:
            self._logged_at = self._loop.time()
            self._log(f"{self._most} connections are open, the limit (ulimit -n); new ones are rejected with 503")


def _default_limit() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        limit = 2**31
    return max(MIN_CONNECTIONS, limit - max(RESERVED, limit // RESERVED_SHARE))
