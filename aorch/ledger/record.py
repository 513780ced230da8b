"""The record: a contract in memory, with named fields.

An instance of the table's class costs 36 µs, of the 145 that a durable request may take in all; a record costs less than one.
"""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from aorch import jsonio

PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, INTERRUPTED = (
    "pending",
    "in_progress",
    "completed",
    "failed",
    "cancelled",
    "interrupted",
)
REQUEST, RESPONSE = "REQUEST", "RESPONSE"
ORCHESTRATOR = "orchestrator"
"""The agent id in contracts that no agent wrote or receives: that of aorch itself, and of a caller that names no agent."""


class Record(NamedTuple):
    """The columns of a contract as they are written: times RFC 3339 text, `payload`, `result` and `metadata` JSON text."""

    contract_id: str
    session_id: str
    contract_type: str
    from_agent: str
    to_agent: str | None
    capability: str
    payload: str
    status: str
    created_at: str
    completed_at: str | None = None
    result: str | None = None
    error: str | None = None
    metadata: str = "{}"
    request_id: str | None = None
    parent_id: str | None = None
    claimed_by: str | None = None

    def length(self) -> int:
        """How many characters it has."""
        return sum([len(text) for text in self if text is not None])

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON form, the same in every answer, export and file. `claimed_by` is not part of it."""
        return {
            **dict(zip(FIELDS, self, strict=False)),
            "payload": jsonio.decode(self.payload),
            "result": None if self.result is None else jsonio.decode(self.result),
            "metadata": jsonio.decode(self.metadata),
        }


FIELDS = Record._fields[:-1]
"""The names in a contract's JSON form, in order."""


def object_in(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under that name in a contract's metadata; empty if there is none.

    An imported contract may have anything there.
    """
    found = metadata.get(name)
    return found if isinstance(found, dict) else {}


def text_in(metadata: Mapping[str, Any], name: str) -> str | None:
    """The text under that name in a contract's metadata; None if there is none."""
    found = metadata.get(name)
    return found if isinstance(found, str) else None


def number_in(metadata: Mapping[str, Any], name: str) -> float | None:
    """The finite number under that name in a contract's metadata; None if there is none."""
    return finite(metadata.get(name))


def finite(value: object) -> float | None:
    """`value` as a finite number, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
        return None
    return float(value)
