"""What a person asks about Trace: how it stands, to deliver now, to retry, and what differs from the ledger."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aorch.config import config_file
from aorch.config.settings import Config
from aorch.engine.threads import in_thread
from aorch.errors import NotFound, ServiceUnreachable, UsageError
from aorch.ledger.outbox import DUE, Outbox, Parked, ParkedKind, deliveries_of
from aorch.trace.delivery import Delivery, placed
from aorch.trace.lease import Lease, look, take
from aorch.trace.scheduler import GAP_S, Deliverer
from aorch.trace.trace_client import Trace

LONGEST_WAIT_S = 10.0
"""How long somebody waits for another process that delivers: it lets go of the lease every few seconds, unless Trace hangs."""
LOOK_S = GAP_S / 6
MOST_SHOWN = 100
MOST_KINDS = 20


@dataclass(slots=True)
class Pushed:
    """What a push did: contracts delivered, deliveries parked, contracts still due; `error` says why not all were."""

    delivered: int = 0
    parked: int = 0
    due: int = 0
    error: ServiceUnreachable | None = None

    def as_dict(self) -> dict[str, Any]:
        """Its JSON form; `error` is a sentence or null."""
        error = None if self.error is None else str(self.error)
        return {"delivered": self.delivered, "parked": self.parked, "due": self.due, "error": error}


async def push(config: Config) -> Pushed:
    """Deliver all that is due now. Raises UsageError where Trace is switched off, and LedgerError."""
    _check_on(config)
    if not config_file.exists(config.ledger):
        return Pushed()
    deliverer = await in_thread(Deliverer, config.ledger, config.trace_url)
    pushed, since = Pushed(), time.monotonic()
    try:
        while await deliverer.any_due():
            turn = await deliverer.turn(insist=True)
            pushed.delivered, pushed.parked = pushed.delivered + turn.delivered, pushed.parked + turn.parked
            pushed.error = turn.error
            if turn.elsewhere and time.monotonic() - since > LONGEST_WAIT_S:
                pushed.error = _held(config.ledger)
            if pushed.error is not None or not (turn.elsewhere or turn.more):
                break
            since = since if turn.elsewhere else time.monotonic()
            await asyncio.sleep(LOOK_S)
        pushed.due = await deliverer.due()
    finally:
        deliverer.close()
    return pushed


async def push_until(config: Config, until: float) -> None:
    """Deliver what is due, where Trace is not let alone now. Raises TimeoutError at `until` (`time.monotonic`), LedgerError."""
    async with asyncio.timeout(until - time.monotonic()):
        deliverer = await in_thread(Deliverer, config.ledger, config.trace_url)
        try:
            while await deliverer.any_due():
                turn = await deliverer.turn()
                if turn.error is not None or turn.wait_s:
                    return
                await asyncio.sleep(LOOK_S)
        finally:
            deliverer.close()


def status(config: Config) -> dict[str, Any]:
    """How deliveries stand, without a word to Trace. Raises LedgerError.

    `url` (null where it is switched off), `configured`; `due`, `delivered` and `parked` as numbers of contracts, and
    `parked_nodes`; `parked_summary` (at most MOST_KINDS: `state`, `kind`, `reason`, `deliveries`, the first one's `contract_id`);
    `parked_deliveries` (at most MOST_SHOWN: `contract_id`, `kind`, `session_id`, `state`, `reason`, `attempts`, `parked_at`);
    `delivering` (`pid`, `waiting_s`: since when it awaits an answer) or null; `last_error` (`error`, `at`, `failures` in a
    row, `next_in_s`) or null.
    """
    state, held = look(config.ledger)
    parked: list[Parked] = []
    kinds: list[ParkedKind] = []
    if config_file.exists(config.ledger):
        with Outbox(config.ledger, reading=True) as outbox:
            parked, kinds = outbox.parked(most=MOST_SHOWN), outbox.parked_kinds(MOST_KINDS)
    waiting_s = None if state.asked_at is None else round(max(time.time() - state.asked_at, 0), 3)
    next_in_s = round(max(state.next_at - time.time(), 0), 3)
    last = {"error": state.error, "at": state.error_at, "failures": state.failures, "next_in_s": next_in_s}
    return {
        "url": config.trace_url or None,
        "configured": config.trace_configured,
        **deliveries_of(config.ledger),
        "parked_summary": [each._asdict() for each in kinds],
        "parked_deliveries": [_shown(each) for each in parked],
        "delivering": {"pid": state.pid, "waiting_s": waiting_s} if held else None,
        "last_error": last if state.error else None,
    }


def retry(config: Config, ids: Iterable[str]) -> list[Parked]:
    """Let the parked deliveries of these contracts (by how their ids begin), or all of them, be due again; and which they are.

    Raises NotFound for an id that none has, UsageError where Trace is switched off, and LedgerError.
    """
    _check_on(config)
    if not config_file.exists(config.ledger):
        raise NotFound(f"the ledger {config.ledger} is not there yet")
    wanted = tuple(each.upper() for each in ids)
    with Outbox(config.ledger) as outbox:
        parked = outbox.parked()
        for each in wanted:
            if not any(one.contract_id.upper().startswith(each) for one in parked):
                raise NotFound(f"no parked delivery's contract begins with {each!r}", "See `aorch trace status`.")
        chosen = [one for one in parked if not wanted or one.contract_id.upper().startswith(wanted)]
        outbox.park(*(one._replace(state=DUE) for one in chosen))
    return chosen


@asynccontextmanager
async def speaking(config: Config, outbox: Outbox) -> AsyncIterator[Trace]:
    """Trace, with the lease on it, seen to give each answer to its own request. Raises ServiceUnreachable and LedgerError."""
    lease = await _leased(config.ledger)
    try:
        delivery = Delivery(outbox, lease, await asyncio.to_thread(placed, outbox, lease))
        delivery.state.pid = os.getpid()
        await delivery.rest()
        async with Trace(config.trace_url, delivery.in_flight) as trace:
            await trace.check(await delivery.known())
            yield trace
    finally:
        lease.close()


async def _leased(ledger: Path) -> Lease:
    until = time.monotonic() + LONGEST_WAIT_S
    while (lease := take(ledger)) is None:
        if time.monotonic() > until:
            raise _held(ledger)
        await asyncio.sleep(LOOK_S)
    return lease


def _held(ledger: Path) -> ServiceUnreachable:
    state, _ = look(ledger)
    waiting = "" if state.asked_at is None else f", and has awaited an answer for {time.time() - state.asked_at:.0f} s"
    return ServiceUnreachable(
        f"process {state.pid} speaks with Trace{waiting}; only one may", "Try again, or see `aorch trace status`."
    )


def _check_on(config: Config) -> None:
    if not config.trace_url:
        raise UsageError(
            "Trace is switched off, or not configured for this ledger (the default address is for the default ledger)",
            "Set TRACE_URL, or url in [trace] of aorch.toml.",
        )


def _shown(parked: Parked) -> dict[str, Any]:
    return {name: value for name, value in parked._asdict().items() if name != "position"}
