"""Who delivers to Trace, and when: turns under the lease, in the background of a service or as somebody asks for it."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aorch.clock import now
from aorch.config.settings import Config
from aorch.engine.supervision import Turned
from aorch.engine.threads import in_thread
from aorch.errors import ServiceFailed, ServiceUnreachable
from aorch.ledger.outbox import Outbox
from aorch.net.probe import listening
from aorch.trace.delivery import Delivery, placed
from aorch.trace.lease import Lease, State, take
from aorch.trace.trace_client import Trace

TURN_S = 3.0
"""How long a turn lasts while there is more to do: Trace may need a tenth of that to show that it is well."""
GAP_S = 0.03
"""How long the lease is free between two turns, so that who else waits for it comes in."""
POLL_S = 0.25
"""How often a service looks whether something is due. A look reads two rows."""
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 60.0
PARKED_S = 60.0
"""How often a service says that deliveries were parked."""
SLOW_S = 1.0
"""A request that is given up after so long has failed."""


@dataclass(slots=True)
class Turn:
    """What came of a turn. `elsewhere`: another process has the lease. `wait_s`: Trace is let alone for so long (seconds).
    `more`: there may be more to do at once. `reason`: why the last of the `parked` ones was.
    """

    delivered: int = 0
    parked: int = 0
    reason: str = ""
    elsewhere: bool = False
    wait_s: float = 0.0
    more: bool = False
    error: ServiceUnreachable | None = None


class Deliverer:
    """Delivers the contracts of the ledger at `path`, which must be there, to Trace at `url`; open until `close`."""

    def __init__(self, path: Path, url: str) -> None:
        self._path, self._url = path, url
        self._outbox = Outbox(path)

    def close(self) -> None:
        """Let go of the ledger."""
        self._outbox.close()

    async def any_due(self) -> bool:
        """Whether anything is due. Raises LedgerError."""
        return await asyncio.to_thread(self._outbox.any_due)

    async def due(self) -> int:
        """How many contracts are due. Raises LedgerError."""
        return (await asyncio.to_thread(self._outbox.counts))["due"]

    async def turn(self, *, insist: bool = False) -> Turn:
        """Deliver what is due for TURN_S or so; with `insist` also where Trace failed and is let alone for a while.

        Cancelled, it leaves behind how far it came. Raises LedgerError.
        """
        lease = take(self._path)
        if lease is None:
            return Turn(elsewhere=True)
        try:
            delivery = Delivery(self._outbox, lease, await asyncio.to_thread(placed, self._outbox, lease))
            wait_s = min(delivery.state.next_at - time.time(), LONGEST_BACKOFF_S)
            if wait_s > 0 and not insist:
                return Turn(wait_s=wait_s)
            return await self._of(delivery, lease)
        finally:
            lease.close()

    async def _of(self, delivery: Delivery, lease: Lease) -> Turn:
        state, turn, rested = delivery.state, Turn(), False
        state.pid = os.getpid()
        try:
            await delivery.rest()
            rested = True
            async with Trace(self._url, delivery.in_flight) as trace:
                turn.more = await delivery.run(trace, time.monotonic() + TURN_S)
            state.failures, state.next_at = 0, 0.0
        except ServiceUnreachable as error:
            turn.error, turn.wait_s = error, _failed(state, error)
        except asyncio.CancelledError:
            if rested and state.asked_at is not None and (waited_s := time.time() - state.asked_at) > SLOW_S:
                _failed(state, ServiceFailed(f"Trace at {self._url} had given no answer after {waited_s:.1f} s"))
            raise
        finally:
            lease.write(state)
        await asyncio.to_thread(delivery.commit)
        turn.delivered, turn.parked, turn.reason = delivery.delivered, delivery.parked, delivery.reason
        return turn


class Background:
    """Delivery in the background of a service. `tell` hears a sentence when Trace begins to fail and when it is well again;
    where nobody said that there is one, not that it is missing.
    """

    def __init__(self, config: Config, tell: Callable[[str], None]) -> None:
        self._config, self._tell = config, tell
        self._failing = False
        self._absent = 0
        self._parked, self._parked_told_at = 0, float("-inf")

    async def run(self, turned: Turned) -> None:
        """Deliver what is due until it is cancelled; what is not delivered then stays due. A loop for supervision.py."""
        deliverer = await in_thread(Deliverer, self._config.ledger, self._config.trace_url)
        try:
            while True:
                wait_s = await self._step(deliverer)
                turned()
                await asyncio.sleep(wait_s)
        finally:
            deliverer.close()

    async def _step(self, deliverer: Deliverer) -> float:
        """Do what is to be done now; how long to wait then (seconds)."""
        if not await deliverer.any_due():
            return POLL_S
        if not (self._config.trace_configured or await listening(self._config.trace_url)):
            self._absent += 1
            return _backoff_s(self._absent)
        turn = await deliverer.turn()
        self._absent = 0
        self._tell_parked(turn)
        if turn.error is not None and not self._failing:
            self._failing = True
            self._tell(f"{turn.error}; contracts wait for it (aorch trace status)")
        elif turn.error is None and self._failing and not (turn.elsewhere or turn.wait_s):
            self._failing = False
            self._tell("Trace is well again")
        return turn.wait_s or (GAP_S if turn.more else POLL_S)

    def _tell_parked(self, turn: Turn) -> None:
        """Say that deliveries were parked: the first ones at once, then what came since, once in PARKED_S."""
        self._parked += turn.parked
        if turn.parked and time.monotonic() > self._parked_told_at + PARKED_S:
            deliveries = "1 delivery to Trace was" if self._parked == 1 else f"{self._parked} deliveries to Trace were"
            self._tell(f"{deliveries} parked: {turn.reason} (aorch trace status)")
            self._parked, self._parked_told_at = 0, time.monotonic()


def _failed(state: State, error: ServiceUnreachable) -> float:
    """Note that Trace failed; how long it is let alone now (seconds)."""
    wait_s = _backoff_s(state.failures)
    state.failures, state.next_at = min(state.failures + 1, 20), time.time() + wait_s
    state.error, state.error_at = f"{error} {error.hint}".strip(), now()
    return wait_s


def _backoff_s(failures: int) -> float:
    longest: float = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures, 20))
    return longest * random.uniform(0.5, 1)  # noqa: S311  so that many processes do not come at once
