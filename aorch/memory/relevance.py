"""Ranks texts by relevance to a question: bm25 of SQLite's FTS5, in memory. Words of scripts without spaces count too."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing

from aorch.ledger.search import indexed

_TABLE = (
    "CREATE VIRTUAL TABLE texts USING fts5 (words, content='', detail=full,"
    " tokenize=\"unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'\")"
)
_PREFIX = 4
"""From this length on, a word of the question also matches longer words, with less weight: `deploy` matches `deployments`."""
_MOST_WORDS = 64


def ranked(texts: Iterable[str], question: str, limit: int) -> list[int]:
    """The indexes of up to `limit` of `texts` that contain a word of `question`, the most relevant first.

    Texts that are equally relevant keep their order. Empty if the question has no word.
    """
    words = _words(question)
    if not words:
        return []
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(_TABLE)
        rows = ((number, indexed(text)) for number, text in enumerate(texts))
        database.executemany("INSERT INTO texts (rowid, words) VALUES (?, ?)", rows)
        found = database.execute(
            "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?", (_any_of(words), limit)
        )
        return [number for (number,) in found]


def _words(question: str) -> Sequence[str]:
    """The words of `question`, and the pairs of letters in scripts without spaces."""
    pieces = ("".join(c if c.isalnum() or ord(c) > 0x300 else " " for c in word) for word in indexed(question).split())
    words = dict.fromkeys(word.casefold() for piece in pieces for word in piece.split())
    telling = [word for word in words if len(word) > 1] or list(words)
    return telling[:_MOST_WORDS]


def _any_of(words: Sequence[str]) -> str:
    """An expression of FTS5 (https://www.sqlite.org/fts5.html#full_text_query_syntax), in which each word is quoted."""
    quoted = ['"{}"'.format(word.replace('"', '""')) for word in words]
    return " OR ".join(quoted + [f"{word}*" for word in quoted if len(word) - 2 >= _PREFIX])
