"""Makes one claim for several calls of a capability: their arguments, and what their results tell."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aorch.memory.block import Claim
from aorch.memory.contract_content import Leaf
from aorch.memory.literals import weight
from aorch.memory.local.calls import Call, RepeatedCall
from aorch.memory.local.mentions import Mentions
from aorch.memory.local.wording import Wording, briefly, changed, claim_of, fully, head, joined, new_values, outcome

_ARGUMENTS = 240
"""Characters of the arguments of several calls."""
_SHORT_CHANGE = 80
"""Characters of changed values that also a brief text has: what changed is what the calls were for."""
_CHANGED, _RESULT = 170, 480
"""Characters of the changed values of a repeated call, and of the result of a single call."""
_REASONS = 100
"""Characters of the values on which a refusal rests, which also a brief text has."""
_SEVERAL_RESULTS = 750
"""Characters of the values in the results of several calls, with their keys."""


class _Asked(NamedTuple):
    """The arguments of calls, those of the oldest call first. `shown` are the calls that have them, the newest first, and `told`
    is the number of calls with these arguments.
    """

    arguments: str
    quotes: tuple[str, ...]
    shown: Sequence[RepeatedCall]
    told: int


def claim_together(
    newest_first: Sequence[RepeatedCall], count: int, importance: float, mentions: Mentions
) -> tuple[Claim, int]:
    """One claim for several calls of a capability: how many, with which arguments, and the newest result or the changes.

    Also returns the number of calls that the claim mentions.
    """
    newest, asked = newest_first[0], _asked(newest_first)
    is_single = len(asked.shown) == 1
    called = joined(f"{head(newest.last.request)}{f' ×{count}' if count > 1 else ''}", asked.arguments)
    result, ends = _result_or_changes(newest, mentions) if is_single else _results(asked.shown, mentions)
    is_change = is_single and bool(ends)
    text = f"{called}{': ' if is_change else ' → '}{result.text}" if result.text else called
    reasons, reasoned = values_of_reasons(asked.shown, mentions)
    brief = f"{called} → {reasons.text}" if reasons.text else called
    if (is_change and len(result.text) <= _SHORT_CHANGE) or (is_single and newest.last.is_empty):
        brief = text
    text = max(text, brief, key=len)
    last = newest.last
    number, first = (last.number, last.contract_id) if is_change else newest_first[len(asked.shown) - 1].begun
    requests = [series.last.request.contract_id for series in reversed(asked.shown)]
    cites = [first, last.contract_id, *ends, *reasoned, *requests]
    quotes = (*asked.quotes, *result.quotes, *reasons.quotes)
    return claim_of(text, brief, quotes, cites, importance, number), asked.told


def _asked(newest_first: Sequence[RepeatedCall]) -> _Asked:
    """The different arguments of the newest calls, as many as fit."""
    parts: list[str] = []
    quotes: list[str] = []
    shown: list[RepeatedCall] = []
    room, told = _ARGUMENTS, 0
    for series in newest_first:
        arguments = briefly(series.last.request.arguments, 110, " ")
        if not arguments.text:
            arguments = fully(series.last.request.arguments, 80, 60)
        if arguments.text not in parts:
            room -= len(arguments.text) + 2
            if room < 0:
                break
            parts.append(arguments.text)
            quotes += arguments.quotes
            shown.append(series)
        told += 1
    return _Asked(", ".join(reversed(parts)), tuple(quotes), shown, told)


def values_of_reasons(newest_first: Sequence[RepeatedCall], mentions: Mentions) -> tuple[Wording, list[str]]:
    """The values in the results of calls on which a refusal or another decision rests, and what a caller names by a figure, and
    the contracts to cite.
    """

    def decisive(call: Call) -> list[Leaf]:
        named = mentions.named(call.results)
        return [*(leaf for leaf in call.news if mentions.explain(leaf, call.number) and leaf not in named), *named]

    return _by_call(newest_first, decisive, _REASONS)


def _results(newest_first: Sequence[RepeatedCall], mentions: Mentions) -> tuple[Wording, list[str]]:
    """What the results of several calls have that is spoken of later, or their exact strings, and the contracts to cite."""

    def spoken_of(call: Call) -> list[Leaf]:
        return [leaf for leaf in new_values(call) if mentions.has(leaf, call.number)]

    def exact(call: Call) -> list[Leaf]:
        return [leaf for leaf in new_values(call) if leaf.is_string and weight(leaf.text) >= 0.5]

    told = _by_call(newest_first, spoken_of, _SEVERAL_RESULTS)
    return told if told[0].text else _by_call(newest_first, exact, _SEVERAL_RESULTS)


def _by_call(
    newest_first: Sequence[RepeatedCall], select: Callable[[Call], list[Leaf]], room: int
) -> tuple[Wording, list[str]]:
    """Some values in the results of calls, or `empty`, each after the arguments of its call, and the contracts to cite."""
    cited: list[str] = []
    parts: list[str] = []
    quotes: list[str] = []
    for series in newest_first:
        selected = select(series.last)
        telling = {(leaf.text, *(() if leaf.is_string else (leaf.key,))): leaf for leaf in selected[::-1]}
        made = fully(sorted(telling.values(), key=selected.index), room, 60)
        owner = briefly(series.last.request.arguments, 40) if len(newest_first) > 1 else Wording("", ())
        told = made.text or ("empty" if owner.text and series.last.is_empty else "")
        part = f"{owner.text}: {told}" if owner.text else told
        if not told or len(part) > room:
            continue
        room -= len(part) + 2
        parts.append(part)
        quotes += (*owner.quotes, *made.quotes)
        cited.append(series.last.contract_id)
    return Wording("; ".join(reversed(parts)), tuple(quotes)), cited


def _result_or_changes(series: RepeatedCall, mentions: Mentions) -> tuple[Wording, list[str]]:
    """The changes in the results of a repeated call, with the contracts to cite for them. Without changes, the last result."""
    if series.changed and (values := changed(series, _CHANGED)).text:
        return values, series.ends
    last = series.last
    return (outcome(last, _RESULT, mentions.has) if last.news or last.is_empty else Wording("", ())), []
