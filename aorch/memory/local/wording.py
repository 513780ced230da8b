"""Formulates claims about calls: the capability, the important arguments and the outcome, as exact strings joined by fixed
words.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.call_effects import COMMANDS
from aorch.memory.contract_content import Leaf
from aorch.memory.local.calls import Call, RepeatedCall, Request, is_command

TELLING = 0.5
"""Minimum importance of the arguments that the brief text also contains."""

OPEN_WIDTH = 240
"""Maximum number of characters to show of an unanswered text, and of the end of a session."""

_MARKS = 4
"""Characters of the marks of a quotation, and of the space before it."""
_FEW = 2
"""Number of values of a result that are also shown if an earlier call had the same result."""
_MENTIONED = 8
"""Number of values of a result that are shown because they are spoken of later."""
_BRIEF_VALUE = 112
"""Characters of a value in a brief text: the first 76 of a command, and its end."""


class Wording(NamedTuple):
    """Text of a claim, and the exact strings in it."""

    text: str
    quotes: tuple[str, ...]


def head(asked: Request) -> str:
    """The capability, and its agent unless the names are similar."""
    capability = safe_text.shown(asked.capability) or "call"
    if not asked.agent or asked.capability in asked.agent:
        return capability
    return f"{capability} ({safe_text.shown(asked.agent)})"


def joined(*parts: str) -> str:
    """The parts that are not empty, with spaces between them."""
    return " ".join(filter(None, parts))


def said(pieces: Iterable[str], limit: int) -> Wording:
    """One quotation of consecutive lines or sentences, about `limit` characters long."""
    shown, exact, more = [], [], False
    for piece in pieces:
        if more or limit < 12:
            more = True
            break
        part = safe_text.clip(piece, limit)
        part = part if part == piece else part.rstrip("* ")  # half of a mark of bold text
        shown.append(safe_text.shown(part))
        exact.append(part)
        more = len(part) < len(piece)
        limit -= len(part) + 1
    return Wording(f"«{safe_text.joined(shown)}{'…' if more else ''}»", tuple(exact))


def briefly(leaves: Sequence[Leaf], room: int, between: str = ", ") -> Wording:
    """The strings that look like identifiers, dates or names, each once, as many as fit."""
    parts: list[str] = []
    quotes: dict[str, None] = {}
    group: object = None
    for leaf in leaves:
        if not leaf.is_string or leaf.worth < TELLING or leaf.text in quotes:
            continue
        value, exact = _value(leaf, _BRIEF_VALUE)
        room -= len(value) + 2
        if room < 0:
            break
        if parts and (leaf.top, leaf.group) == group:
            parts[-1] += f" {value}"
        else:
            parts.append(value)
        group = (leaf.top, leaf.group)
        quotes.update(dict.fromkeys(exact))
    return Wording(between.join(parts), tuple(quotes))


def fully(leaves: Sequence[Leaf], room: int, width: int = 90) -> Wording:
    """All values with their keys, as many as fit: `to ann@x.org, items A1 count 2; B7 count 1`."""
    text = ""
    before: Leaf | None = None
    quotes: list[str] = []
    for leaf in leaves:
        value, exact = _value(leaf, width)
        if not leaf.is_string and leaf.key != leaf.top:
            value = f"{_label(leaf.key)} {value}"
        if before is None or leaf.top != before.top:
            label = "" if leaf.top.lower() in COMMANDS else _label(leaf.top)
            part = f"{', ' if text else ''}{label}{' ' if label else ''}{value}"
        else:
            part = f"{'; ' if leaf.group != before.group else ' '}{value}"
        if len(text) + len(part) > room:
            return Wording(f"{text} …" if text else "", tuple(quotes))
        text += part
        before = leaf
        if leaf.is_string:
            quotes += exact
    return Wording(text, tuple(dict.fromkeys(quotes)))


def new_values(call: Call) -> list[Leaf]:
    """The new values in a result, without those that were among the arguments."""
    given = {leaf.text for leaf in call.request.arguments}
    return [leaf for leaf in call.news if leaf.text not in given]


def changed(series: RepeatedCall, room: int) -> Wording:
    """The values of a repeated call that changed: `state degraded → healthy`."""
    parts: list[str] = []
    quotes: list[str] = []
    for leaves in series.changed.values():
        values = [_value(leaf, 40) for leaf in leaves]
        part = f"{_label(leaves[0].key)} {' → '.join(value for value, _ in values)}".strip()
        room -= len(part) + 2
        if room < 0:
            break
        parts.append(part)
        quotes += [one for leaf, (_, exact) in zip(leaves, values, strict=True) if leaf.is_string for one in exact]
    return Wording(", ".join(parts), tuple(quotes))


def outcome(call: Call, room: int, is_mentioned: Callable[[Leaf, int], bool] = lambda _, __: False) -> Wording:
    """The values in a result that were not among the arguments: identifiers and other important strings first, and those that are
    spoken of later.
    """
    keys = {leaf.top for leaf in call.request.arguments}
    new = [leaf for leaf in new_values(call) if leaf.top not in keys]
    if not new and (is_command(call.request.arguments) or len(call.results) <= _FEW):
        new = call.results[:_FEW]  # what a command printed, or a state, even if an earlier call had the same result
    if not new:
        return Wording("empty" if call.is_empty else "completed", ())
    if len(new) == 1 and new[0].is_string:
        return fully([new[0]._replace(top="", key="")], room, room - _MARKS)
    telling = [leaf for leaf in new if leaf.is_string and leaf.worth >= TELLING][:6]
    telling += [leaf for leaf in new if leaf not in telling and is_mentioned(leaf, call.number)][:_MENTIONED]
    others = [leaf for leaf in new if leaf not in telling][: max(0, 20 - len(telling))]
    return fully([leaf for leaf in new if leaf in telling or leaf in others], room, 60)


def claim_of(
    text: str,
    brief: str,
    quotes: Sequence[str],
    contract_ids: Sequence[str],
    importance: float,
    number: int,
    places: Iterable[int] = (),
) -> Claim:
    """A claim with each quotation and citation once. The brief text is left out if it is not shorter.

    `number` is the place of the first cited contract, and `places` are those of the quotations among its sentences.
    """
    ids = tuple(dict.fromkeys(identity for identity in contract_ids if identity))
    short = "" if brief == text or len(brief) > len(text) else brief
    kept = tuple(dict.fromkeys(quote for quote in quotes if quote))
    if brief and not short:
        kept = tuple(quote for quote in kept if safe_text.shown(quote) in text)
    return Claim(text, ids, kept, round(importance, 3), short, number, tuple(places))


def _label(key: str) -> str:
    return safe_text.shown(safe_text.first_line(key)[:30])


def _value(leaf: Leaf, width: int) -> tuple[str, tuple[str, ...]]:
    """How a value is shown, and the exact strings in that."""
    if not leaf.is_string:
        return leaf.text, (leaf.text,)
    if leaf.is_new:
        return said((leaf.text, *leaf.more), width)
    if leaf.more:
        return _lines((leaf.text, *leaf.more), width, is_all=not leaf.cut)
    if " " in leaf.text or len(leaf.text) > width or leaf.cut or leaf.text.startswith("×"):
        exact = safe_text.ends_clipped(leaf.text, leaf.end, width)
        cut = "…" if len(exact) == 1 and (leaf.cut or len(exact[0]) < len(leaf.text)) else ""
        return f"«{' … '.join(map(safe_text.shown, exact))}{cut}»", exact
    return safe_text.shown(leaf.text), (leaf.text,)


def _lines(lines: Sequence[str], width: int, *, is_all: bool) -> tuple[str, tuple[str, ...]]:
    """All lines if they fit; otherwise the first one and the last one, and those between them that fit, with `…` at each cut.
    Of a long last line, the end is shown too: a query has its condition there.
    """
    is_short = sum(map(len, lines)) + len(lines) <= width
    last = (lines[-1],) if is_short else safe_text.ends_clipped(lines[-1], "", width // 2)
    room = width - sum(map(len, last))
    kept = [lines[0] if is_short else safe_text.clip(lines[0], room)]
    room -= len(kept[0])
    for line in lines[1:-1] if kept[0] == lines[0] else ():
        room -= len(line) + 1
        if room < 0 and not is_short:
            break
        kept.append(line)
    is_whole = len(kept) == len(lines) - 1 and kept[0] == lines[0] and is_all
    end = "…" if len(last) == 1 and last[0] != lines[-1] else ""
    shown = " … ".join(map(safe_text.shown, last))
    return f"«{' '.join(map(safe_text.shown, kept))}{' ' if is_whole else ' … '}{shown}{end}»", (*kept, *last)
