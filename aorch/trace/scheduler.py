"""Decides when to deliver to Trace: rounds of a few seconds under the lease, on demand or in the background of a service."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from aorch.backoff import Backoff
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.config.settings import Config
from aorch.engine.supervision import Turned
from aorch.errors import ServiceFailed, ServiceUnreachable
from aorch.ledger.changes import Changes
from aorch.ledger.outbox import Outbox
from aorch.net.probe import listening
from aorch.process.threads import in_thread
from aorch.trace.delivery import Delivery
from aorch.trace.delivery_state import DeliveryState, load_state
from aorch.trace.lease import Lease, acquire
from aorch.trace.trace_client import TraceClient

ROUND_S = 3.0
"""How long a round lasts while more is due. Trace may need a tenth of that for the two checks of a round."""
PAUSE_S = 0.03
"""How long the lease is free between two rounds, so that another process can acquire it."""
POLL_S = 0.24
"""How soon a service notices that a delivery is due."""
BACKOFF = Backoff(0.5, 60.0, jitter=(0.5, 1.0))
PARKED_S = 60.0
"""The shortest time between two log lines about parked deliveries."""
SLOW_S = 1.0
"""A request that is cancelled after this time counts as failed."""


@dataclass(slots=True)
class RoundResult:
    """The result of a round.

    `elsewhere`: another process holds the lease. `wait_s`: how long to send nothing to Trace (seconds). `more`: more may be
    due now. `reason`: why the last of the `parked` deliveries was parked.
    """

    delivered: int = 0
    parked: int = 0
    reason: str = ""
    elsewhere: bool = False
    wait_s: float = 0.0
    more: bool = False
    error: ServiceUnreachable | None = None


class DeliveryRounds:
    """Delivers the contracts of the ledger at `path`, which must exist, to Trace at `url`. Open until `close`."""

    def __init__(self, path: LedgerLocation, url: str) -> None:
        self._path, self._url = path, url
        self._outbox = Outbox(path)

    def close(self) -> None:
        """Close the ledger."""
        self._outbox.close()

    async def any_due(self) -> bool:
        """Whether anything is due. Raises LedgerError."""
        return await asyncio.to_thread(self._outbox.any_due)

    async def due(self) -> int:
        """The number of contracts that are due. Raises LedgerError."""
        return (await asyncio.to_thread(self._outbox.counts))["due"]

    async def run_round(self, *, ignore_backoff: bool = False) -> RoundResult:
        """Deliver for about ROUND_S, unless Trace failed recently; `ignore_backoff` delivers even then.

        If the round is cancelled, the lease file still records how far it came. Raises LedgerError.
        """
        lease = acquire(self._path)
        if lease is None:
            return RoundResult(elsewhere=True)
        try:
            state = await asyncio.to_thread(load_state, self._outbox, lease.read(), lease.run_id)
            wait_s = min(state.retry_at - time.time(), BACKOFF.longest_s)
            if wait_s > 0 and not ignore_backoff:
                return RoundResult(wait_s=wait_s)
            return await self._deliver(Delivery(self._outbox, lease, state), lease)
        finally:
            lease.close()

    async def _deliver(self, delivery: Delivery, lease: Lease) -> RoundResult:
        state, result, rested = delivery.state, RoundResult(), False
        state.pid = os.getpid()
        try:
            await delivery.rest()
            rested = True
            async with TraceClient(self._url, delivery.on_request) as trace:
                result.more = await delivery.run(trace, time.monotonic() + ROUND_S)
            state.failures, state.retry_at = 0, 0.0
        except ServiceUnreachable as error:
            result.error, result.wait_s = error, _record_failure(state, error)
        except asyncio.CancelledError:
            started_at = state.request_started_at
            if rested and started_at is not None and (waited_s := time.time() - started_at) > SLOW_S:
                _record_failure(state, ServiceFailed(f"Trace at {self._url} gave no answer within {waited_s:.1f} s"))
            raise
        finally:
            lease.write(state)
        await asyncio.to_thread(delivery.commit)
        result.delivered, result.parked, result.reason = delivery.delivered, delivery.parked, delivery.reason
        return result


class BackgroundDelivery:
    """Delivers in the background of a service.

    `changes` is the change feed of the configured ledger. `log` gets a line when Trace starts to fail and when it works
    again; if no URL is configured, it is not logged that nothing listens.
    """

    def __init__(self, config: Config, changes: Changes, log: Callable[[str], None]) -> None:
        self._config, self._changes, self._log = config, changes, log
        self._woken = asyncio.Event()
        self._failing = False
        self._probes_failed = 0
        self._parked, self._parked_logged_at = 0, float("-inf")

    async def run(self, turned: Turned) -> None:
        """Deliver until cancelled; contracts that are not delivered by then stay due. A loop for supervision.py."""
        rounds = await in_thread(DeliveryRounds, self._config.ledger, self._config.trace_url)
        try:
            with self._changes.watcher(self._woken.set, POLL_S):
                while True:
                    self._woken.clear()
                    wait_s = await self._step(rounds)
                    turned()
                    await (self._woken.wait() if wait_s is None else asyncio.sleep(wait_s))
        finally:
            rounds.close()

    async def _step(self, rounds: DeliveryRounds) -> float | None:
        """Run a round if anything is due; return how long to wait before the next step (seconds), None: until a commit."""
        if not await rounds.any_due():
            return None
        if not (self._config.trace_configured or await listening(self._config.trace_url)):
            self._probes_failed += 1
            return BACKOFF.pause_s(self._probes_failed + 1)
        result = await rounds.run_round()
        self._probes_failed = 0
        self._log_parked(result)
        if result.error is not None and not self._failing:
            self._failing = True
            self._log(f"{result.error}; contracts stay due (aorch trace status)")
        elif result.error is None and self._failing and not (result.elsewhere or result.wait_s):
            self._failing = False
            self._log("Trace works again")
        return result.wait_s or (PAUSE_S if result.more else POLL_S)

    def _log_parked(self, result: RoundResult) -> None:
        """Log that deliveries were parked: the first ones at once, later ones at most once in PARKED_S."""
        self._parked += result.parked
        if result.parked and time.monotonic() > self._parked_logged_at + PARKED_S:
            deliveries = "1 delivery to Trace was" if self._parked == 1 else f"{self._parked} deliveries to Trace were"
            self._log(f"{deliveries} parked: {result.reason} (aorch trace status)")
            self._parked, self._parked_logged_at = 0, time.monotonic()


def _record_failure(state: DeliveryState, error: ServiceUnreachable) -> float:
    """Record a failed round in `state`; return how long to send nothing to Trace (seconds)."""
    wait_s = BACKOFF.pause_s(state.failures + 1)
    state.failures, state.retry_at = min(state.failures + 1, 20), time.time() + wait_s
    state.error, state.error_at = f"{error} {error.hint}".strip(), now()
    return wait_s
