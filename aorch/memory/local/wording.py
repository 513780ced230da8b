"""Formulates claims about calls: the capability, the important arguments and the outcome, as exact strings joined by fixed
words.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.contract_content import Leaf
from aorch.memory.local.calls import Call, RepeatedCall, Request

TELLING = 0.5
"""Minimum importance of the arguments that the brief text also contains."""

OPEN_WIDTH = 160
"""Maximum number of characters to show of an unanswered text."""


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


def said(pieces: Iterable[str], limit: int) -> Wording:
    """One quotation of consecutive lines, joined by spaces, about `limit` characters long."""
    shown, exact, more = [], [], False
    for piece in pieces:
        if limit < 12:
            more = True
            break
        part = safe_text.clip(piece, limit)
        shown.append(safe_text.shown(part))
        exact.append(part)
        more = len(part) < len(piece)
        limit -= len(part) + 1
    return Wording(f"«{' '.join(shown)}{'…' if more else ''}»", tuple(exact))


def briefly(leaves: Sequence[Leaf], room: int, between: str = ", ") -> Wording:
    """The strings that look like identifiers, dates or names, each once, as many as fit."""
    parts: list[str] = []
    quotes: dict[str, None] = {}
    group: object = None
    for leaf in leaves:
        if not leaf.is_string or leaf.worth < TELLING or leaf.text in quotes:
            continue
        value, exact = _value(leaf, 60)
        room -= len(value) + 2
        if room < 0:
            break
        if parts and (leaf.top, leaf.group) == group:
            parts[-1] += f" {value}"
        else:
            parts.append(value)
        group = (leaf.top, leaf.group)
        quotes[exact] = None
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
            label = _label(leaf.top)
            part = f"{', ' if text else ''}{label}{' ' if label else ''}{value}"
        else:
            part = f"{'; ' if leaf.group != before.group else ' '}{value}"
        if len(text) + len(part) > room:
            return Wording(f"{text} …" if text else "", tuple(quotes))
        text += part
        before = leaf
        if leaf.is_string:
            quotes.append(exact)
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
        quotes += [exact for leaf, (_, exact) in zip(leaves, values, strict=True) if leaf.is_string]
    return Wording(", ".join(parts), tuple(quotes))


def outcome(call: Call, room: int) -> Wording:
    """The values in a result that were not among the arguments: identifiers and other important strings first."""
    keys = {leaf.top for leaf in call.request.arguments}
    new = [leaf for leaf in new_values(call) if leaf.top not in keys]
    if not new:
        return Wording("completed", ())
    if len(new) == 1 and new[0].is_string:
        return fully([new[0]._replace(top="", key="")], room, room)
    telling = [leaf for leaf in new if leaf.is_string and leaf.worth >= TELLING][:6]
    others = [leaf for leaf in new if leaf not in telling][: 10 - len(telling)]
    return fully([leaf for leaf in new if leaf in telling or leaf in others], room, 60)


def claim_of(text: str, brief: str, quotes: Sequence[str], contract_ids: Sequence[str], importance: float) -> Claim:
    """A claim with each quotation and citation once. The brief text is left out if it is not shorter."""
    ids = tuple(dict.fromkeys(identity for identity in contract_ids if identity))
    kept = tuple(dict.fromkeys(quote for quote in quotes if quote))
    return Claim(text, ids, kept, round(importance, 3), "" if brief == text or len(brief) > len(text) else brief)


def _label(key: str) -> str:
    return safe_text.shown(safe_text.first_line(key)[:30])


def _value(leaf: Leaf, width: int) -> tuple[str, str]:
    if not leaf.is_string:
        return leaf.text, leaf.text
    if " " in leaf.text or len(leaf.text) > width or leaf.cut or leaf.text.startswith("×"):
        return safe_text.quoted(leaf.text, width)
    return safe_text.shown(leaf.text), leaf.text
