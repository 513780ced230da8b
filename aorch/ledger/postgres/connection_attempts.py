"""Attempts to connect while no server accepts writes: few of them, whatever number of threads and requests need a connection.

Each attempt starts a process on every server of the cluster that can be reached. Without this limit, the requests that a
service rejects during a failover would keep the servers busy that one of them has to take over.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from aorch.ledger.server_errors import ServerError
from aorch.process.forking import forget_in_child, no_fork

PAUSE_S = 0.2
"""How long after a failed attempt the next ones fail for the same reason, without asking a server."""
Result = TypeVar("Result")


class Attempts:
    """Attempts of this process to connect to one ledger."""

    def __init__(self) -> None:
        self._trying = threading.Lock()
        self._failure: ServerError | None = None
        self._failed_at = float("-inf")
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the parent's attempts are not those of the child."""
        self._trying, self._failure = threading.Lock(), None

    def make(self, connect: Callable[[], Result]) -> Result:
        """Return the result of `connect`. After a failure, one thread tries at a time, and the others get its error.

        Raises ServerError.
        """
        if self._failure is None:
            return self._made(connect)
        with self._trying:
            if (failure := self._failure) is not None and time.monotonic() < self._failed_at + PAUSE_S:
                raise type(failure)(str(failure), failure.sqlstate) from failure
            return self._made(connect)

    def _made(self, connect: Callable[[], Result]) -> Result:
        try:
            made = connect()
        except ServerError as error:
            self._failure, self._failed_at = error, time.monotonic()
            raise
        self._failure = None
        return made


_attempts: dict[object, Attempts] = {}


def attempts(*what: object) -> Attempts:
    """The attempts of this process to make that connection."""
    with no_fork:
        return _attempts.setdefault(what, Attempts())
