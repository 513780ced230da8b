"""Sentences that recur: the text of a prompt template, a phrase, or the status that an agent reports again and again."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from aorch.memory.local.findings import Findings
from aorch.memory.local.sentence_kinds import waits
from aorch.memory.local.spoken_sentences import SpokenSentence, start_of_sentence

_TEMPLATE, _PHRASE, _LITTLE = 2, 2, 0.0
"""Number of times that a sentence of a REQUEST, and another one, can occur and still be news; the worth of one that occurs more
often."""
_LOOP, _WAITING = 3, 2
"""Sentences of an agent with the same first words that are reports of a status, of which the newest one is the news; and how many
of the newest sentences about what is still to be done are."""


def without_repetitions(by_age: Sequence[SpokenSentence], g: Findings) -> Iterator[SpokenSentence]:
    """The sentences, with less worth if they recur."""
    reports: Counter[tuple[str, int]] = Counter()
    newest: dict[tuple[str, int], SpokenSentence] = {}
    starts = [None if one.by_caller else _start(one) for one in by_age]
    for one, start in zip(by_age, starts, strict=True):
        if start is not None:
            reports[start] += 1
            newest[start] = one
    waiting = _old_waiting(by_age)
    loops = {start: newest[start] for start, count in reports.items() if count >= _LOOP}
    for one, start in zip(by_age, starts, strict=True):
        later = loops.get(start) if start is not None else None
        is_old = later is not None and one.number < later.number and set(later.names).issuperset(one.names)
        is_old = is_old or (one.number, one.order) in waiting
        yield one._replace(worth=min(one.worth, _LITTLE)) if is_old or _recurs(one, g) else one


def _old_waiting(by_age: Sequence[SpokenSentence]) -> set[tuple[int, int]]:
    """The numbers and orders of the sentences in which an agent that often says what is still to be done said it long ago."""
    said: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in by_age:
        if not (one.by_caller or one.decides) and waits(one.sentence):
            said[one.agent].append((one.number, one.order))
    return {place for places in said.values() if len(places) > _LOOP for place in sorted(places)[:-_WAITING]}


def _start(one: SpokenSentence) -> tuple[str, int]:
    """The agent and the first words of a sentence."""
    return one.agent, start_of_sentence(one.sentence)


def _recurs(one: SpokenSentence, g: Findings) -> bool:
    """Whether a sentence is the text of a prompt template, or a phrase."""
    if one.asks and not one.by_caller and g.recurs(one.sentence):
        return True
    return g.heard[hash(one.whole)] > (_TEMPLATE if one.asks and one.number > 1 else _PHRASE)
