"""The sentences of the newest answer to a person, and the conclusion that is shown at the end if that answer has none."""

from aorch.memory import safe_text
from aorch.memory.block import CONCLUDED, Claim
from aorch.memory.budget import END
from aorch.memory.local.findings import Findings
from aorch.memory.local.sentence_kinds import LONGEST_SENTENCE, announces_step, concludes, is_polite, is_step, states
from aorch.memory.local.spoken_sentences import SpokenSentence, select_sentences
from aorch.memory.local.wording import claim_of, said
from aorch.memory.segments import words

_OPENING = 0.1
"""The least worth of the sentence with which an answer of a team begins, since it often says why the work ended, and of the step
that the last answer announces.
"""
_LONG_ANSWER, _CONCLUSION = 4, 0.05
"""Sentences from which the last one of an answer that concludes comes first, and by how much."""
_OF_QUESTION = 3
"""Words of the question that a sentence with content has if it has no exact string."""


def answer_sentences(g: Findings) -> list[SpokenSentence]:
    """The sentences of the newest answer to a caller, with increased worth, its conclusion with the highest."""
    if g.answer is None:
        return []
    identity, agent, answer, number = g.answer
    spoken, _ = select_sentences(answer, number, identity, agent, False)
    if g.copied and any(one.worth > 0 for one in spoken):  # without a sentence of worth, the whole beginning is shown
        spoken = [one._replace(worth=max(_OPENING, one.worth)) if _opens(one) else one for one in spoken]
    if g.end is not None and not g.end.asks:
        last = min((one.order for one in spoken), default=0)
        spoken = [one._replace(worth=max(_OPENING, one.worth)) if _announces(one, last) else one for one in spoken]
    weighed = [one._replace(worth=one.worth + 0.3) if one.worth > 0 else one for one in spoken]
    asked = words(g.aim.said) if g.aim else set[str]()
    telling = [one for one in weighed if one.concluded and has_content(one, asked)]
    if len(weighed) < _LONG_ANSWER or not telling:
        return weighed
    conclusion, best = min(telling, key=lambda one: one.order), max(one.worth for one in weighed)
    return [one._replace(worth=best + _CONCLUSION) if one is conclusion else one for one in weighed]


def _opens(one: SpokenSentence) -> bool:
    """Whether an answer begins with this sentence, and says by it what the answer is: a step, or why the work ended."""
    return one.order == 0 and (is_step(one.sentence) or (states(one.sentence) and not announces_step(one.sentence)))


def _announces(one: SpokenSentence, last: int) -> bool:
    """Whether the last sentence of an answer announces a step: one that was never done if nothing follows."""
    return one.order == last and announces_step(one.sentence) and not is_polite(one.sentence.lower())


def last_conclusion(g: Findings) -> SpokenSentence | None:
    """The newest conclusion of another agent, if the answer to a person has words of an agent that concludes nothing."""
    if g.copied is None or g.end is None or any(map(concludes, safe_text.sentences(g.end.text))):
        return None
    asked = words(g.aim.said) if g.aim else set[str]()
    telling = [
        one
        for one in g.said
        if not (one.asks or one.by_caller or one.decides or one.agent == g.copied.author)
        and concludes(one.sentence)
        and has_content(one, asked)
    ]
    return max(telling, key=lambda one: (one.number, one.worth), default=None)


def conclusion_claim(one: SpokenSentence) -> Claim:
    """The claim of the last conclusion, which is shown at the end."""
    words = said([one.sentence], LONGEST_SENTENCE)
    text = f"{safe_text.shown(one.agent)} {CONCLUDED}: {words.text}"
    return claim_of(text, "", words.quotes, [one.contract_id], END, one.number, [one.place])


def has_content(one: SpokenSentence, asked: set[str]) -> bool:
    """Whether a sentence has exact strings, numbers or quotations, or several words of the question."""
    told = " ".join((one.sentence, *one.follows))
    return bool(one.names) or '"' in told or any(map(str.isdigit, told)) or len(words(told) & asked) >= _OF_QUESTION
