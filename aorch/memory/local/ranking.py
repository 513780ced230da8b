"""Which sentences belong to a question: BM25, as SQLite's own full-text index has it, in memory and offline."""

import re
import sqlite3
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w{3,40}")
_MOST_WORDS = 40


def ranks(sentences: Sequence[str], question: str) -> list[float]:
    """For each of `sentences` how well it fits `question`, from 0 (not at all) to 1 (the best of them).

    Ranked by `bm25()` of FTS5 (https://www.sqlite.org/fts5.html#the_bm25_function), which Python brings along; libraries of
    the same measure import in 80 to 220 ms, most of it numpy.
    """
    words = [word for word, _ in Counter(_WORD.findall(question.lower())).most_common(_MOST_WORDS)]
    if not words or not sentences:
        return [0.0] * len(sentences)
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE sentences USING fts5(sentence)")
        rows = list(enumerate(sentences))
        connection.executemany("INSERT INTO sentences(rowid, sentence) VALUES (?, ?)", rows)
        found = connection.execute(
            "SELECT rowid, -bm25(sentences) FROM sentences WHERE sentences MATCH ?",
            (" OR ".join(f'"{word}"' for word in words),),
        ).fetchall()
    finally:
        connection.close()
    best = max((score for _, score in found), default=0.0)
    fitting = {row: score / best for row, score in found} if best > 0 else {}
    return [max(0.0, fitting.get(row, 0.0)) for row in range(len(sentences))]
