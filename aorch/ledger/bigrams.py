"""Splits scripts that are written without spaces into pairs of letters.

FTS5's tokenizer would treat a sentence as one word. `天气很好` is indexed as `天气 气很 很好 好`. With the single
letter at the end, every letter is the beginning of a token, so a prefix search also finds single letters. A search
is for a phrase of such pairs.
"""

import re
from functools import cache
from unicodedata import normalize

_LETTERS = (
    "々〆〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf"  # Thai, Lao
    "\u1780-\u17d3\u17d7\u17dc\u17dd\u1000-\u103f\u1050-\u109f"  # Khmer, Burmese
)

CATEGORIES = "L* N* Co Mn Mc"
"""The Unicode categories of letters for FTS5's tokenizer: its own ones and signs of vowels (Mn, Mc), as Thai has them."""


def indexed(text: str) -> str:
    """`text` as it is indexed."""
    return text if text.isascii() else _run().sub(lambda run: f" {_pairs(run[0])} ", normalize("NFC", text))


def searched(word: str) -> tuple[str, bool]:
    """The phrase that finds `word` within texts, and whether its last token is only a prefix."""
    *inner, after = [word] if word.isascii() else _run().split(_end().sub("", normalize("NFC", word)))
    if after:  # it ends with letters of another script
        return indexed(word), False
    last = inner.pop()
    pairs = _pairs(last) if len(last) == 1 else _pairs(last)[:-2]
    return f"{indexed(''.join(inner))} {pairs}".strip(), len(last) == 1


@cache
def _run() -> re.Pattern[str]:
    """Letters in sequence. Compiling takes 1 ms, which most processes do not need."""
    return re.compile(f"([{_LETTERS}]+)")


@cache
def _end() -> re.Pattern[str]:
    """Punctuation at the end of a word. `\\w` does not include the signs of Thai vowels."""
    return re.compile(f"[^\\w{_LETTERS}]+$")


def _pairs(run: str) -> str:
    return " ".join(run[start : start + 2] for start in range(len(run)))
