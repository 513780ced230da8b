"""The pattern of an error: its text without what differs from one occurrence to the next, so that equal errors can be counted."""

import re

LONGEST = 240
"""Maximum length of a pattern, and of the part of an error that it is made from, in characters."""
_VARIABLE = re.compile(
    r"""
      \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b   # UUID
    | \b[0-7][0-9A-HJKMNP-TV-Z]{25}\b                                     # ULID
    | \b0x[0-9a-f]+\b                                                     # address
    | \b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b                # hash
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_NUMBER = re.compile(r"\d+(?:[.,_]\d+)*")


def error_pattern(error: str) -> str:
    """`error` on one line, with `<id>` for ids, hashes and addresses, `<time>` for times, and `<n>` for numbers.

    Two errors count as the same if their patterns are equal.
    """
    text = " ".join(error[: 4 * LONGEST].split())[:LONGEST]
    return _NUMBER.sub("<n>", _VARIABLE.sub("<id>", _TIME.sub("<time>", text)))
