"""A circuit breaker: an endpoint that does not answer several tasks in a row gets none for a while, then one that decides.

The pattern is that of Michael Nygard's "Release It!". Routing must know when the next call is possible without making one,
which the documentation of purgatory, aiobreaker and pybreaker does not offer.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from aorch.clock import rfc3339
from aorch.errors import AgentLost, AgentUnreachable

FAILURES = 5
"""Number of tasks in a row that must be unanswered to open the circuit."""
OPEN_S = 10.0
"""How long an open circuit lets no task through."""


class CircuitBreaker:
    """Counts the calls of one agent, each in a `with` block. Only failures of the connection count: AgentUnreachable and
    AgentLost. Entering the block raises AgentUnreachable while the circuit is open.
    """

    def __init__(self, agent_id: str, open_s: float = OPEN_S) -> None:
        self._agent_id, self._open_s = agent_id, open_s
        self._failures = 0
        self._opens_until = 0.0
        self._until = ""
        self._is_probed = False

    def blocks(self) -> bool:
        """Whether no task can be sent now."""
        return self._failures >= FAILURES and (self._is_probed or time.monotonic() < self._opens_until)

    def reason(self) -> str:
        """Why no task can be sent now, and until when."""
        return f"its last {self._failures} tasks were not answered; the next one is sent at {self._until} or later"

    def __enter__(self) -> Self:
        if self._failures >= FAILURES:
            if self.blocks():
                raise AgentUnreachable(f"{self._agent_id} was not called: {self.reason()}", "Check the agent.")
            self._is_probed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, AgentUnreachable | AgentLost):
            self._failures += 1
            if self._failures >= FAILURES:
                self._is_probed = False
                self._opens_until = time.monotonic() + self._open_s
                self._until = rfc3339(datetime.now(UTC) + timedelta(seconds=self._open_s))
        elif isinstance(error, asyncio.CancelledError):
            self._is_probed = False
        elif self._failures:
            self._failures, self._is_probed = 0, False
