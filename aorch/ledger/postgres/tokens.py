"""The tokens of a text, as SQLite's full-text index has them, as tsvector and tsquery of PostgreSQL.

PostgreSQL's own parser finds other words: it takes `db-7.internal` as a host and `-12` as a number. SQLite itself, a part of
Python, splits the texts here, so that a search finds the same contracts on both databases.
"""

import sqlite3
import threading
from collections.abc import Sequence

from aorch.ledger.searchable import TOKENIZER, Phrase

PART, OVERLAP = 256, 64
"""Tokens of a row of the index, and how many of them the next row repeats: a phrase of so many is in one row."""
LONGEST_BYTES = 1024
"""Longer tokens are cut; PostgreSQL takes up to 2,046 bytes."""


class Tokenizer:
    """SQLite's tokenizer, in memory. Any thread may use it."""

    def __init__(self) -> None:
        self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._memory.execute(f"CREATE VIRTUAL TABLE texts USING fts5(words, content='', tokenize=\"{TOKENIZER}\")")
        self._memory.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab(texts, instance)")
        self._one_at_a_time = threading.Lock()

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text, in order."""
        found: list[list[tuple[int, str]]] = [[] for _ in texts]
        with self._one_at_a_time:
            execute = self._memory.execute
            execute("BEGIN")
            self._memory.executemany("INSERT INTO texts (rowid, words) VALUES (?, ?)", enumerate(texts))
            for text, place, token in execute("SELECT doc, offset, term FROM tokens"):
                found[text].append((place, _cut(token)))
            execute("ROLLBACK")
        return [[token for _, token in sorted(each)] for each in found]


tokenizer = Tokenizer()


def vectors(tokens: Sequence[str]) -> list[str]:
    """The tokens of a contract as one tsvector or more, which overlap."""
    starts = range(0, max(1, len(tokens) - OVERLAP), PART - OVERLAP)
    return [_vector(tokens[start : start + PART]) for start in starts]


def queries(phrases: Sequence[Phrase]) -> str:
    """The tsqueries that must all match, one per line. A phrase that is longer than OVERLAP is split into several."""
    lines = []
    for tokens, phrase in zip(tokenizer.split([each.text for each in phrases]), phrases, strict=True):
        for start in range(0, max(1, len(tokens) - 1), OVERLAP - 1):
            part = tokens[start : start + OVERLAP]
            is_last = start + OVERLAP >= len(tokens)
            star = ":*" if phrase.is_beginning and is_last else ""
            if part:
                lines.append(" <-> ".join(map(_quoted, part)) + star)
    return "\n".join(dict.fromkeys(lines))


def _vector(tokens: Sequence[str]) -> str:
    places: dict[str, list[str]] = {}
    for place, token in enumerate(tokens, 1):
        places.setdefault(token, []).append(str(place))
    return " ".join(f"{_quoted(token)}:{','.join(its)}" for token, its in places.items())


def _quoted(token: str) -> str:
    return "'{}'".format(token.replace("\\", "\\\\").replace("'", "''"))


def _cut(token: str) -> str:
    if len(token) <= LONGEST_BYTES // 4:
        return token
    return token.encode()[:LONGEST_BYTES].decode("utf-8", "ignore")
