"""A circuit breaker: an endpoint that does not answer several tasks in a row gets none for a while, then one that decides.

The pattern is that of Michael Nygard's "Release It!". Routing must know when the next call is possible without making one,
which the documentation of purgatory, aiobreaker and pybreaker does not offer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from aorch.clock import now, rfc3339, seconds_until
from aorch.errors import AgentLost, AgentUnreachable

FAILURES = 5
"""Number of tasks in a row that must be unanswered to open the circuit."""
OPEN_S = 10.0
"""How long an open circuit lets no task through."""


class CircuitBreaker:
    """Counts the calls of one agent, each in a `with` block. Only failures of the connection count: AgentUnreachable and
    AgentLost. Entering the block raises AgentUnreachable while the circuit is open.

    `on_change` is called when the circuit opens, lets a task through or closes, never for a task that succeeds or for the first
    failures. Other processes get `until` and `since` (RFC 3339; None: closed), and `hear` them. So that only one process sends
    the task that decides, `claim` exchanges the known `until` for a later one; it returns None, or the circuit of the process
    that was first.
    """

    def __init__(self, agent_id: str, open_s: float = OPEN_S) -> None:
        self._agent_id, self._open_s = agent_id, open_s
        self._failures = 0
        self._opens_until = 0.0
        self.until: str | None = None
        self.since: str | None = None
        self.on_change: Callable[[], None] | None = None
        self.claim: Callable[[str | None, str], Awaitable[tuple[str, str | None] | None]] | None = None
        self._is_probed = False

    def blocks(self) -> bool:
        """Whether no task can be sent now."""
        return self._failures >= FAILURES and (self._is_probed or time.monotonic() < self._opens_until)

    def is_open(self) -> bool:
        """Whether the next task decides, or none can be sent."""
        return self._failures >= FAILURES

    async def prepare(self) -> None:
        """Claim the task that decides, just before the block. Raises AgentUnreachable if another process sends it."""
        if self.claim is None or not self.is_open() or self.blocks():
            return
        before, self.until = self.until, self._end()
        self._is_probed = True  # the other tasks of this process
        first: tuple[str, str | None] | None = None
        try:
            first = await self.claim(before, self.until)
        except BaseException:
            self.until = before
            raise
        finally:
            self._is_probed = False
        if first is not None:
            self.until = before
            self.hear(*first)
            raise self._refusal()

    def reason(self) -> str:
        """Why no task can be sent now, and until when."""
        return f"its last {self._failures} tasks were not answered; the next one is sent at {self.until} or later"

    def hear(self, until: str | None, since: str | None) -> None:
        """Take over the circuit of another process."""
        if until == self.until or (until is not None and self.until is not None and until < self.until):
            return
        self.until, self.since, self._is_probed = until, since, False
        if until is None:
            self._failures = 0
        else:
            self._failures = max(self._failures, FAILURES)
            self._opens_until = time.monotonic() + seconds_until(until)

    def as_dict(self) -> dict[str, object]:
        """The JSON form. `open_until` is None while the circuit is closed; after that time, the next task decides."""
        return {"unanswered": self._failures, "open_until": self.until if self._failures >= FAILURES else None}

    def __enter__(self) -> Self:
        if self._failures >= FAILURES:
            if self.blocks():
                raise self._refusal()
            self._is_probed = True
            self._open()  # so that other processes leave this task alone
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, AgentUnreachable | AgentLost):
            self._failures += 1
            if self._failures >= FAILURES:
                self._is_probed = False
                self._open()
        elif isinstance(error, asyncio.CancelledError):
            if self._is_probed:
                self._is_probed, self._opens_until = False, 0.0  # the next task decides
        elif self._failures:
            self._failures, self._is_probed = 0, False
            if self.until is not None:
                self.until = self.since = None
                self._changed()

    def _refusal(self) -> AgentUnreachable:
        return AgentUnreachable(f"{self._agent_id} was not called: {self.reason()}", "Check the agent.")

    def _end(self) -> str:
        return rfc3339(datetime.now(UTC) + timedelta(seconds=self._open_s))

    def _open(self) -> None:
        self._opens_until = time.monotonic() + self._open_s
        self.until = self._end()
        self.since = self.since or now()
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
