"""The words by which sentences are recognised, in the languages of the files in `words/`.

A file has sections with one phrase on each line. What a section is for:
decided: the sentence states a decision of its author; undecided: it only seems to; states decision: it states one, perhaps of
somebody else. wants: a caller's wish, rule or reason. asks: a caller's request for something to be done. concludes: a finding;
summarises: the last one. polite: a phrase without content. acknowledges: the agent only shows that it has understood. waits: what
is still to be done, and for whom the work waits. intends: what an agent is about to do, which its next calls show. refuses: what
it cannot or may not do, often with the reason. reasons: why something is done, or what is not done instead. promises: what a
person will get later.
protocol: how agents take turns, or how a tool shows something, and nothing about the work. acts: a step whose result is told
elsewhere. signals: words in capitals that end a chat.
points: the sentence is about something that was said before it.
confirms: a caller agrees to what an agent proposes.
other: none of these, although it contains shorter phrases of other sections.

Sentences in other languages are selected by what they contain: exact strings, names, and their place in the session.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from aorch.memory.segments import is_western, unspaced_letter

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_SPACED = bytes([n if chr(n).isalnum() or chr(n) == "_" else ord(" ") for n in range(128)]).ljust(256)
"""A translation of bytes takes half the time of one of a string."""
_FIRST_UNSPACED = "\u0e00"
"""The first letter of the scripts without spaces; those of the other scripts in `words/` come before it."""


_Phrase = tuple[list[str], str]
"""The words of a phrase after the first one, and its section."""


@cache
def _phrases() -> dict[str, dict[str, list[_Phrase]]]:
    """The phrases of scripts with spaces, by their first word, and by the next one (empty if there is none)."""
    by_words: dict[str, dict[str, list[_Phrase]]] = {}
    for section, phrase in _lines():
        if phrase[0] < _FIRST_UNSPACED:
            first, *rest = _words(phrase)
            by_words.setdefault(first, {"": []}).setdefault("".join(rest[:1]), []).append((rest, section))
    return by_words


@cache
def _unspaced_phrases() -> dict[str, list[tuple[str, list[str]]]]:
    """The phrases of scripts without spaces by their first letter, the longest first, with the sections of each."""
    sections: dict[str, list[str]] = defaultdict(list)
    for section, phrase in _lines():
        if phrase[0] >= _FIRST_UNSPACED:
            sections[phrase].append(section)
    by_letter: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for phrase in sorted(sections, key=len, reverse=True):
        by_letter[phrase[0]].append((phrase, sections[phrase]))
    return dict(by_letter)


def _unspaced_marks(folded: str) -> Iterator[str]:
    """The sections of the phrases of scripts without spaces in a sentence. Phrases do not overlap."""
    known = _unspaced_phrases()
    end = 0
    for n, letter in enumerate(folded):
        if n >= end and letter in known:
            phrase, sections = next((one for one in known[letter] if folded.startswith(one[0], n)), ("", []))
            end = n + len(phrase)
            yield from sections


def _words(text: str) -> list[str]:
    if text.isascii() and "'" not in text:  # most of them
        return text.encode().translate(_SPACED).decode().split()
    return _WORD.findall(text.replace("’", "'"))


@cache
def _lines() -> list[tuple[str, str]]:
    """Each phrase of each file, in lower case, after its section."""
    found: list[tuple[str, str]] = []
    for file in sorted(Path(__file__).with_name("words").iterdir()):
        section = ""
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line.strip():
                found.append((section, line.strip().lower()))
    return found


@cache
def _longest_words(sections: frozenset[str]) -> tuple[list[str], list[str]]:
    """The longest word of each phrase in these sections: those in ASCII, and the others."""
    longest = {max(_words(phrase), key=len) for section, phrase in _lines() if section in sections}
    return [word for word in longest if word.isascii()], [word for word in longest if not word.isascii()]


def can_have(text: str, sections: frozenset[str]) -> bool:
    """Whether a text can have a phrase of these sections: most texts have none of their longest words."""
    folded = text.lower().replace("’", "'")
    ascii_words, others = _longest_words(sections)
    return any(map(folded.__contains__, ascii_words)) or (not text.isascii() and any(map(folded.__contains__, others)))


def marks(folded: str) -> frozenset[str]:
    """The sections that have a phrase in a sentence, which is in lower case.

    Phrases are found as whole words; in scripts without spaces, anywhere.
    """
    known = _phrases()
    found: set[str] = set()
    words = [*_words(folded), ""]
    end = 0
    for n, of_word in [(n, known[word]) for n, word in enumerate(words, 1) if word in known]:
        fitting = of_word[""]
        if words[n] in of_word:
            fitting = fitting + [one for one in of_word[words[n]] if words[n : n + len(one[0])] == one[0]]
        if not fitting:
            continue
        other = 0
        if others := [len(rest) + 1 for rest, section in fitting if section == "other"]:
            other = max(others)
            end = n + other
            fitting = [one for one in fitting if len(one[0]) + 1 == other and one[1] != "other"]
        if other or n >= end:
            found.update([section for _, section in fitting])
    if not (folded.isascii() or is_western(folded)) and unspaced_letter().search(folded):
        found.update(_unspaced_marks(folded))
    return frozenset(found)
