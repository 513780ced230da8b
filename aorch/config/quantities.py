"""Durations and sizes as people write them: `90d`, `1d12h`, `2 weeks`; `2GB`, `500 MiB`."""

import re

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)[\s,]*")
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
UNITS = "seconds, minutes, hours, days or weeks; write 30d for a month"
"""The units of a duration, in words."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def duration_s(text: str) -> float | None:
    """The seconds in `1d12h`, `2 hours` or `1 day, 3 h`, in any case; None if `text` is not a duration."""
    text, position, seconds = text.strip().lower(), 0, 0.0
    while part := _PART.match(text, position):
        if part[2] not in _SECONDS:
            return None
        seconds += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    return seconds if text and position == len(text) else None


def size_bytes(text: str) -> int | None:
    """The bytes in `2GB` (2,000,000,000), `2 GiB` (2,147,483,648) or `5000`, in any case; None if `text` is not a size."""
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or (found[3] and not found[2]):
        return None
    return int(float(found[1]) * (1024.0 if found[3] else 1000.0) ** _POWERS[found[2]])
