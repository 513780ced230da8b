"""Makes claims of spoken sentences: every stated decision, and the best of the other sentences."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.budget import FILLING, SPARE, Item
from aorch.memory.local.conclusions import answer_sentences
from aorch.memory.local.error_lines import names_error
from aorch.memory.local.findings import Findings
from aorch.memory.local.later_tasks import later_tasks
from aorch.memory.local.proposals import AGREED, proposals
from aorch.memory.local.question_scores import question_scores
from aorch.memory.local.repetitions import without_repetitions
from aorch.memory.local.sentence_kinds import is_leaning, justifies, refuses, states, waits, wishes
from aorch.memory.local.spoken_sentences import SpokenSentence, is_phrase, meaningful_words, section_of
from aorch.memory.local.wording import OPEN_WIDTH, Wording, claim_of, said
from aorch.memory.segments import words

_MOST_SENTENCES, _MOST_OF_CONTRACT = 40, 4
_BRIEF = 180
"""Characters of the best sentence in a brief text: most sentences are whole in it."""
_AGREED, _BEFORE = 100, 120
"""Characters of a proposal in brief to which a caller agrees, and by which a brief text is longer
if its best sentence points at the one before it."""
_FIGURE = re.compile(r"\d[\d.,:]*(?<=\d)")
_TELLING = 0.25
_BESIDE = 40
"""The characters of a claim beside its sentence."""
ANSWER, _CONCLUSIVE = 0.9, 0.7
_WISH, _VITAL_WISHES = 0.845, 4
"""Importance of what a person asks for in the course of the work, and how many of the newest wishes are vital."""
_TURN, _LAST_TURNS = 0.846, 2
"""Importance of what a person said in the last turns, and their number: the work stands there."""
_REFUSAL, _REASON, _VITAL_REFUSALS = 0.852, 0.843, 4
"""Importance of what an agent cannot or may not do, of the reason that it gives for something else, and how many of the newest
sentences of each kind have it."""
CHOICE = 0.87
"""Importance of a short answer to long instructions."""
NEXT_STEP, RECENT = 0.88, 6
"""Importance of what is still to be done, if it was said in the last contracts, and their number."""
_HIGHEST = 0.84
_SAME_START = 40
"""Characters by which a sentence is the error that its agent reported."""
_ALIKE = 0.6  # share of the words of a sentence that are in another one: it adds little
_SAME_THING = 0.75  # share of common words: both are about the same subject, and the later one counts
_DECIDED, _VITAL_DECISIONS, _OLDER, _IN_TEMPLATE = 0.968, 8, 0.8, 0.1


class WeightedSentence(NamedTuple):
    """A sentence with its importance. A `spare` one mostly repeats others, and is used only if space is left."""

    importance: float
    said: SpokenSentence
    spare: bool = False


def decided(stated: Iterable[SpokenSentence], recurs: Callable[[str], bool] = lambda _: False) -> Iterator[Claim]:
    """A claim for each distinct decision, in its latest wording, the newest first. Older ones are less important, and those of
    a prompt of which other prompts have a sentence that `recurs`.
    """
    known: set[tuple[str, ...]] = set()
    for one in sorted(stated, key=lambda one: (one.number, -one.order), reverse=True):
        told = meaningful_words(one.sentence)
        if told in known:
            continue
        if one.asks and not one.by_caller and recurs(one.sentence):
            yield _claim([one], _IN_TEMPLATE)
            continue
        place = len(known)
        known.add(told)
        vital = place < _VITAL_DECISIONS
        yield _claim([one], _DECIDED - 0.002 * place if vital else max(0.3, _OLDER - 0.01 * (place - _VITAL_DECISIONS)))


def sentences(
    g: Findings, question: str, aims: Sequence[Claim], conclusion: SpokenSentence | None = None
) -> tuple[list[Item], Counter[str]]:
    """Claims for the other sentences, and by section the number of sentences that are not considered. `conclusion` has a claim.

    Sentences of one contract share a claim; each spare sentence has its own.
    """
    choice = _Choice(g)
    weighed, unsaid = _weighed(g, question, aims, conclusion)
    for one in weighed:
        if one.spare:
            choice.spare(one)
        else:
            choice.take(one)
    ordered = sorted(choice.all(), key=lambda one: (-one.said.number, one.spare, -one.said.order))
    ranks = _Ranks(g, ordered)
    items: list[Item] = []
    for _, group in groupby(
        ordered,
        key=lambda one: (one.said.contract_id, one.said.by_caller, one.spare, one.said.order if one.spare else None),
    ):
        together = list(group)
        width = _AGREED if ranks.are_agreed(together) else _BRIEF
        claim = _claim([one.said for one in together], ranks.importance(together), width)
        items.append((section_of(together[0].said.asks), claim))
    return items, unsaid


class _Ranks:
    """The importance of claims of sentences, which are asked for from the newest to the oldest."""

    def __init__(self, g: Findings, ordered: Sequence[WeightedSentence]) -> None:
        self._g = g
        self._told = g.aim.contract_id if g.aim else ""
        sentences = [one.said for one in ordered]
        self._offers, self._tasks = proposals(sentences), later_tasks(g, sentences)
        self._wished = self._refused = self._justified = self._turns = 0

    def importance(self, together: Sequence[WeightedSentence]) -> float:
        """The importance of a claim of these sentences of one contract."""
        first, sentences = together[0], [one.said.sentence for one in together]
        importance = max(one.importance for one in together)
        if first.spare:
            importance *= SPARE
        elif self._concludes(together):
            importance = ANSWER
        if first.said.by_caller:
            importance = max(importance, self._of_caller(first, sentences))
        elif not first.spare:
            importance = max(importance, self._of_agent(sentences))
        importance = max(
            importance,
            CHOICE if first.said.is_choice else 0.0,
            *(self._offers.get((one.said.number, one.said.order), 0.0) for one in together),
        )
        if first.said.number > self._g.count - RECENT and any(map(waits, sentences)):
            importance = max(importance, NEXT_STEP)
        return importance

    def are_agreed(self, together: Sequence[WeightedSentence]) -> bool:
        """Whether one of the sentences is a proposal to which a caller agrees, and none refuses something."""
        is_agreed = any(self._offers.get((one.said.number, one.said.order)) == AGREED for one in together)
        return is_agreed and not any(refuses(one.said.sentence) for one in together)

    def _concludes(self, together: Sequence[WeightedSentence]) -> bool:
        """Whether the sentences are of the newest answer to a caller, and one of them has a conclusion."""
        is_answer = self._g.answer is not None and together[0].said.contract_id == self._g.answer[0]
        return is_answer and max(one.said.worth for one in together) >= _CONCLUSIVE

    def _of_caller(self, first: WeightedSentence, sentences: Sequence[str]) -> float:
        importance = 0.0
        if first.said.contract_id != self._told:
            self._turns, self._told = self._turns + 1, first.said.contract_id
            importance = _TURN if self._turns <= _LAST_TURNS else 0.0
        if self._wished < _VITAL_WISHES and any(map(wishes, sentences)):
            importance = max(importance, _WISH - 0.002 * self._wished)
            self._wished += 1
        return importance if first.spare else max(importance, self._tasks.get(first.said.contract_id, 0.0))

    def _of_agent(self, sentences: Sequence[str]) -> float:
        if self._refused < _VITAL_REFUSALS and any(map(refuses, sentences)):
            self._refused += 1
            return _REFUSAL
        if self._justified < _VITAL_REFUSALS and any(map(justifies, sentences)):
            self._justified += 1
            return _REASON - 0.002 * self._justified
        return 0.0


def _weighed(
    g: Findings, question: str, aims: Sequence[Claim], conclusion: SpokenSentence | None
) -> tuple[list[WeightedSentence], Counter[str]]:
    """The sentences that are worth a claim, most important first, and by section the number of the others.

    A sentence that another claim contains anyway is left out.
    """
    shown = _read(quote for claim in aims for quote in claim.quotes)
    reported = {one.sentence[:_SAME_START] for one in g.reported.values()}
    others = (_apart(one, conclusion) for one in [*g.said, *answer_sentences(g)] if one is not conclusion)
    by_age = [one for one in others if one.sentence[:_SAME_START] not in reported]
    if runs := g.runs.ended:
        beside_code = {(run.contract_id, one) for run in runs for one in (*run.comments, *run.after)}
        by_age = [one for one in by_age if (one.contract_id, one.sentence) not in beside_code]
    by_age.sort(key=lambda one: (one.by_caller, one.number, one.worth))
    last = _by_words(without_repetitions(by_age, g))
    worthy = {told: one for told, one in last.items() if _is_worth_a_claim(one)}
    spoken_of = [*worthy.values()]
    new = {
        told: one
        for told, one in last.items()
        if not one.decides and not _is_shown_elsewhere(one, told, g, shown, spoken_of)
    }
    spoken = [one for told, one in new.items() if told in worthy]
    fits = question_scores([one.whole for one in spoken], question)
    weighed = [
        WeightedSentence(0.15 + one.worth * 0.6 + 0.2 * fit + 0.1 * one.number / g.count, one)
        for one, fit in zip(spoken, fits, strict=True)
    ]
    weighty = [one for one in weighed if one.importance >= _TELLING or one.said.by_caller]
    light = [one.said for one in weighed if one.importance < _TELLING and not one.said.by_caller]
    filling = list(_filling(light, g.room - sum(len(one.said.sentence) + _BESIDE for one in weighty)))
    unsaid = Counter(section_of(one.asks) for told, one in new.items() if told not in worthy)
    unsaid.update(section_of(one.asks) for one in light)
    unsaid.subtract(section_of(one.said.asks) for one in filling)
    return [*sorted(weighty, reverse=True), *filling], +unsaid


def _by_words(by_age: Iterable[SpokenSentence]) -> dict[tuple[str, ...], SpokenSentence]:
    """The sentences by their words: the newest of those that have the same, but an answer rather than the prompt for another
    agent that repeats it, unless that is worth more as the thread of the work.
    """
    last: dict[tuple[str, ...], SpokenSentence] = {}
    for one in by_age:
        told = meaningful_words(one.whole)
        before = last.get(told)
        is_prompt = before is not None and one.asks and not one.by_caller and not before.asks
        if before is None or not is_prompt or one.worth > before.worth:
            last[told] = one
    return last


def _apart(one: SpokenSentence, conclusion: SpokenSentence | None) -> SpokenSentence:
    """A sentence without the one before it if that has a claim of its own."""
    is_shown = conclusion is not None and (one.contract_id, one.before) == (conclusion.contract_id, conclusion.sentence)
    return one._replace(before="") if is_shown else one


def _filling(light: Sequence[SpokenSentence], room: int) -> Iterator[WeightedSentence]:
    """Of the sentences that are hardly worth a claim, the best that state something, as many as fit in `room` characters."""
    for one in sorted(light, reverse=True) if room > 0 else ():
        if not one.asks and room > len(one.sentence) and states(one.sentence):
            room -= len(one.sentence) + _BESIDE
            yield WeightedSentence(FILLING / SPARE, one, spare=True)


def _is_worth_a_claim(one: SpokenSentence) -> bool:
    return not one.decides and (one.worth > 0 or (one.by_caller and not is_phrase(one.sentence)))


def _read(quotes: Iterable[str]) -> set[tuple[str, ...]]:
    """The sentences of the quotes, each without filler words."""
    return {meaningful_words(sentence) for quote in quotes for sentence in safe_text.sentences(quote)}


def _is_shown_elsewhere(
    one: SpokenSentence,
    told: tuple[str, ...],
    g: Findings,
    aims: set[tuple[str, ...]],
    spoken: Sequence[SpokenSentence],
) -> bool:
    """Whether the aim, or the claim of an unanswered REQUEST, contains the sentence, whose words are `told`.

    If a caller repeats the aim after saying something different about the same subject, the repetition is news.
    """
    waiting = g.waiting(one.contract_id)
    if waiting is not None and told in _read(said(safe_text.sentence_pieces(waiting.said), OPEN_WIDTH).quotes):
        return True
    if g.aim is None or told not in aims:
        return False
    if not one.by_caller:
        return True
    own = _words(one)
    between = (other for other in spoken if other.by_caller and g.aim.number < other.number < one.number)
    return not any(alike(own, _words(other)) for other in between)


class _Choice:
    """Sorts sentences, in order of importance, into chosen and spare ones. Of two sentences about the same subject from the
    same side, the later one is chosen, with the higher importance of both. Later statements of a caller about the aim are
    vital. A sentence that is similar to a chosen one is spare, unless it contains new exact strings, or is of the newest answer
    to a caller and has a new figure.
    """

    def __init__(self, g: Findings) -> None:
        self._chosen: list[WeightedSentence] = []
        self._words: list[set[str]] = []
        self._spare: list[WeightedSentence] = []
        self._names: set[str] = set()
        self._answer = {g.answer[0]} if g.answer else set[str]()
        self._figures = set(_FIGURE.findall(g.aim.said)) if g.aim else set[str]()
        self._of_contract = Counter({g.answer[0]: -2} if g.answer else {})  # the answer may contain more
        self._aim = words(g.aim.said) if g.aim else set()
        self._aims = [words(one) for one in safe_text.sentences(g.aim.said)] if g.aim else []

    def all(self) -> list[WeightedSentence]:
        """The chosen and the spare sentences."""
        return self._chosen + self._spare

    def spare(self, one: WeightedSentence) -> None:
        """Add a sentence that is used only if space is left."""
        self._spare.append(one)

    def take(self, one: WeightedSentence) -> None:
        """Add the next sentence."""
        own = _words(one.said)
        some = sorted(own, key=len)[-1 - int((1 - _ALIKE) * len(own)) :]
        # a set of words that lacks all of `some`, the longest ones, has too few of the others
        near = [n for n, others in enumerate(self._words) if not some or not others.isdisjoint(some)]
        place = next((n for n in near if alike(own, self._words[n])), None)
        one = one._replace(importance=min(_HIGHEST, one.importance))
        if place is not None and _is_later(one.said, self._chosen[place].said) and _same_thing(own, self._words[place]):
            one = self._put(place, one)
            new = not set(self._chosen[place].said.names).issuperset(one.said.names)
        elif place is None and one.said.by_caller and any(_same_thing(own, others) for others in self._aims):
            one, new = one._replace(importance=ANSWER), True
        else:
            new = not self._names.issuperset(one.said.names) or (place is None and not alike(own, self._aim))
            new = new or (one.said.contract_id in self._answer and not self._figures.issuperset(_figures(one.said)))
        room = len(self._chosen) < _MOST_SENTENCES and self._of_contract[one.said.contract_id] < _MOST_OF_CONTRACT
        if new and room and one.importance >= _TELLING:
            self._choose(one, own if place is None else _words(one.said))
        else:
            self._spare.append(one._replace(spare=True))

    def _choose(self, one: WeightedSentence, own: set[str]) -> None:
        self._chosen.append(one)
        self._words.append(own)
        self._names.update(one.said.names)
        self._figures.update(_figures(one.said))
        self._of_contract[one.said.contract_id] += 1

    def _put(self, place: int, later: WeightedSentence) -> WeightedSentence:
        """Replace an earlier sentence with `later`, exchange their importance, and return the earlier one."""
        earlier = self._chosen[place]
        self._chosen[place] = later._replace(importance=max(earlier.importance, later.importance))
        self._words[place] = _words(later.said)
        self._names.update(later.said.names)
        return earlier._replace(importance=min(earlier.importance, later.importance))


def _figures(one: SpokenSentence) -> list[str]:
    return _FIGURE.findall(one.whole)


def _words(one: SpokenSentence) -> set[str]:
    return words(one.whole)


def alike(one: set[str], others: set[str]) -> bool:
    """Whether a text with the words `one` adds little to another one."""
    return len(one & others) >= _ALIKE * len(one)


def _same_thing(one: set[str], others: set[str]) -> bool:
    return len(one & others) >= _SAME_THING * max(len(one), len(others))


def _is_later(one: SpokenSentence, other: SpokenSentence) -> bool:
    """Whether `one` was said later than `other`, by the same side."""
    return one.by_caller == other.by_caller and (one.number, -one.order) > (other.number, -other.order)


def _claim(together: Sequence[SpokenSentence], importance: float, width: int = _BRIEF) -> Claim:
    who = safe_text.shown(together[0].agent)
    best = max(together, key=lambda one: one.worth)
    shown = _with_antecedents(together)
    full = [_at(said((one.sentence, *one.follows), 400 if one.follows else 300), one.page) for one in shown]
    before = [one.sentence for one in shown if one.order == best.order + 1 and is_leaning(best.sentence)]
    brief = full[0]
    if len(shown) > 1 or best.follows or len(best.sentence) > width:
        pasted = [one.sentence for one in shown if one.by_caller and one is not best and names_error(one.sentence)][:1]
        room = width + min(_BEFORE, sum(map(len, (*before, *pasted))))
        brief = _at(said((*before, best.sentence, *best.follows, *pasted), room), best.page)
    return claim_of(
        f"{who}: {' '.join(wording.text for wording in full)}",
        f"{who}: {brief.text}",
        [quote for wording in full for quote in wording.quotes],
        [together[0].contract_id],
        importance,
        together[0].number,
        [one.place for one in shown],
    )


def _at(words: Wording, page: str) -> Wording:
    """Words about a step, with the page to which it led."""
    return Wording(f"{words.text} (at {safe_text.shown(page)})", (*words.quotes, page)) if page else words


def _with_antecedents(together: Sequence[SpokenSentence]) -> list[SpokenSentence]:
    """Sentences of one contract in their order, with those at which they point."""
    orders = {one.order for one in together}
    antecedents = [
        one._replace(sentence=one.before, order=one.order + 1, follows=(), before="")
        for one in together
        if one.before and one.order + 1 not in orders
    ]
    return sorted([*together, *antecedents], key=lambda one: -one.order)
