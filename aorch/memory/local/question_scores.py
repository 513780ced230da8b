"""Scores sentences by how well they match a question."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from aorch.ledger.search import indexed

_QUESTION_WORD = re.compile(r"\w{3,40}|[^\W\d_a-z]{2}")
_MOST_QUESTION_WORDS = 40
_TEXT_WORD = re.compile(r"[^\W_]+")
_SPACED = bytes([n if chr(n).isalnum() else ord(" ") for n in range(128)]).ljust(256)
"""The same words of ASCII, in a fifth of the time."""
_CONTENT = 4
"""Letters of a word of the Latin script that says what a text is about; most others are `the`, `and`, `you`."""
_K1, _B = 1.2, 0.75
"""The usual parameters of BM25."""


def question_scores(sentences: Sequence[str], question: str) -> list[float]:
    """How well each sentence matches `question`, from 0 (not at all) to 1 (the best one).

    The score is the usual BM25 (Robertson and Zaragoza, 2009). Libraries that have it take 80 to 220 ms to import, mostly for
    numpy, and a table of SQLite's FTS5 takes twice the time.
    """
    asked = {word for word, _ in Counter(_QUESTION_WORD.findall(_folded(question))).most_common(_MOST_QUESTION_WORDS)}
    if not asked or not sentences:
        return [0.0] * len(sentences)
    texts = [words_of(sentence) for sentence in sentences]
    mean = sum(map(len, texts)) / len(texts) or 1.0
    occurring = [{} if asked.isdisjoint(text) else Counter([one for one in text if one in asked]) for text in texts]
    in_texts = Counter(word for counts in occurring for word in counts)
    rarity = {word: max(1e-6, math.log((len(texts) - n + 0.5) / (n + 0.5))) for word, n in in_texts.items()}
    scores = [
        sum(rarity[word] * n * (_K1 + 1) / (n + _K1 * (1 - _B + _B * len(text) / mean)) for word, n in counts.items())
        for text, counts in zip(texts, occurring, strict=True)
    ]
    best = max(scores)
    return [score / best for score in scores] if best > 0 else scores


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order, without marks."""
    folded = _folded(text)
    return folded.encode().translate(_SPACED).decode().split() if folded.isascii() else _TEXT_WORD.findall(folded)


def content_words(text: str) -> set[str]:
    """The words of a text that are long enough to say what it is about."""
    return {word for word in words_of(text) if len(word) >= _CONTENT or not word.isascii()}


def _folded(text: str) -> str:
    return indexed(text.lower())
