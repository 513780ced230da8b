"""Times: UTC, RFC 3339 with milliseconds and `Z`, everywhere."""

import time
from datetime import UTC, datetime

from aorch.errors import UsageError


def rfc3339(moment: datetime) -> str:
    """`moment` in UTC with milliseconds and `Z`."""
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def from_rfc3339(text: str) -> datetime:
    """The UTC time in `text`, with its zone; a time without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def utc(text: str) -> str:
    """The RFC 3339 time `text` in the form that contracts use. Raises UsageError if it is invalid."""
    try:
        return rfc3339(from_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"invalid time: {text!r}", "Write it like 2026-01-31T09:00:00Z.") from error


def seconds_until(text: str) -> float:
    """The seconds from now until `text` (RFC 3339); negative if that time has passed."""
    return from_rfc3339(text).timestamp() - time.time()


def now() -> str:
    """The current time, in the form that contracts use."""
    global _this_second
    second, ms = divmod(time.time_ns() // 1_000_000, 1000)
    if second != _this_second[0]:
        _this_second = (second, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.")
    return f"{_this_second[1]}{ms:03d}Z"


_this_second = (-1, "")
