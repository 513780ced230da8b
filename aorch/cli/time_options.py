"""Times on the command line: `2026-01-31T09:00:00Z`, `yesterday`, `1d12h`, `"2 hours"`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

PAST_HINT = (
    "Write a time (2026-01-31T09:00:00Z; UTC if no zone is given), an age (90s, 2h, 1d12h, '2 weeks'; 30d for a month), "
    "today or yesterday."
)
FUTURE_HINT = (
    "Write a time (2026-01-31T09:00:00Z; UTC if no zone is given), a delay (90s, 2h, 1d12h, '2 weeks'; 30d for a month) "
    "or tomorrow."
)

_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
"""Days that start at local midnight, as offsets from today."""


def past_time(option: str, text: str) -> "datetime":
    """The time in `text`, or the time that long ago. Raises UsageError, which names `option`."""
    return _time(option, text, -1)


def future_time(option: str, text: str) -> "datetime":
    """The time in `text`, or the time that far ahead. Raises UsageError, which names `option`."""
    return _time(option, text, 1)


def expiry_time(option: str, text: str) -> "datetime":
    """Like `future_time`. Also raises UsageError for a time that is not in the future."""
    from datetime import UTC, datetime

    from aorch.errors import UsageError

    moment = future_time(option, text)
    if moment <= datetime.now(UTC):
        raise UsageError(f"{option} {text!r} must be in the future", "Give a later time.")
    return moment


def _time(option: str, text: str, direction: int) -> "datetime":
    from datetime import UTC, datetime

    from aorch.clock import from_rfc3339
    from aorch.errors import UsageError

    words = text.strip().lower()
    try:
        if words == "now":
            return datetime.now(UTC)
        if words in _DAYS:
            return _midnight(_DAYS[words])
        if (
            length := _duration(words.removesuffix(" ago") if direction < 0 else words.removeprefix("in "))
        ) is not None:
            return datetime.now(UTC) + direction * length
        return from_rfc3339(words.upper())
    except (ValueError, OverflowError):
        kind, hint = ("an age", PAST_HINT) if direction < 0 else ("a delay", FUTURE_HINT)
        raise UsageError(f"{option} {text!r} is neither a time nor {kind}", hint) from None


def _midnight(days: int) -> "datetime":
    from datetime import UTC, datetime, timedelta

    day = datetime.now().astimezone().date() + timedelta(days=days)
    return datetime(day.year, day.month, day.day).astimezone().astimezone(UTC)


def _duration(text: str) -> "timedelta | None":
    """`1d12h`, `2 hours` or `1 day, 3 h` as a timedelta; None if `text` is not a duration."""
    from datetime import timedelta

    from aorch.config.quantities import duration_s

    seconds = duration_s(text)
    return None if seconds is None else timedelta(seconds=seconds)
