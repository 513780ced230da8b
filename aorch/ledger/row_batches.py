"""A statement with one row of VALUES, as one with several: a row then takes half the time of a statement of its own."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

SIZES = (32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Numbers of rows that one statement has. They are few, so that the database prepares few statements."""
_ROW = re.compile(r"(?<=VALUES)\s+(\(.*?\))", re.DOTALL)


def in_batches(sql: str, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
    """As few statements as possible that do for all `rows` what `sql` does for one, each with its values."""
    done = 0
    for size in SIZES:
        while len(rows) - done >= size:
            yield _of_rows(sql, size), list(chain.from_iterable(rows[done : done + size]))
            done += size


@cache
def _of_rows(sql: str, count: int) -> str:
    """`sql` for that number of rows."""
    return _ROW.sub(lambda found: " " + ", ".join([found[1]] * count), sql)
