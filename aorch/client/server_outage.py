"""A server that does not answer for a while: how long a request is repeated."""

import time
from collections.abc import Callable

from aorch.backoff import Backoff
from aorch.client.problem_errors import FinalFailure
from aorch.errors import ServerTooOld, ServiceRefused, ServiceUnreachable

OUTAGE_S = 60.0
"""How long a request is repeated from its first failure on."""
_BACKOFF = Backoff(0.2, 5.0, (0.5, 1.5))


class ServerOutage:
    """Counts the failures of a request. `on_start` gets a text for the user when the first one is repeated."""

    def __init__(self, on_start: Callable[[str], None]) -> None:
        self._on_start = on_start
        self._failures, self._until = 0, 0.0

    def end(self) -> None:
        """The server has answered."""
        self._failures = 0

    def pause_s(self, error: ServiceUnreachable) -> float:
        """The pause before the request is repeated. Raises `error` after OUTAGE_S, or if the answer would be the same again."""
        if isinstance(error, FinalFailure | ServerTooOld | ServiceRefused):
            raise error
        if not self._failures:
            self._until = time.monotonic() + OUTAGE_S
            self._on_start(f"{error}; trying again for {OUTAGE_S:.0f} s")
        elif time.monotonic() > self._until:
            raise error
        self._failures += 1
        return _BACKOFF.pause_s(self._failures)
