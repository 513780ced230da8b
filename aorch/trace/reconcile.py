"""Compares a session in Trace with the ledger."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.config.settings import Config
from aorch.errors import NotFound, ServiceFailed, UsageError
from aorch.ledger.contract_metadata import mark_of
from aorch.ledger.database import Database
from aorch.ledger.outbox import Outbox
from aorch.ledger.record import Record
from aorch.trace.delivery import Delivery
from aorch.trace.delivery_state import load_state
from aorch.trace.delivery_status import require_url
from aorch.trace.lease import LONGEST_WAIT_S, POLL_S, Lease, acquire, held_by_another
from aorch.trace.payload import AS_WRITTEN, EVENTS, NODE, can_be_read_back, event_data, key, unfit_for_path
from aorch.trace.trace_client import TraceClient

Event = dict[str, Any]


async def compare(config: Config, session_id: str) -> dict[str, Any]:
    """Read a session from Trace and return how it differs from the ledger. Changes neither side.

    `equal` (a number of contracts); `due` and `parked` (IDs of contracts that may be missing in Trace); the differences
    `missing_there`, `missing_here` (contract IDs), `different` (`contract_id`, `fields`), `doubled` (contract IDs) and
    `out_of_order` (IDs of contracts that follow a later one); `others` (number of events that are not aorch's); `differs`
    (whether there is any difference).

    Raises UsageError if Trace is switched off or has no path for the session, NotFound if the ledger does not contain the
    session (then its size in Trace is not known), ServiceFailed if Trace cannot read it back, ServiceUnreachable and
    LedgerError.
    """
    require_url(config)
    if reason := unfit_for_path(session_id):
        raise UsageError(f"session {session_id!r} cannot be read back: {reason}")
    if not Database(config.ledger).exists():
        raise NotFound(f"ledger not found: {config.ledger}", "Run a task first, or choose another file with --ledger.")
    with Outbox(config.ledger) as outbox:
        _check_readable(outbox, session_id)
        async with _checked_trace(config, outbox) as trace:
            _check_readable(outbox, session_id)  # read again, because another process may have delivered meanwhile
            events = await trace.events(session_id)
            rows, (position, _), parked = list(outbox.session(session_id)), outbox.reached(), outbox.parked()
    parked_ids = {each.contract_id for each in parked if each.kind != NODE}
    expected = [row for place, row in rows if place <= position and row.contract_id not in parked_ids]
    if expected and not events:
        raise ServiceFailed(
            f"Trace returned nothing of session {session_id!r}, to which {len(expected)} contracts were delivered",
            "Trace returns nothing of a session above 64 KiB. The contracts may still be in Trace.",
        )
    found = _difference(expected, [row for _, row in rows], events)
    found["due"] = [row.contract_id for place, row in rows if place > position]
    found["parked"] = [row.contract_id for _, row in rows if row.contract_id in parked_ids]
    return {"session_id": session_id, **found}


@asynccontextmanager
async def _checked_trace(config: Config, outbox: Outbox) -> AsyncIterator[TraceClient]:
    """Trace, under the lease, after a check of its answers. Raises ServiceUnreachable and LedgerError."""
    lease = await _acquire_soon(config.ledger)
    try:
        delivery = Delivery(outbox, lease, await asyncio.to_thread(load_state, outbox, lease.read(), lease.run_id))
        delivery.state.pid = os.getpid()
        await delivery.rest()
        try:
            async with TraceClient(config.trace_url, delivery.on_request) as trace:
                await trace.check(await delivery.readable_session())
                yield trace
        finally:
            lease.write(delivery.state)
    finally:
        lease.close()


async def _acquire_soon(ledger: LedgerLocation) -> Lease:
    until = time.monotonic() + LONGEST_WAIT_S
    while (lease := acquire(ledger)) is None:
        if time.monotonic() > until:
            raise held_by_another(ledger)
        await asyncio.sleep(POLL_S)
    return lease


def _check_readable(outbox: Outbox, session_id: str) -> None:
    """Raise unless the ledger contains the session and Trace can read back everything that may have been sent to it."""
    with closing(outbox.session(session_id)) as rows:
        exists = next(rows, None) is not None
    if not exists:
        raise NotFound(
            f"session {session_id!r} not found in the ledger",
            "`aorch contracts list` shows contracts with their sessions.",
        )
    if outbox.any_deleted():
        raise ServiceFailed(
            f"contracts were deleted from the ledger, so the size of session {session_id!r} in Trace is not known",
            "It is not read, because reading a large session breaks Trace. `aorch trace status` shows what was delivered.",
        )
    _, reach = outbox.reached()
    with closing(outbox.sent_to(session_id, reach)) as sent:
        if any(mark_of(row) is not None for row in sent):
            raise ServiceFailed(
                f"contracts of session {session_id!r} were erased here, so its size in Trace is not known",
                "It is not read, because reading a large session breaks Trace. `aorch trace status` shows what was delivered.",
            )
    with closing(outbox.sent_to(session_id, reach)) as sent:
        if not can_be_read_back(sent):
            raise ServiceFailed(
                f"session {session_id!r} may have passed 64 KiB in Trace, which reads back no larger session",
                "It is not read, because reading a large session breaks Trace."
                " `aorch trace status` shows what was delivered.",
            )


def _difference(expected: list[Record], rows: list[Record], events: list[Event]) -> dict[str, Any]:
    from_aorch = [
        each for each in events if each.get("event_type") in EVENTS.values() and isinstance(each.get("data"), dict)
    ]
    there = {str(each["data"].get("idempotency_key")): each["data"] for each in from_aorch}
    times = Counter(str(each["data"].get("idempotency_key")) for each in from_aorch)
    here = {key(row, EVENTS[row.contract_type]): row for row in rows}
    different = [
        {"contract_id": here[name].contract_id, "fields": fields}
        for name in here.keys() & there.keys()
        if (fields := _different_fields(here[name], there[name]))
    ]
    found = {
        "missing_there": [row.contract_id for row in expected if key(row, EVENTS[row.contract_type]) not in there],
        "missing_here": [name.split(":")[0] for name in there if name not in here],
        "different": sorted(different, key=lambda each: str(each["contract_id"])),
        "doubled": [name.split(":")[0] for name, count in times.items() if count > 1],
        "out_of_order": _out_of_order([name for name in there if name in here], list(here)),
    }
    equal = len(here.keys() & there.keys()) - len(different)
    return {"differs": any(found.values()), "equal": equal, **found, "others": len(events) - len(from_aorch)}


def _different_fields(row: Record, delivered: dict[str, Any]) -> list[str]:
    """The names of the fields that differ, among those that never change after writing."""
    expected = event_data(row)
    fields = [field for field in AS_WRITTEN if delivered.get(field) != expected[field]]
    if "to_agent" in fields and delivered.get("to_agent") is None and "queue" in jsonio.decode(row.metadata):
        fields.remove("to_agent")  # it was delivered while it was queued, and an agent has claimed it since
    return fields


def _out_of_order(there: list[str], here: list[str]) -> list[str]:
    place = {name: number for number, name in enumerate(here)}
    late, furthest = [], -1
    for name in there:
        if place[name] < furthest:
            late.append(name.split(":")[0])
        furthest = max(furthest, place[name])
    return late
