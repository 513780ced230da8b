"""What the metadata of an exchange tells about its duration, its wait in the queue and its tokens.

Another program may have written any metadata: whatever cannot be read counts as not there.
"""

from contextlib import suppress
from typing import Any

import msgspec

from aorch.clock import from_rfc3339


class Measured(msgspec.Struct):
    """The fields of a RESPONSE's metadata that are measured. An imported contract may contain any value there."""

    duration_ms: Any = None
    usage: Any = None
    model: Any = None
    attempts: Any = None
    code: Any = None
    delivered: Any = None


class _Queued(msgspec.Struct):
    """The options with which a REQUEST was queued."""

    queue: Any = None


_measured_of, _queued_of = msgspec.json.Decoder(Measured).decode, msgspec.json.Decoder(_Queued).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
_NOTHING = Measured()


def measured(metadata: str | None) -> Measured:
    """The measured fields of a RESPONSE's metadata; all None if there is none, or another program wrote something else."""
    if metadata is None:
        return _NOTHING
    try:
        return _measured_of(metadata)
    except _UNREADABLE:
        return _NOTHING


def queue_wait_s(metadata: str | None, created_at: str, ended_at: str, duration_s: float) -> float | None:
    """How long a queued task that was executed for `duration_s` waited since it could have started, earlier attempts included.

    `metadata` and `created_at` are those of its REQUEST. None if a time is invalid.
    """
    try:
        waited = from_rfc3339(ended_at) - from_rfc3339(waiting_since(created_at, metadata))
    except (TypeError, ValueError, OverflowError):
        return None
    return max(waited.total_seconds() - duration_s, 0.0)


def waiting_since(created_at: str, metadata: str | None) -> str:
    """Since when a queued REQUEST could have started (RFC 3339): since it was written, or its `not_before`."""
    queue = None
    if metadata is not None:
        with suppress(*_UNREADABLE):
            queue = _queued_of(metadata).queue
    not_before = queue.get("not_before") if isinstance(queue, dict) else None
    return max(created_at, not_before) if isinstance(not_before, str) else created_at
