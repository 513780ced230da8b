"""The record: the one form of a contract in memory. It is converted once at each boundary, by name.

From and to SQLite: `Record(*row)` and the record itself, since the generated statements select and take its fields in their
order (a test fails if not). To JSON: `as_dict`. From a file: contract_files.py. schema.py is only for migrations and the
generator: an instance of its class costs 36 µs, of the 145 that a durable request may take in all; a record costs less than 1.
"""

import sys
from collections.abc import Mapping
from operator import attrgetter
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
    """A contract as it is stored: times are RFC 3339 text; `payload`, `result` and `metadata` are JSON text."""

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

    def characters(self) -> int:
        """The number of characters of all its fields."""
        return sum([len(text) for text in self if text is not None])

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON form, the same in every answer, export and file. Raises InvalidJSON.

        (Only another program can have stored invalid JSON.)
        """
        form = self.texts()
        form["payload"] = jsonio.decode(self.payload)
        form["result"] = None if self.result is None else jsonio.decode(self.result)
        form["metadata"] = jsonio.decode(self.metadata)
        return form

    def texts(self) -> dict[str, Any]:
        """The fields of the JSON form as they are stored: `payload`, `result` and `metadata` as JSON text."""
        form = self._asdict()
        del form["claimed_by"]
        return form


FIELDS = tuple(name for name in Record._fields if name != "claimed_by")
"""The names in a contract's JSON form, in order."""
JSON_FIELDS = ("payload", "result", "metadata")
"""The fields that are stored as JSON text."""
NEW_REQUEST_FIELDS = tuple(
    name for name in Record._fields if name not in ("completed_at", "result", "error", "request_id")
)
"""The fields that a new REQUEST can have; the others are set when it ends."""
RESPONSE_FIELDS = tuple(name for name in Record._fields if name not in ("contract_type", "payload", "claimed_by"))
"""The fields that vary among RESPONSEs written by aorch."""
ROOT_REQUEST_FIELDS = tuple(name for name in NEW_REQUEST_FIELDS if name != "parent_id")
ROOT_RESULT_FIELDS = tuple(name for name in RESPONSE_FIELDS if name not in ("parent_id", "error"))
"""The same fields for an exchange without a parent, and for its RESPONSE without an error."""
new_request_values, response_values = attrgetter(*NEW_REQUEST_FIELDS), attrgetter(*RESPONSE_FIELDS)
root_request_values, root_result_values = attrgetter(*ROOT_REQUEST_FIELDS), attrgetter(*ROOT_RESULT_FIELDS)
"""These fields of a record, in that order.

A row takes 20 µs: 0.2 µs for each string, 0.6 µs for each None, which Python adapts.
"""


def object_in(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under that name in a contract's metadata; empty if there is none.

    An imported contract may contain any value there.
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
    """`value` if it is a finite number, otherwise None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
        return None
    return float(value)
