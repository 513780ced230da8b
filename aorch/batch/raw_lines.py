"""The lines of a batch as bytes, read from a file, a pipe or a terminal."""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass

from aorch.errors import UsageError

LONGEST_LINE = 16 * 1024 * 1024
"""Maximum size of a line in bytes; a longer line is invalid."""
READ_SIZE = 64 * 1024


@dataclass(frozen=True)
class LongLine:
    """A line over the limit, whose text is dropped.

    `odd_quotes`: it has an odd number of quotes, so a quoted CSV cell starts or ends in it.
    """

    odd_quotes: bool


NumberedLines = list[tuple[int, bytes | LongLine]]
"""Lines with their numbers, from 1."""


def read_lines(descriptor: int) -> Iterator[NumberedLines]:
    """Yield the lines of `descriptor` without newlines and byte order mark; each list holds the lines of one read.

    Raises UsageError if `descriptor` cannot be read.
    """
    pending: list[bytes] = []
    number, length, quotes = 1, 0, 0

    def line(last: bytes) -> bytes | LongLine:
        text = b"".join([*pending, last]) if pending else last
        return text if length + len(last) <= LONGEST_LINE else LongLine((quotes + text.count(b'"')) % 2 == 1)

    for data in _read_chunks(descriptor):
        *whole, rest = data.split(b"\n")
        complete: NumberedLines = []
        for part in whole:
            complete.append((number, line(part)))
            number, length, quotes = number + 1, 0, 0
            pending.clear()
        if complete:
            yield complete
        length += len(rest)
        if rest:
            pending.append(rest)
        if length > LONGEST_LINE:
            quotes += sum(part.count(b'"') for part in pending)
            pending.clear()
    if length:
        yield [(number, line(b""))]


def _read_chunks(descriptor: int) -> Iterator[bytes]:
    """Yield the data as it arrives. A leading byte order mark is removed, even if it arrives in several reads."""
    start: bytes | None = b""
    try:
        while data := os.read(descriptor, READ_SIZE):
            if start is not None:
                data = start + data
                start = data if codecs.BOM_UTF8.startswith(data) and data != codecs.BOM_UTF8 else None
                data = b"" if start else data.removeprefix(codecs.BOM_UTF8)
            if data:
                yield data
        if start:
            yield start
    except OSError as error:
        raise UsageError(f"cannot read the batch: {error.strerror}") from error
