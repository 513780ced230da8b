"""The content of deliveries: for each contract an event, and for a REQUEST also the provenance node of its exchange. Each
of them is a Step. Steps have numbers in the order of delivery: 2 · position is the event of a contract, 2 · position + 1 is
its node. A contract without a node is done at 2 · position + 1 too.
"""

import hashlib
import json as plain_json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.contract_metadata import mark_of
from aorch.ledger.record import REQUEST, RESPONSE, Record

NODE = "provenance.node"
EVENTS = {REQUEST: "contract.request", RESPONSE: "contract.response"}
LARGEST = 4096
"""Bytes. Longer payloads, results (as JSON) and errors are shortened, because Trace does not read back large sessions."""
LONGEST_ID = 4000
"""Maximum length of a session ID in a URL path. Servers accept about twice that for the whole path."""
KEPT = 500
"""Number of characters to send of an error that is too long."""
LARGEST_READ = 64 * 1024
"""Size in bytes of events (or nodes) above which Trace reads a session back as empty.

Reading a session of 300 KiB or more breaks Trace: every later answer belongs to an earlier request.
"""
_ADDED = 150
"""Bytes that Trace adds to an event: its ID, type and time."""
AS_WRITTEN = ("contract_id", "from_agent", "to_agent", "capability", "payload", "result", "error", "request_id",
              "parent_id", "created_at")  # fmt: skip
"""The keys of an event's `data` that never change after the contract was written (unlike `status` and `completed_at`)."""


class Step(NamedTuple):
    """One delivery. `kind` is the type of an event, or NODE for a provenance node."""

    position: int
    kind: str
    row: Record

    @property
    def number(self) -> int:
        """Its number in the order of deliveries."""
        return 2 * self.position + (self.kind == NODE)


def steps(position: int, row: Record) -> Iterator[Step]:
    """The steps of a contract, in order: the event, then the node if it is a REQUEST."""
    yield Step(position, EVENTS[row.contract_type], row)
    if row.contract_type == REQUEST:
        yield Step(position, NODE, row)


def key(row: Record, kind: str) -> str:
    """The idempotency key of a step."""
    return f"{row.contract_id}:{kind}"


def event_data(row: Record) -> dict[str, Any]:
    """A contract as the `data` of its event, as it is at the time of delivery: a REQUEST may still be in progress."""
    return {
        "idempotency_key": key(row, EVENTS[row.contract_type]),
        "contract_id": row.contract_id,
        "contract_type": row.contract_type,
        "from_agent": row.from_agent,
        "to_agent": row.to_agent,
        "capability": row.capability,
        "payload": _shortened_json(row.payload),
        "status": row.status,
        "result": None if row.result is None else _shortened_json(row.result),
        "error": _shortened_error(row.error),
        "request_id": row.request_id,
        "parent_id": row.parent_id,
        "created_at": row.created_at,
        "completed_at": row.completed_at,
    }


def node(row: Record) -> dict[str, Any]:
    """The provenance node of the REQUEST `row`. Its parent is the REQUEST whose agent made this call."""
    return {
        "session_id": row.session_id,
        "node_id": row.contract_id,
        "parent_id": row.parent_id,
        "modifiers": {},  # Trace accepts only numbers here
        "metadata": {
            "idempotency_key": key(row, NODE),
            "capability": row.capability,
            "from_agent": row.from_agent,
            "to_agent": row.to_agent,
            "created_at": row.created_at,
        },
    }


def can_be_read_back(rows: Iterable[Record], *, nodes: bool = False) -> bool:
    """Whether the events (or nodes) of `rows` fit in LARGEST_READ; `rows` is everything that may have been sent to a session.

    Trace reads the response of its own backend, which contains the events as JSON inside a JSON string, with all non-ASCII
    characters escaped and possibly indented. The size is counted in that form, because a session that may not fit must never
    be read. For the same reason it is false for a session with erased contracts, which may be larger in Trace.
    """
    size = 0
    for row in rows:
        if mark_of(row) is not None:
            return False
        if not nodes or row.contract_type == REQUEST:
            stored = node(row) if nodes else event_data(row)
            size += len(plain_json.dumps(plain_json.dumps([[[stored]]], indent=2))) + _ADDED
        if size > LARGEST_READ:
            return False
    return True


def unfit_for_path(session_id: str) -> str | None:
    """Why Trace has no URL path for a session; None if it has one."""
    if "/" in session_id:
        return "its session ID contains a slash, which Trace answers with 404"
    if session_id in (".", ".."):
        return f"its session ID {session_id!r} cannot be part of a URL path"
    if len(quote(session_id, safe="")) > LONGEST_ID:
        return f"its session ID is longer than {LONGEST_ID} characters when percent-encoded"
    return None


def _shortened_json(text: str) -> Any:
    """The value of a JSON text; if the text is large, only its size and SHA-256."""
    data = text.encode()
    if len(data) > LARGEST:
        return {"omitted": True, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    try:
        return jsonio.decode(text)
    except InvalidJSON:  # another program wrote it
        return text


def _shortened_error(text: str | None) -> str | None:
    if text is None or len(data := text.encode()) <= LARGEST:
        return text
    return f"{text[:KEPT]}… ({len(data)} bytes in all, SHA-256 {hashlib.sha256(data).hexdigest()})"
