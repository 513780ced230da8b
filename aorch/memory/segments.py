"""Words and sentences in the scripts of the world, by the rules of Unicode (UAX #29).

ASCII needs no library, nor do sentences of common scripts. For other text, `regex` knows the properties Word_Break and
Sentence_Break; it is imported with the first such text, which takes 12 ms.
"""

import re
from functools import cache
from itertools import groupby, pairwise
from typing import Any

_ASCII_END = re.compile(r"[.!?]( +)(?=\S)")
COMMON = r"\x00-\u024f\u0400-\u04ff\u2010-\u2027\u20ac\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uff65"
"""Letters and punctuation of the Latin, Cyrillic, Chinese and Japanese scripts, in ranges of a pattern."""
CLOSE, TERMINAL, SPACE = (
    r"\x22'-)\[\]{}\xab\xbb\u2018-\u201f\u3008-\u3011\u3014-\u301b\u301d-\u301f\uff08\uff09\uff3b\uff3d\uff5b\uff5d\uff5f\uff60\uff62\uff63",
    r"\u3002\uff01\uff1f\uff61",
    r"\x09\x0b\x0c\x20\xa0\u3000",
)
"""Those among them with the properties Sentence_Break=Close, STerm (without `!` and `?`) and Sp."""
_CAN_END = re.compile(f"[.!?{TERMINAL}]")
_WESTERN_END = re.compile(
    r"[.!?][\x22'-)\[\]{}\xab\xbb\u2018-\u201f\u2039\u203a]{0,3}(?=[\x09\x0b\x0c\x20\xa0])([\x09\x0b\x0c\x20\xa0]*)(?=\S)"
)
"""The same in a text of the code page 1252, whose few ranges are compiled faster."""
_NEVER_LAST = (
    "Mr. Mrs. Ms. Dr. Prof. St. Mme. Sra. vs. Vs. v. e.g. E.g. i.e. I.e. cf. Cf. approx. bzw. vgl. z.B. d.h. ca."
)
_COUNTING = "No. no. Nr. nr. Str. str. Fig. fig. Eq. Vol. vol. p. pp."
_CAN_BE_LAST = "etc. Inc. Ltd. Co. Corp. Jr. Sr. al. a.m. p.m. U.S. U.K. E.U."
_BEFORE_ANYTHING, _BEFORE_NUMBER, _BEFORE_LOWER_CASE = (
    frozenset(known.split()) for known in (_NEVER_LAST, _COUNTING, _CAN_BE_LAST)
)
"""Abbreviations after which no sentence ends: at all, before a number, or before a letter in lower case or a bracket."""
_ABBREVIATIONS = _BEFORE_ANYTHING | _BEFORE_NUMBER | _BEFORE_LOWER_CASE
_OPENING = "([\"'*“«"


def split_sentences(line: str) -> list[str]:
    """The sentences of a line, with all their characters except for the space between them."""
    if line.isascii():
        if ". " not in line and "! " not in line and "? " not in line:  # most of them
            return [line] if line else []
        return _split(line, _ASCII_END, 1)
    if is_western(line):
        return _split(line, _WESTERN_END, 1)
    common, end = _common()
    if not common.fullmatch(line):
        return _split(line, _any_end())
    return _split(line, end, 1) if _CAN_END.search(line, 0, len(line) - 1) else [line]


def is_western(text: str) -> bool:
    """Whether all letters of a text are in the code page 1252: those of Western Europe, with its quotation marks and dashes."""
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def _split(line: str, ends: Any, space: int = 0) -> list[str]:
    """The pieces between the matches of `ends`, or of its group `space`."""
    pieces, start = [], 0
    for end in ends.finditer(line):
        stop, after = end.span(space)
        piece = line[start:stop]
        if not _is_abbreviated(piece.rpartition(" ")[2].lstrip(_OPENING), line[after]):
            pieces.append(piece)
            start = after
    return [piece for piece in (*pieces, line[start:]) if piece]


def _is_abbreviated(word: str, following: str) -> bool:
    """Whether the full stop of `word` belongs to an abbreviation, and does not end a sentence before the letter `following`."""
    return word in _ABBREVIATIONS and (
        word in _BEFORE_ANYTHING
        or (word in _BEFORE_NUMBER and following.isdigit())
        or (word in _BEFORE_LOWER_CASE and (following.islower() or following == "("))
    )


def words(text: str) -> set[str]:
    """The words of a text in lower case. In scripts without spaces, each pair of letters counts as a word."""
    if text.isascii():
        return set(text.lower().split())
    found: set[str] = set()
    segments = [word for word in _any_boundary().split(text.lower()) if any(map(str.isalnum, word))]
    for is_unspaced, run in groupby(segments, lambda word: bool(unspaced_letter().match(word))):
        if not is_unspaced:
            found.update(run)
            continue
        letters = "".join(run)
        found.update(map("".join, pairwise(letters)) if len(letters) > 1 else [letters])
    return found


@cache
def unspaced_letter() -> re.Pattern[str]:
    """A letter of a script without spaces between words: Thai, Lao, Burmese, Khmer, kana and Han.

    Patterns with many ranges are compiled for the first text that needs them: each takes 1 to 3 ms.
    """
    return re.compile(
        r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    )


@cache
def _common() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Common text, and what `_any_end` finds in it, without its library."""
    space = rf"(?=[{SPACE}])|[{TERMINAL}][{CLOSE}]{{0,3}}(?![{SPACE}]*[{CLOSE}{TERMINAL}])"
    return re.compile(f"[{COMMON}]*"), re.compile(rf"(?:[.!?][{CLOSE}]{{0,3}}{space})([{SPACE}]*)(?=\S)")


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
