"""The header Retry-After: what a server may send, and what it should not."""

import pytest

from aorch.net.retry_after import LONGEST_S, retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("-5", 0),
        ("soon", 0),
        ("9" * 400, LONGEST_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_S),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0),
    ],
)
def test_a_time_is_never_negative_and_never_infinite(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds
