"""The header `Retry-After`."""

import email.utils
import time
from datetime import UTC


def retry_after_s(value: str) -> float:
    """The seconds in a Retry-After (RFC 9110, section 10.2.3: a number of seconds, or a date); 0 if it is invalid."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:  # -0000: HTTP dates are in UTC
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - time.time())
