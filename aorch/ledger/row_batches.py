"""An INSERT of one row, as INSERTs of several rows: a row then takes half the time of a statement of its own."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

SIZES = (32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Numbers of rows that one statement inserts. They are few, so that the database prepares few statements."""


def in_batches(insert: str, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
    """As few statements as possible that insert `rows`, each with its values. `insert` inserts one row."""
    done = 0
    for size in SIZES:
        while len(rows) - done >= size:
            yield _of_rows(insert, size), list(chain.from_iterable(rows[done : done + size]))
            done += size


@cache
def _of_rows(insert: str, count: int) -> str:
    """`insert` for that number of rows."""
    columns, _, values = insert.rpartition("VALUES")
    return f"{columns}VALUES {', '.join([values] * count)}"
