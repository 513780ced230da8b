"""Moments as a person writes them: a time, or how far off it is."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

TIME_HELP = "a time (2026-01-31T09:00:00Z; without a zone UTC) or an age (90s, 15m, 1h, 2d, 1w)"
AHEAD_HELP = "a time (2026-01-31T09:00:00Z; without a zone UTC) or how long from now (90s, 15m, 1h, 2d, 1w)"

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def ago(option: str, text: str) -> "datetime":
    """The time that `text` names, or that long ago. Raises UsageError."""
    return _moment(option, text, -1, "an age", TIME_HELP)


def ahead(option: str, text: str) -> "datetime":
    """The time that `text` names, or that long from now. Raises UsageError."""
    return _moment(option, text, 1, "a span", AHEAD_HELP)


def _moment(option: str, text: str, direction: int, kind: str, grammar: str) -> "datetime":
    from datetime import UTC, datetime, timedelta

    from aorch.clock import from_rfc3339
    from aorch.errors import UsageError

    try:
        if span := _SPAN.fullmatch(text.strip()):
            return datetime.now(UTC) + direction * timedelta(seconds=float(span[1]) * _SECONDS[span[2]])
        return from_rfc3339(text.strip())
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r} is neither a time nor {kind}", f"Write {grammar}.") from None
