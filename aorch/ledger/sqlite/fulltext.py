"""Full-text search in the payload, result and error of contracts, by SQLite's FTS5.

Writers do not update the index (`contracts_text`): it catches up when a search needs it. A query is words that the contract
must all contain; a word with punctuation in it (`mia_li_3668`) is a phrase, a word that ends in `*` a prefix. In scripts
without spaces a word is found anywhere in the text (bigrams.py).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from aorch import jsonio
from aorch.errors import InvalidJSON, LedgerReadOnly, UsageError
from aorch.ledger.selection import PageKey, Selection
from aorch.ledger.sqlite import statements
from aorch.ledger.sqlite.bigrams import indexed, searched
from aorch.ledger.sqlite.connection import Connection, transaction
from aorch.ledger.sqlite.driver import Database

Progress = Callable[[int, int], None]
"""Called from time to time with the amount done and the total."""

BATCH, BATCH_CHARACTERS = 500, 1_000_000
"""Contracts that one transaction indexes, and their approximate number of characters.

It holds the write lock for 3 ms (measured).
"""

# FTS5 has no counterpart in SQLAlchemy, so these are not generated.
_JOIN = "JOIN contracts_text ON c.position = +contracts_text.rowid"
"""The `+` keeps SQLite from a full-text search per contract, which took 33 s for 1,000 failed ones instead of 0.2 s."""
_MATCHES = "contracts_text MATCH ?"
_KEY = PageKey(
    "contracts_text.rowid < ?", "contracts_text.rowid > ?", "contracts_text.rowid", "contracts_text.rowid DESC"
)
"""By this column, SQLite reads the index in order, without a sort."""
_REACHED = "SELECT coalesce(max(id), 0) FROM contracts_text_docsize"
_ADD = "INSERT INTO contracts_text (rowid, words) VALUES (?, ?)"


def narrowed(selection: Selection, text: str) -> Selection:
    """`selection` restricted to contracts that contain the words of `text`. Raises UsageError if there are no words."""
    joined = selection._replace(select=f"{selection.select} {_JOIN}", key=_KEY)
    return joined.where(_MATCHES, expression(text))


def expression(text: str) -> str:
    """The words of `text` in FTS5's language (https://www.sqlite.org/fts5.html#full_text_query_syntax).

    Each word is quoted, so the only syntax in a user's input is a `*` at the end of a word. Raises UsageError
    if no word has a letter or a digit.
    """
    words = [word for word in jsonio.storable_text(text).split() if any(character.isalnum() for character in word)]
    if not words:
        raise UsageError(f"{text!r} contains no word to search for", "Give words, such as --text 'connection refused'.")
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    phrase, is_beginning = searched(word.removesuffix("*"))
    return '"{}"{}'.format(phrase.replace('"', '""'), "*" if is_beginning or word.endswith("*") else "")


def catch_up(database: Database, progress: Progress | None = None) -> None:
    """Bring the index up to the newest contract, in short transactions with pauses between, so that other writers get their
    turn. Several processes may do it at once. Raises LedgerReadOnly if contracts are missing and the ledger cannot be
    written.
    """
    with database.read() as reading:
        (reached,), (last,) = reading.execute(_REACHED).fetchone(), reading.execute(statements.LAST_POSITION).fetchone()
    if reached >= last:
        return
    try:
        with database.transactions() as writing:
            # no sync: index entries that are lost in a power failure can be created again from the contracts
            writing.execute("PRAGMA synchronous = NORMAL")
            for now_reached in _catch_up(writing, last):
                if progress is not None:
                    progress(min(now_reached, last) - reached, last - reached)
    except LedgerReadOnly as error:
        raise LedgerReadOnly(
            f"the full-text index of {database.path} is {last - reached:,} contracts behind, and the ledger is read-only",
            "Make it writable for one search, or search a copy of it.",
        ) from error


def _catch_up(writing: Connection, last: int) -> Iterator[int]:
    (reached,) = writing.execute(_REACHED).fetchone()
    while reached < last:
        words = _next(writing, reached)
        begun = time.monotonic()
        reached = _add(writing, reached, words)
        yield reached
        if reached < last:
            time.sleep(time.monotonic() - begun)  # waiting writers check only now and then whether the lock is free


def _next(writing: Connection, reached: int) -> list[tuple[int, str]]:
    """The next positions to index, each with its words."""
    words, characters = [], 0
    with closing(writing.execute(statements.SEARCHABLE_TEXTS, (reached, BATCH))) as rows:
        for position, *said in rows:
            words.append((position, "\n".join(_words(*said))))
            characters += len(words[-1][1])
            if characters > BATCH_CHARACTERS:
                break
    return words


def _add(writing: Connection, expected: int, words: list[tuple[int, str]]) -> int:
    """Add `words` to the index, unless another process did so first; returns the position that the index reaches now."""
    with transaction(writing):
        (reached,) = writing.execute(_REACHED).fetchone()
        if reached == expected:
            writing.executemany(_ADD, words)
            reached = words[-1][0]
    return int(reached)


def _words(payload: str, result: str | None, error: str | None) -> Iterator[str]:
    for text in (payload, result):
        if text is not None:
            try:
                yield from map(indexed, _texts(jsonio.decode(text)))
            except InvalidJSON:  # another program wrote it: index its text as it is
                yield indexed(text)
    if error is not None:
        yield indexed(error)


def _texts(value: Any) -> Iterator[str]:
    """The keys, strings and numbers in a JSON value, as a person reads them, without escapes."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif value is not None and not isinstance(value, bool):
            yield str(value)
