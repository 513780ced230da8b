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
_NEVER_LAST = (
    "Mr. Mrs. Ms. Dr. Prof. St. Mme. Sra. vs. Vs. v. e.g. E.g. i.e. I.e. cf. Cf. approx. bzw. vgl. z.B. d.h. ca."
)
_COUNTING = "No. no. Nr. nr. Fig. fig. Eq. Vol. vol. p. pp."
_CAN_BE_LAST = "etc. Inc. Ltd. Co. Corp. Jr. Sr. al. a.m. p.m. U.S. U.K. E.U."
_BEFORE_ANYTHING, _BEFORE_NUMBER, _BEFORE_LOWER_CASE = (
    frozenset(known.split()) for known in (_NEVER_LAST, _COUNTING, _CAN_BE_LAST)
)
"""Abbreviations after which no sentence ends: at all, before a number, or before a letter in lower case."""
_OPENING = "([\"'*“«"


def split_sentences(line: str) -> list[str]:
    """The sentences of a line, with all their characters except for the space between them."""
    if line.isascii():
        if ". " not in line and "! " not in line and "? " not in line:  # most of them
            return [line] if line else []
        return _split(line, _ASCII_END)
    return _split(line, _any_end())


def _split(line: str, ends: Any) -> list[str]:
    pieces, start = [], 0
    for end in ends.finditer(line):
        if not _is_abbreviated(line[start : end.start()].rpartition(" ")[2].lstrip(_OPENING), line[end.end()]):
            pieces.append(line[start : end.start()])
            start = end.end()
    return [piece for piece in (*pieces, line[start:]) if piece]


def _is_abbreviated(word: str, following: str) -> bool:
    """Whether the full stop of `word` belongs to an abbreviation, and does not end a sentence before the letter `following`."""
    return (
        word in _BEFORE_ANYTHING
        or (word in _BEFORE_NUMBER and following.isdigit())
        or (word in _BEFORE_LOWER_CASE and following.islower())
    )


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
