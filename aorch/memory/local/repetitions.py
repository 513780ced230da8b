"""Sentences that recur: the text of a prompt template, a phrase, or the status that an agent reports again and again."""

from collections import Counter
from collections.abc import Iterator, Sequence

from aorch.memory.local.findings import Findings
from aorch.memory.local.spoken_sentences import SpokenSentence, ends_of_sentence

_TEMPLATE, _PHRASE, _LITTLE = 1, 2, 0.0
"""Number of times that a sentence of a REQUEST, and another one, can occur and still be news; the worth of one that occurs more
often."""
_LOOP = 3
"""Sentences of an agent with the same first words that are reports of a status, of which the newest one is the news."""


def without_repetitions(by_age: Sequence[SpokenSentence], g: Findings) -> Iterator[SpokenSentence]:
    """The sentences, with less worth if they recur."""
    reports: Counter[tuple[str, int]] = Counter()
    newest: dict[tuple[str, int], SpokenSentence] = {}
    starts = [None if one.by_caller else _start(one) for one in by_age]
    for one, start in zip(by_age, starts, strict=True):
        if start is not None:
            reports[start] += 1
            newest[start] = max(one, newest.get(start, one), key=_number)
    loops = {start: newest[start] for start, count in reports.items() if count >= _LOOP}
    for one, start in zip(by_age, starts, strict=True):
        later = loops.get(start) if start is not None else None
        is_old = later is not None and one.number < later.number and set(later.names).issuperset(one.names)
        yield one._replace(worth=min(one.worth, _LITTLE)) if is_old or _recurs(one, g) else one


def _start(one: SpokenSentence) -> tuple[str, int]:
    """The agent and the first words of a sentence."""
    return one.agent, ends_of_sentence(one.sentence)[0]


def _number(one: SpokenSentence) -> int:
    return one.number


def _recurs(one: SpokenSentence, g: Findings) -> bool:
    """Whether a sentence is the text of a prompt template, or a phrase."""
    if one.asks and not one.by_caller and g.recurs(one.sentence):
        return True
    return g.heard[hash(one.whole)] > (_TEMPLATE if one.asks and one.number > 1 else _PHRASE)
