"""A contract as a plain row, and the scalars in it: ids, times, JSON text.

An instance of the table's class costs 36 µs, of the 145 that a durable request may take in all; a row costs less than one.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aorch import json

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_LOW = (1 << 40) - 1
"""The bits of an id's last eight characters."""


PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, INTERRUPTED = (
    "pending",
    "in_progress",
    "completed",
    "failed",
    "cancelled",
    "interrupted",
)
REQUEST, RESPONSE = "REQUEST", "RESPONSE"


class Row(NamedTuple):
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
            "payload": json.decode(self.payload),
            "result": None if self.result is None else json.decode(self.result),
            "metadata": json.decode(self.metadata),
        }


FIELDS = Row._fields[:-1]
"""The names in a contract's JSON form, in order."""


def object_in(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under that name in a contract's metadata; empty if there is none.

    An imported contract may have anything there.
    """
    found = metadata.get(name)
    return found if isinstance(found, dict) else {}


def insisted_on(metadata: Mapping[str, Any], to_agent: str | None) -> str | None:
    """The agent that the caller of a REQUEST insisted on: `to_agent` is also the one that was chosen, or that claimed it."""
    if "routing" in metadata:
        return to_agent if object_in(metadata, "routing").get("chosen") == "asked for by id" else None
    queue = object_in(metadata, "queue")
    return text_in(queue, "agent_id") if "agent_id" in queue else to_agent


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


class Ids:
    """ULIDs (48 bits of milliseconds, 80 of chance) that increase within this process.

    Within one millisecond, and when the clock steps back, the last id is counted up by one, as the specification's
    monotonic form says. python-ulid makes the same ids but costs 50 ms to import and has no monotonic form.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ms, self._low, self._beginning = -1, 0, ""
        self._chances: list[bytes] = []

    def next(self) -> str:
        """A new id, greater than every one before."""
        now_ms = int(self._clock() * 1000)
        with self._lock:
            if now_ms > self._ms:
                if not self._chances:  # many at a time: each look at the system's lets go of the interpreter's lock
                    drawn = os.urandom(10 * 64)
                    self._chances = [drawn[start : start + 10] for start in range(0, len(drawn), 10)]
                chance = int.from_bytes(self._chances.pop(), "big")
                top, low = (
                    now_ms << 40 | chance >> 40,
                    (chance & _LOW) >> 1,
                )  # room to count up by half a million million
                self._ms, self._low = now_ms, low
                self._beginning = "".join([_PAIRS[top >> shift & 1023] for shift in range(80, -1, -10)])
            else:
                self._low = low = self._low + 1
            beginning = self._beginning
        return beginning + _PAIRS[low >> 30] + _PAIRS[low >> 20 & 1023] + _PAIRS[low >> 10 & 1023] + _PAIRS[low & 1023]

    def forget(self) -> None:
        """Begin anew, as a forked child must: it and its parent would count up from the same id."""
        Ids.__init__(self, self._clock)


_ids = Ids()
os.register_at_fork(after_in_child=_ids.forget)
new_id = _ids.next
"""A new ULID, greater than any that this process made before."""
