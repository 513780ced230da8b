"""What Trace is told of a contract: its event, and for a REQUEST the provenance node of the exchange that it begins.

Each is a Step with a place in the one order of deliveries. A contract's event has the place 2 · position, the node the one
after it; so all of a contract is done at 2 · position + 1.
"""

import hashlib
import json as plain_json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.record import REQUEST, RESPONSE, Row

NODE = "provenance.node"
EVENTS = {REQUEST: "contract.request", RESPONSE: "contract.response"}
LARGEST = 4096
"""Bytes of a payload, a result (as JSON) or an error that are told as they are: Trace does not read back large sessions."""
LONGEST_ID = 4000
"""Characters of a session id in a path; servers take about twice that for the whole of it."""
KEPT = 500
"""Characters of a larger error that are told."""
LARGEST_READ = 64 * 1024
"""Bytes of events (or nodes) beyond which Trace reads a session back as empty. From about 300 KiB on, reading it breaks Trace:
every later answer belongs to an earlier request.
"""
_BESIDE = 150
"""Bytes that Trace adds to an event: its id, its type and its time."""
AS_WRITTEN = ("contract_id", "from_agent", "to_agent", "capability", "payload", "result", "error", "request_id",
              "parent_id", "created_at")  # fmt: skip
"""What of an event's `data` never changes after writing; `status` and `completed_at` of a REQUEST do."""


class Step(NamedTuple):
    """One delivery: a contract's event, or the node of a REQUEST's exchange. `kind` is the event's type, or NODE."""

    position: int
    kind: str
    row: Row

    @property
    def place(self) -> int:
        """Its place in the order of deliveries."""
        return 2 * self.position + (self.kind == NODE)


def steps(position: int, row: Row) -> Iterator[Step]:
    """What is to be delivered of a contract, in order: of a REQUEST the event and the node, of a RESPONSE the event."""
    yield Step(position, EVENTS[row.contract_type], row)
    if row.contract_type == REQUEST:
        yield Step(position, NODE, row)


def key(row: Row, kind: str) -> str:
    """The idempotency key that stands in `data`."""
    return f"{row.contract_id}:{kind}"


def event_data(row: Row) -> dict[str, Any]:
    """A contract as the `data` of its event; what it says at delivery, so a REQUEST may still be in progress."""
    return {
        "idempotency_key": key(row, EVENTS[row.contract_type]),
        "contract_id": row.contract_id,
        "contract_type": row.contract_type,
        "from_agent": row.from_agent,
        "to_agent": row.to_agent,
        "capability": row.capability,
        "payload": _small(row.payload),
        "status": row.status,
        "result": None if row.result is None else _small(row.result),
        "error": _short(row.error),
        "request_id": row.request_id,
        "parent_id": row.parent_id,
        "created_at": row.created_at,
        "completed_at": row.completed_at,
    }


def node(row: Row) -> dict[str, Any]:
    """The provenance node of the exchange that the REQUEST `row` begins; its parent is the one on whose behalf it was."""
    return {
        "session_id": row.session_id,
        "node_id": row.contract_id,
        "parent_id": row.parent_id,
        "modifiers": {},  # Trace takes numbers only here
        "metadata": {
            "idempotency_key": key(row, NODE),
            "capability": row.capability,
            "from_agent": row.from_agent,
            "to_agent": row.to_agent,
            "created_at": row.created_at,
        },
    }


def can_be_read_back(rows: Iterable[Row], *, nodes: bool = False) -> bool:
    """Whether the events (or the nodes) of `rows`, all that may have been sent to one session, fit in LARGEST_READ.

    Trace reads its own backend's answer, in which the events are JSON inside a JSON string, with all but ASCII escaped and
    perhaps indented. So that is what is counted: a session that may not fit must never be read.
    """
    size = 0
    for row in rows:
        if not nodes or row.contract_type == REQUEST:
            stored = node(row) if nodes else event_data(row)
            size += len(plain_json.dumps(plain_json.dumps([[[stored]]], indent=2))) + _BESIDE
        if size > LARGEST_READ:
            return False
    return True


def not_carried(session_id: str) -> str | None:
    """Why Trace has no path for that session; None where it has one."""
    if "/" in session_id:
        return "its session id holds a slash, which Trace answers with 404"
    if session_id in (".", ".."):
        return f"its session id is {session_id!r}, which no path can hold"
    if len(quote(session_id, safe="")) > LONGEST_ID:
        return f"its session id is longer than {LONGEST_ID} characters, percent-encoded"
    return None


def _small(text: str) -> Any:
    """The value of that JSON text, or its size and SHA-256 where it is large."""
    data = text.encode()
    if len(data) > LARGEST:
        return {"omitted": True, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    try:
        return jsonio.decode(text)
    except InvalidJSON:  # another program wrote it: it is told as it stands
        return text


def _short(text: str | None) -> str | None:
    if text is None or len(data := text.encode()) <= LARGEST:
        return text
    return f"{text[:KEPT]}… ({len(data)} bytes in all, SHA-256 {hashlib.sha256(data).hexdigest()})"
