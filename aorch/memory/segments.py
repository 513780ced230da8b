"""Words and sentences in the scripts of the world, by the rules of Unicode (UAX #29).

ASCII needs no library. For other text, `regex` knows the properties Word_Break and Sentence_Break; it is imported with the first
such text, which takes 12 ms.
"""

import re
from functools import cache
from itertools import groupby, pairwise
from typing import Any

UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana and Han."""
_ASCII_END = re.compile(r"(?<=[.!?])[ \u00a0]+(?=\S)")


def split_sentences(line: str) -> list[str]:
    """The sentences of a line, with all their characters except for the space between them."""
    if line.isascii():
        if ". " not in line and "! " not in line and "? " not in line:  # most of them
            return [line] if line else []
        return [piece for piece in _ASCII_END.split(line) if piece]
    return [piece for piece in _any_end().split(line) if piece]


def words(text: str) -> set[str]:
    """The words of a text in lower case. In scripts without spaces, each pair of letters counts as a word."""
    if text.isascii():
        return set(text.lower().split())
    found: set[str] = set()
    segments = [word for word in _any_boundary().split(text.lower()) if any(map(str.isalnum, word))]
    for unspaced, run in groupby(segments, lambda word: bool(UNSPACED.match(word))):
        if not unspaced:
            found.update(run)
            continue
        letters = "".join(run)
        found.update(map("".join, pairwise(letters)) if len(letters) > 1 else [letters])
    return found


@cache
def _any_end() -> Any:
    """Where a sentence ends: SB6 to SB11 of UAX #29, but `.`, `!` and `?` only before a space, since they occur in names."""
    import regex

    close, space = r"\p{Sentence_Break=Close}", r"\p{Sentence_Break=Sp}"
    terminal = r"[\p{Sentence_Break=STerm}--[!?]]"
    return regex.compile(
        rf"(?<=[.!?]{close}{{0,3}}){space}+(?=\S)|(?<={terminal}{close}{{0,3}}){space}*(?=\S)(?!{close}|{terminal})",
        regex.V1,
    )


@cache
def _any_boundary() -> Any:
    """The boundaries of words by UAX #29."""
    import regex

    return regex.compile(r"\b", regex.V1 | regex.WORD)
