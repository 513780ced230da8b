"""Finds what a long task text is about by its layout: the title and the sentences after an announcement (`Here is the issue:`)
or a label (`ISSUE:`, `<task>`, `# Task`), without headings, lone labels and code, up to the next label of the same kind.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from aorch.memory import safe_text
from aorch.memory.contract_content import is_code
from aorch.memory.literals import found
from aorch.memory.local.layout import ends_like_sentence, is_layout
from aorch.memory.local.sentence_kinds import FEWEST, asks_for
from aorch.memory.local.spoken_sentences import is_phrase
from aorch.memory.segments import split_sentences

_TAG, _HEADING = re.compile(r"</?[\w-]{1,40}>"), re.compile(r"(#{1,6}) ")
_FENCES = ("```", "~~~")
_COLONS = (":", "：")
_OPENERS = ("tag", "heading", "capitals")
_LEAD = 600
"""Characters of a text in which its announcement is expected."""
_TEMPLATE = 3
"""Times the length of its statement from which a task text is a template with instructions."""
_LABEL = 60
"""Characters of a label in capitals at most."""
_NAMING_CODE = 8
"""Words from which a line is no code, but a sentence that names some: `Form._save() does not store the content type of it`."""
_QUOTED_NAME = re.compile(r"[\"“'‘`][^\"”'’`]{2,60}[\"”'’`]")
"""A name in quotation marks."""


class Sentence(NamedTuple):
    """A sentence of a task text, and its place in it. The place of the next one is higher by 1 if the two are one text."""

    place: int
    text: str


class TaskText(NamedTuple):
    """The sentences of a task text, in its order: `statement`, the title first, says what is wrong or wanted. `rest` follows it,
    such as instructions how to work.
    """

    statement: tuple[Sentence, ...]
    rest: tuple[Sentence, ...]


class _Line(NamedTuple):
    """A line of a text. `kind`: `tag`, `heading`, `capitals`, `bold`, `word`, `code`, or empty for prose. `sentences`: those of
    prose, or the words of a heading.
    """

    kind: str
    text: str
    sentences: tuple[Sentence, ...] = ()


def without_instructions(own: str, said: str) -> str:
    """`own`, which is a part of the task text `said`, without sentences that only tell how to work. A text of which a large part
    is the statement of the task has none.
    """
    task = task_text("\n".join(safe_text.ends_of(said)))
    if task is None or len(said) < _TEMPLATE * sum(len(one.text) for one in task.statement):
        return own
    stated = {one.text for one in task.statement}
    return "\n".join(one for one in safe_text.sentence_pieces(own) if one in stated)


@lru_cache(64)
def task_text(said: str) -> TaskText | None:
    """What a text asks for, if its layout shows that; otherwise None."""
    lines = list(_lines(said))
    opened = _opened(lines)
    if opened is None:
        return None
    first, opener = opened
    end = next((n for n in range(first + 1, len(lines)) if _ends(lines[n], opener)), len(lines))
    introduced = [one for one in _prose(lines[:first]) if _names_something(one.text)]
    named = [one for one in opener.sentences if safe_text.word_count(one.text) >= FEWEST] if opener else []
    stated = [*named, *_prose(lines[first:end])]
    own = [*stated[:1], *(one for one in stated[1:] if _states(one.text))]
    rest = [one for one in _prose(lines[end:]) if not one.text.endswith(_COLONS)]
    return TaskText((*introduced, *own), (*rest,))


def _prose(lines: Iterable[_Line]) -> Iterator[Sentence]:
    return (one for line in lines if not line.kind for one in line.sentences)


def _lines(said: str) -> Iterator[_Line]:
    place, fence = 0, ""
    for line in safe_text.lines(said):
        place += 1
        mark = line[:3] if line.startswith(_FENCES) else ""
        if mark or fence:
            fence = "" if mark and mark == fence else fence or mark
            yield _Line("code", line)
        elif kind := _kind(line):
            yield _Line(kind, line, (Sentence(place, safe_text.without_marking(line)),) if kind == "heading" else ())
            place += 1
        else:
            sentences = [*enumerate(split_sentences(line), place)]
            place = sentences[-1][0] + (not ends_like_sentence(line))
            yield _Line("", line, tuple(Sentence(n, text) for n, text in sentences))


def _kind(line: str) -> str:
    if _TAG.fullmatch(line):
        return "tag"
    if _HEADING.match(line):
        return "heading"
    if line.endswith(_COLONS) and line.isupper() and len(line) <= _LABEL:
        return "capitals"
    if line.startswith("**") and line.endswith("**"):
        return "bold"
    if safe_text.word_count(line) < 2:
        return "word"
    return "code" if is_code(line) and len(line.split()) < _NAMING_CODE else ""


def _opened(lines: Sequence[_Line]) -> tuple[int, _Line | None] | None:
    """The place of the line that follows the announcement or the label of a text, and that label; None if it has neither."""
    opener, announced, read = None, False, 0
    for n, line in enumerate(lines):
        if line.kind == "code" or read > _LEAD or (line.kind == "word" and announced and opener is None):
            return None
        if line.kind:
            opener = line if line.kind in _OPENERS and not line.text.startswith("</") else opener
        elif (opener or announced) and not _announces(line):
            return n, opener
        elif any(asks_for(one.text) for one in line.sentences[:-1]) or (read and not _announces(line)):
            return None
        announced = announced or _announces(line)
        read += len(line.text)
    return None


def _announces(line: _Line) -> bool:
    """Whether a line of prose ends with a sentence that announces the next line."""
    return not line.kind and line.sentences[-1].text.endswith(_COLONS)


def _ends(line: _Line, opener: _Line | None) -> bool:
    """Whether a label ends the part that `opener` began; a text without one ends with the next tag or label in capitals."""
    if opener is None:
        return line.kind in ("tag", "capitals")
    if line.kind != opener.kind:
        return False
    heading, before = _HEADING.match(line.text), _HEADING.match(opener.text)
    return not heading or not before or len(heading[1]) <= len(before[1])


def _names_something(sentence: str) -> bool:
    """Whether a sentence before an announcement says more than that: it has a name or an exact string."""
    return not sentence.endswith(_COLONS) and bool(_QUOTED_NAME.search(sentence) or found(sentence))


def _states(sentence: str) -> bool:
    return not sentence.endswith(_COLONS) and not is_layout(sentence) and not is_phrase(sentence)
