"""Full-text search. Each database has an index of its own kind, in its module `fulltext`."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from aorch import jsonio
from aorch.errors import LedgerReadOnly
from aorch.ledger.bigrams import indexed
from aorch.ledger.composed import Composed
from aorch.ledger.database import Connection, Database, module_for, statements
from aorch.ledger.searchable import Words, words_of
from aorch.ledger.selection import PageKey, Selection
from aorch.ledger.sqlite import fulltext as pieces

__all__ = ["Progress", "among", "catch_up", "erase_fulltext", "indexed", "narrowed"]

Progress = Callable[[int, int], None]
"""Called from time to time with the amount done and the total."""
BATCH, BATCH_CHARACTERS = 500, 1_000_000
"""Contracts that one transaction indexes, and their approximate number of characters.

It holds the write lock of a file for 3 ms (measured).
"""
_KEY = PageKey(pieces.BEFORE, pieces.AFTER, pieces.OLDEST_FIRST, pieces.NEWEST_FIRST)


def narrowed(selection: Selection, text: str, contracts: str = "c") -> Selection:
    """`selection` restricted to rows whose contract (its name in the select: `c` or `m`) contains the words of `text`.

    Its pages are in the order of these contracts. Raises UsageError if there are no words.
    """
    select = Composed(selection.select, " ", pieces.JOIN.format(contracts))
    return selection._replace(select=select, key=_KEY).where(pieces.MATCHES, Words(text))


def among(selection: Selection, positions: Sequence[int]) -> Selection:
    """`selection`, which is narrowed, restricted to the contracts at these positions."""
    return selection.where(pieces.IS_AMONG, jsonio.encode(positions))


def catch_up(
    database: Database, progress: Progress | None = None, unsearched: Callable[[int], None] | None = None
) -> None:
    """Bring the index up to the newest contract, in short transactions with pauses between, so that other writers get their
    turn. Several processes may do it at once.

    If contracts are missing in it and the ledger cannot be written, `unsearched` is called with their number; without it,
    LedgerReadOnly is raised.
    """
    index = module_for(database.path, "fulltext")
    with database.read() as reading:
        reached, last = _number(reading, index.REACHED), _number(reading, statements.LAST_POSITION)
    if reached >= last:
        return
    try:
        with database.transactions() as writing:
            writing.commit_without_sync()  # index entries that are lost can be created again from the contracts
            for now_reached in _catch_up(writing, index, last):
                if progress is not None:
                    progress(min(now_reached, last) - reached, last - reached)
    except LedgerReadOnly as error:
        if unsearched is not None:
            return unsearched(last - reached)
        raise LedgerReadOnly(
            f"the full-text index of {database.path} is {last - reached:,} contracts behind, and the ledger is read-only",
            index.WHAT_TO_DO_IF_READ_ONLY,
        ) from error


def erase_fulltext(writing: Connection, position: int) -> None:
    """Remove the words of the contracts from that position on that the caller's transaction erases, or of all contracts."""
    module_for(writing.location, "fulltext").erase_fulltext(writing, position)


def _catch_up(writing: Connection, index: Any, last: int) -> Iterator[int]:
    reached = _number(writing, index.REACHED)
    while reached < last:
        words = _next(writing, reached)
        if not words:  # the last contracts were deleted meanwhile
            break
        begun = time.monotonic()
        reached = _add(writing, index, reached, words)
        yield reached
        if reached < last:
            time.sleep(time.monotonic() - begun)  # waiting writers check only now and then whether the lock is free


def _next(writing: Connection, reached: int) -> list[tuple[int, str]]:
    """The next positions to index, each with its words."""
    words, characters = [], 0
    with closing(writing.stream(statements.SEARCHABLE_TEXTS, (reached, BATCH))) as rows:
        for position, *said in rows:
            words.append((position, words_of(*said)))
            characters += len(words[-1][1])
            if characters > BATCH_CHARACTERS:
                break
    return words


def _add(writing: Connection, index: Any, expected: int, words: list[tuple[int, str]]) -> int:
    """Add `words` to the index, unless another process did so first; returns the position that the index reaches now."""
    added = index.entries(words)
    with writing.transaction():
        reached = _number(writing, index.REACHED)
        if reached == expected:
            index.add(writing, added)
            reached = words[-1][0]
    return reached


def _number(connection: Connection, sql: str) -> int:
    (found,) = connection.execute(sql).fetchone()
    return int(found)
