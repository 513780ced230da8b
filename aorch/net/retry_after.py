"""The header `Retry-After`."""

import email.utils
import time
from datetime import UTC

LONGEST_S = 365 * 86400.0
"""A longer time (a number of 400 digits is infinite) counts as this one."""


def retry_after_s(value: str) -> float:
    """The seconds in a Retry-After (RFC 9110, section 10.2.3: a number of seconds, or a date), at most LONGEST_S;
    0 if it is invalid.
    """
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_S)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:  # -0000: HTTP dates are in UTC
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, moment.timestamp() - time.time()), LONGEST_S)
