"""The time as HTTP writes it (RFC 9110, section 5.6.7), made once a second."""

import time
from email.utils import formatdate


def http_date() -> str:
    """This second."""
    global _this_second
    second = int(time.time())
    if second != _this_second[0]:
        _this_second = (second, formatdate(second, usegmt=True))
    return _this_second[1]


_this_second = (-1, "")
