"""Finds the plan and the earlier results in a document by which agents get the aim: they are shown in a short form."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.budget import BACKGROUND
from aorch.memory.local.languages import marks
from aorch.memory.local.sentence_kinds import LONGEST_SENTENCE
from aorch.memory.local.wording import Wording, claim_of, said

_HEADING, _ITEM = re.compile(r"(#{1,6}) "), re.compile(r"(?:[-*•]|\d{1,2}[.)]) ")
_FEWEST, _MOST_STEPS = 2, 8
"""Steps that a plan has at least, and those of it that are shown."""
_MOST_RESULTS = 2
"""Sections about earlier results that are shown: the results, and their reason."""
_STEPS, _RESULT = 180, 110
"""Characters of all steps of a plan, and of a section about earlier results."""
_EARLIER = 0.84
"""Importance of earlier results."""


class Section(NamedTuple):
    """A section of a document. `title`: its heading, after the one above that if there is one, or the line that announces it."""

    title: tuple[str, ...]
    lines: tuple[str, ...]


class Brief(NamedTuple):
    """The plan, which may be missing, and the earlier results in a document."""

    plan: Section | None
    results: tuple[Section, ...]
    contract_id: str = ""
    agent: str = ""
    number: int = 0
    asks: bool = False


def brief_in(text: str) -> Brief | None:
    """The first section of a document that lists the steps of a plan, and the first ones about earlier results."""
    plan: Section | None = None
    results: list[Section] = []
    for section in _sections(text):
        there = marks(section.title[-1][:LONGEST_SENTENCE].lower())
        steps = [line for line in section.lines if _ITEM.match(line)]
        if "plans" in there and plan is None and len(steps) >= _FEWEST:
            plan = section._replace(lines=(*steps[:_MOST_STEPS],))
        elif "reports" in there and section.lines and len(results) < _MOST_RESULTS:
            results.append(section._replace(title=section.title[-1:]))
    return Brief(plan, (*results,)) if plan or results else None


def _sections(text: str) -> Iterator[Section]:
    """The parts of a text that have a heading in Markdown, or a line with a colon at its end before them."""
    above: dict[int, str] = {}
    title: tuple[str, ...] = ()
    lines: list[str] = []
    for line in safe_text.lines(text):
        heading = _HEADING.match(line)
        if not heading and (_ITEM.match(line) or not line.rstrip("*_ ").endswith((":", "："))):
            lines.append(line)
            continue
        if title:
            yield Section(title, (*lines,))
        own, lines = safe_text.without_marking(line), []
        title = (own,)
        if heading:
            level = len(heading[1])
            above = {n: one for n, one in above.items() if n < level}
            title = (*[*above.values()][-1:], own)
            above[level] = own
    if title:
        yield Section(title, (*lines,))


def brief_claims(brief: Brief) -> Iterator[Claim]:
    """A claim for the plan, and one for the earlier results."""
    if brief.plan:
        steps = _starts(brief.plan.lines, _STEPS)
        yield _claim(brief, [_apart(brief.plan.title), steps], [_apart(brief.plan.title[-1:]), steps], BACKGROUND)
    if brief.results:
        told = [part for one in brief.results for part in (_apart(one.title), said(one.lines, _RESULT))]
        yield _claim(brief, told, told[:2], _EARLIER)


def _claim(brief: Brief, told: Sequence[Wording], in_short: Sequence[Wording], importance: float) -> Claim:
    text, short = (
        f"{safe_text.shown(brief.agent)}: {' '.join(part.text for part in parts)}" for parts in (told, in_short)
    )
    quotes = [quote for part in told for quote in part.quotes]
    return claim_of(text, short, quotes, [brief.contract_id], importance, brief.number)


def _apart(pieces: Sequence[str]) -> Wording:
    """One quotation of pieces between which others are left out."""
    return Wording(f"«{' … '.join(map(safe_text.shown, pieces))}»", (*pieces,))


def _starts(pieces: Sequence[str], room: int) -> Wording:
    """One quotation with the start of each piece."""
    starts = [safe_text.clip(piece, room // len(pieces)) for piece in pieces]
    shown = (
        f"{safe_text.shown(start)}{'' if start == piece else '…'}" for start, piece in zip(starts, pieces, strict=True)
    )
    return Wording(f"«{' '.join(shown)}»", (*starts,))
