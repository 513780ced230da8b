"""Delivers to Trace on demand: for `aorch trace push`, and at the end of a command."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from aorch.config.settings import Config
from aorch.errors import ServiceUnreachable
from aorch.ledger.database import Database
from aorch.process.threads import in_thread
from aorch.trace.delivery_status import require_url
from aorch.trace.lease import LONGEST_WAIT_S, POLL_S, held_by_another
from aorch.trace.scheduler import DeliveryRounds


@dataclass(slots=True)
class PushResult:
    """The result of a push: contracts delivered, deliveries parked, contracts still due, and why not all were delivered."""

    delivered: int = 0
    parked: int = 0
    due: int = 0
    error: ServiceUnreachable | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `error` is a message or null."""
        error = None if self.error is None else str(self.error)
        return {"delivered": self.delivered, "parked": self.parked, "due": self.due, "error": error}


async def push(config: Config) -> PushResult:
    """Deliver everything that is due. Raises UsageError if Trace is switched off, and LedgerError."""
    require_url(config)
    if not Database(config.ledger).exists():
        return PushResult()
    rounds = await in_thread(DeliveryRounds, config.ledger, config.trace_url)
    pushed, since = PushResult(), time.monotonic()
    try:
        while await rounds.any_due():
            result = await rounds.run_round(ignore_backoff=True)
            pushed.delivered, pushed.parked = pushed.delivered + result.delivered, pushed.parked + result.parked
            pushed.error = result.error
            if result.elsewhere and time.monotonic() - since > LONGEST_WAIT_S:
                pushed.error = held_by_another(config.ledger)
            if pushed.error is not None or not (result.elsewhere or result.more):
                break
            since = since if result.elsewhere else time.monotonic()
            await asyncio.sleep(POLL_S)
        pushed.due = await rounds.due()
    finally:
        rounds.close()
    return pushed


async def push_until(config: Config, until: float) -> None:
    """Deliver what is due, unless Trace failed recently. Raises TimeoutError at `until` (`time.monotonic`), and LedgerError."""
    async with asyncio.timeout(until - time.monotonic()):
        rounds = await in_thread(DeliveryRounds, config.ledger, config.trace_url)
        try:
            while await rounds.any_due():
                result = await rounds.run_round()
                if result.error is not None or result.wait_s:
                    return
                await asyncio.sleep(POLL_S)
        finally:
            rounds.close()
