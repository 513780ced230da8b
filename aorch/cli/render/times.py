"""Times for people: local time with its zone, or an age. Machine output has UTC (RFC 3339) instead."""

from datetime import UTC, datetime

from aorch.cli.streams import is_terminal, stdout
from aorch.clock import from_rfc3339

_UNITS = (("s", 60), ("m", 60), ("h", 24), ("d", 30))


def age(moment: datetime | str) -> str:
    """`42s ago`, `5m ago`, `3h ago`, `12d ago`; the local date if it is older or in the future."""
    moment = _aware(moment)
    left = int((datetime.now(UTC) - moment).total_seconds())
    if left < 0:
        return f"{moment.astimezone():%Y-%m-%d}"
    for unit, size in _UNITS:
        if left < size:
            return f"{left}{unit} ago"
        left //= size
    return f"{moment.astimezone():%Y-%m-%d}"


def local_time(moment: datetime | str, *, seconds: bool = True) -> str:
    """`2026-01-31 10:00:05 CET`."""
    return f"{_aware(moment).astimezone():{'%Y-%m-%d %H:%M:%S %Z' if seconds else '%Y-%m-%d %H:%M %Z'}}"


def local_clock(moment: datetime | str) -> str:
    """`10:00:05 CET`."""
    return f"{_aware(moment).astimezone():%H:%M:%S %Z}"


def shown_time(text: str) -> str:
    """`text` (RFC 3339) as local time if standard output is a terminal; unchanged otherwise."""
    return local_time(text) if text and is_terminal(stdout()) else text


def _aware(moment: datetime | str) -> datetime:
    if isinstance(moment, str):
        return from_rfc3339(moment)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
