"""Finds the exact strings that a memory must keep: identifiers, paths, URLs, dates, amounts, names.

Only the form of a word is considered. The weight is the certainty: 1 for a mix of letters and digits, less for a number.
"""

import re
from functools import lru_cache

_INSIDE = r"\w./:@%+#~$€£=&?\-"
_PHONE = r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){1,4}"
_NAME_OR_NUMBER = rf"(?=[{_INSIDE}]{{0,119}}?[\d_/@]|[A-Z]{{5}})[{_INSIDE}]{{2,400}}+"
_FOUND_WORD = re.compile(rf"[^{_INSIDE}\\]({_NAME_OR_NUMBER})")
"""In a text after a space: to search for what precedes a word is faster than to look behind each letter."""
_UNMARKED = r"A-Za-z.:%+#~$=&?\-"
_FOUND_ASCII_WORD = re.compile(
    rf"[^0-9_/@{_UNMARKED}\\]((?=[{_UNMARKED}]{{0,119}}+[0-9_/@]|[A-Z]{{5}})[0-9_/@{_UNMARKED}]{{2,400}}+)"
)
"""The same in a text of ASCII, in a third of the time: a set of ranges is a table, unlike one with classes of Unicode."""
_FOUND = re.compile(
    rf"(?<![\w(+])(?:(?=\+)|(?=\(\d)){_PHONE}(?!\w)|"  # +44 20 7946 0958, (028) 8665 9999
    r"(?<![\w.,])[$€£]?\d{1,3}(?:,\d{3}){1,5}(?:\.\d{1,4})?(?![\w,])"  # 1,200.50
    rf"|(?<![{_INSIDE}\\]){_NAME_OR_NUMBER}"
)
_SPACED = re.compile(r"[,+(]\d")
"""What the exact strings of several parts that only `_FOUND` finds have: `+44 20 7946 0958`, `1,200.50`."""
_MARK, _ASCII_MARK, _CAPITALS = re.compile(r"[\d_/@]"), re.compile(r"[0-9_/@]"), re.compile(r"[A-Z][A-Z]{4}")
"""What each exact string has one of; most sentences have none. (A pattern that begins with a set of characters is fast.)"""
_ENDS = ".:-?,=&+/"
_DATE = re.compile(r"\d{4}-\d\d(?:-\d\d)?(?:T[\d:.]{4,15}Z?)?$|\d{1,2}[./]\d{1,2}[./]\d{2,4}$")
_AMOUNT = re.compile(r"[$€£~+-]{0,2}\d[\d.,:]{0,20}(?:%|[a-zA-Zµ]{1,2}|[a-z]{1,5}|[KMGT]i?B)?(?:/[a-z]{1,4})?$")
_PHONE_NUMBER = re.compile(rf"(?=[+(\d][^a-z]{{8,24}}$){_PHONE}$")
_COMPOUND = re.compile(r"\d{1,4}-[a-z]{3,}$|(?:pre|post|mid|early|late)-\d{4}s?$|@[A-Za-z_]+$|\d{1,2}:[A-Z][a-z]+$")
"""`52-week`, `mid-2000s`, whom a text addresses: `@reviewer`, and the start of a numbered line: `1:Open`."""
_LONGEST_ID, _ENCODED = 36, re.compile(r"(?=.{0,40}?[a-z])(?=.{0,40}?[A-Z])(?=.{0,40}?\d)[\w-]+$")
"""Characters of an ID at most, and encoded data, which mixes small and capital letters with digits."""
_OPTION = re.compile(r"[-&]\d{1,2}$")
"""`-5`, `&1`: options and descriptors of commands."""
_NAME = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)?$")

_ADDRESS = re.compile(r"[a-zA-Z]{1,12}://|\.{0,2}/|~/|[\w.-]+@|[\w-]+\.[\w./-]*/")
_INNER_NAME = re.compile(r"[^\W\d_a-z](?:(?<=[^\W\d_] .)|(?<=, .))[^\W\d_]{2,20}\b")
_SHOUTED = re.compile(r"\b[A-Z]{2,30}(?:[ ,'’]{1,3}[A-Z]{2,30})+\b")
"""Several words in capitals, which are emphasised and no names: `ONLY ONE COMMAND AT A TIME`."""
_PARTICLES = frozenset(("da", "das", "de", "del", "der", "di", "do", "dos", "du", "el", "la", "van", "von", "y", "zu"))


@lru_cache(4096)
def weight(word: str) -> float:
    """How certainly `word` is an exact string: from 0 for an ordinary word to 1 for an identifier."""
    if len(word) < 2 or len(word) > 160:
        return 0.0
    if len(word) > 48 and not _ADDRESS.match(word):
        return 0.2  # this is encoded data rather than a name
    if _COMPOUND.match(word) or (len(word) > _LONGEST_ID and _ENCODED.match(word)):
        return 0.2
    if _OPTION.match(word):
        return 0.2
    if word.isdigit():
        return 0.5 if len(word) > 4 else 0.15
    if _DATE.match(word):
        return 0.9
    if _AMOUNT.match(word):
        return 0.35
    if any(map(str.isdigit, word)):
        return 1.0 if any(map(str.isalpha, word)) else 0.5
    return _undigited(word)


def _undigited(word: str) -> float:
    if "@" in word or "://" in word or word.count("/") > 1 or word.startswith("./"):
        return 0.9
    if word.isupper() and word.isalpha():
        return 0.5 if len(word) > 4 else 0.2
    if "_" in word.strip("_") or "/" in word or "." in word:
        return 0.4
    return 0.0


def is_name(word: str) -> bool:
    """Whether `word` looks like a proper name: one capitalised word."""
    return word[:1].isupper() and not word.isupper() and len(word) <= 30 and bool(_NAME.match(word))


def is_whole(text: str) -> bool:
    """Whether text with spaces is one exact string: the name of a person, or a phone number."""
    return is_full_name(text) or bool(_PHONE_NUMBER.match(text))


def is_full_name(text: str) -> bool:
    """Whether text looks like the name of a person: two to five capitalised words of letters, and words such as `van`."""
    words = text.split(" ") if len(text) <= 60 else []
    capitalised = [word for word in words if word not in _PARTICLES]
    return len(words) <= 5 and len(capitalised) >= 2 and all(map(is_name, capitalised))


def found(text: str) -> list[str]:
    """The exact strings in `text`, in order."""
    if not ((_ASCII_MARK if text.isascii() else _MARK).search(text) or _CAPITALS.search(text)):
        return []
    all_words = _FOUND.findall(text) if _SPACED.search(text) else _words(f" {text}")
    words = [name for word in all_words if weight(name := word.rstrip(_ENDS)) > 0.3 and word[-2:] != ".."]
    if "_(" in text:  # the address of a page, whose end is in brackets
        words = [word for word in words if word[-1:] != "_" or f"{word}(" not in text]
    if "</" in text:  # the end of a tag is no path
        words = [word for word in words if f"<{word}" not in text]
    if "…" in text:
        words = [word for word in words if f"{word}…" not in text]
    if any(map(str.isupper, words)) and (shouted := " ".join(_SHOUTED.findall(text))):
        return [word for word in words if not word.isalpha() or word not in shouted.split()]
    return words


def _words(text: str) -> list[str]:
    return (_FOUND_ASCII_WORD if text.isascii() else _FOUND_WORD).findall(text)


def proper_names(sentence: str) -> list[str]:
    """The capitalised words of a sentence, in any script, without its first word."""
    return [word for word in _INNER_NAME.findall(sentence) if word[0].isupper() and word[1:].islower()]
