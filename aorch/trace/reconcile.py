"""A session as Trace has it against the ledger: what differs."""

from collections import Counter
from contextlib import closing
from typing import Any

from aorch import jsonio
from aorch.config import config_file
from aorch.config.settings import Config
from aorch.errors import NotFound, ServiceFailed, UsageError
from aorch.ledger.outbox import Outbox
from aorch.ledger.record import Row
from aorch.trace.operations import speaking
from aorch.trace.payload import AS_WRITTEN, EVENTS, NODE, can_be_read_back, event_data, key, not_carried

Event = dict[str, Any]


async def compare(config: Config, session_id: str) -> dict[str, Any]:
    """Read that session back from Trace and say what differs. Nothing is changed, here or there.

    `equal` (how many contracts), `due` and `parked` (contract ids that Trace is not expected to have), and what differs:
    `missing_there`, `missing_here` (contract ids), `different` (`contract_id`, `fields`), `doubled` (contract ids), and
    `out_of_order` (those that stand after a later one). `others`: events that are not aorch's. `differs` sums it up.

    Raises UsageError where Trace is switched off or cannot carry the id, NotFound where the ledger has no such session (how
    large it is in Trace is not known then), ServiceFailed where Trace cannot read it back, ServiceUnreachable and LedgerError.
    """
    if not config.trace_url:
        raise UsageError("Trace is switched off (`off`)", "Say where it is by TRACE_URL or [trace] url in aorch.toml.")
    if reason := not_carried(session_id):
        raise UsageError(f"session {session_id!r} cannot be read back: {reason}")
    if not config_file.exists(config.ledger):
        raise NotFound(f"the ledger {config.ledger} is not there yet")
    with Outbox(config.ledger) as outbox:
        _check_readable(outbox, session_id)
        async with speaking(config, outbox) as trace:
            _check_readable(outbox, session_id)  # again: another process may have delivered meanwhile
            events = await trace.events(session_id)
            rows, (reached, _), parked = list(outbox.session(session_id)), outbox.reached(), outbox.parked()
    passed_over = {each.contract_id for each in parked if each.kind != NODE}
    expected = [row for position, row in rows if position <= reached and row.contract_id not in passed_over]
    if expected and not events:
        raise ServiceFailed(
            f"Trace reads back nothing of session {session_id!r}, to which {len(expected)} contracts were delivered",
            "It does so with any session that has passed 64 KiB: that proves no loss.",
        )
    found = _difference(expected, [row for _, row in rows], events)
    found["due"] = [row.contract_id for position, row in rows if position > reached]
    found["parked"] = [row.contract_id for _, row in rows if row.contract_id in passed_over]
    return {"session_id": session_id, **found}


def _check_readable(outbox: Outbox, session_id: str) -> None:
    """Raise unless the session is here, and all that may have been sent of it is small enough for Trace to read back."""
    with closing(outbox.session(session_id)) as rows:
        known = next(rows, None) is not None
    if not known:
        raise NotFound(f"the ledger has no session {session_id!r}", "See `aorch contracts list`.")
    if outbox.any_deleted():
        raise ServiceFailed(
            f"contracts were deleted from this ledger, so the size of session {session_id!r} in Trace is not known",
            "It is not read: reading a large session breaks Trace. `aorch trace status` shows what was delivered.",
        )
    _, reach = outbox.reached()
    with closing(outbox.sent_to(session_id, reach)) as sent:
        if not can_be_read_back(sent):
            raise ServiceFailed(
                f"session {session_id!r} may have passed 64 KiB in Trace, which reads back no larger session",
                "It is not asked to: reading a large session breaks Trace. `aorch trace status` shows what was delivered.",
            )


def _difference(expected: list[Row], rows: list[Row], events: list[Event]) -> dict[str, Any]:
    told = [each for each in events if each.get("event_type") in EVENTS.values() and isinstance(each.get("data"), dict)]
    data = {str(each["data"].get("idempotency_key")): each["data"] for each in told}
    times = Counter(str(each["data"].get("idempotency_key")) for each in told)
    ours = {key(row, EVENTS[row.contract_type]): row for row in rows}
    different: list[dict[str, Any]] = []
    for name in ours.keys() & data.keys():
        said = event_data(ours[name])
        fields = [field for field in AS_WRITTEN if data[name].get(field) != said[field]]
        if (
            "to_agent" in fields
            and data[name].get("to_agent") is None
            and "queue" in jsonio.decode(ours[name].metadata)
        ):
            fields.remove("to_agent")  # it was delivered while it was queued, and an agent claimed it since
        if fields:
            different.append({"contract_id": ours[name].contract_id, "fields": fields})
    wrong = {
        "missing_there": [row.contract_id for row in expected if key(row, EVENTS[row.contract_type]) not in data],
        "missing_here": [name.split(":")[0] for name in data if name not in ours],
        "different": sorted(different, key=lambda each: each["contract_id"]),
        "doubled": [name.split(":")[0] for name, count in times.items() if count > 1],
        "out_of_order": _out_of_order([name for name in data if name in ours], list(ours)),
    }
    equal = len(ours.keys() & data.keys()) - len(different)
    return {"differs": any(wrong.values()), "equal": equal, **wrong, "others": len(events) - len(told)}


def _out_of_order(there: list[str], here: list[str]) -> list[str]:
    place = {name: number for number, name in enumerate(here)}
    late, reached = [], -1
    for name in there:
        if place[name] < reached:
            late.append(name.split(":")[0])
        reached = max(reached, place[name])
    return late
