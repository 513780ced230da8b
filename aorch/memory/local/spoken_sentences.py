"""Selects sentences from the texts of agents and callers: those worth keeping, and those that state a decision."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from aorch.memory import request_prompts, safe_text
from aorch.memory.literals import found, proper_names

_SHORTEST, _FEWEST, _MOST_HEARD = 12, 4, 20

_WANTS = re.compile(
    r"\b(?:want|prefer|would like|['’]d like|need|must|should|don['’]?t|do not|never|always|only|instead|rather|because|"
    r"make sure|ensure|avoid|without|at most|at least|no more than|unless|as long as|important|actually)\b",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"\b(?:feel free|hesitate|let me know|(?:more|other|further|any) (?:questions?|assistance|help)|thank(?:s| you)|"
    r"you['’]re welcome|happy to|glad to|have a (?:great|nice|good|wonderful)|apologi[sz]e|sorry for|appreciate)\b"
)
_CONCLUDES = re.compile(
    r"\b(?:answer|result|conclu\w{1,10}|therefore|thus|found|cause\w{0,3}|because|fixed|decided|decision|recommend\w{0,6}|total|"
    r"in summary|final\w{0,2}|success\w{0,6}|fail\w{0,4}|confirmed|verified|cannot|unable|need\w{0,2} to)\b"
)

_FINAL = re.compile(r"\b(?:final answer|in conclusion|in summary|the answer is|root cause|cause was)\b")
_CODE = re.compile(r"[;{}\\]|\w\(\w|\w = \S|^File |^(?:import|from|def|class|return|print)\b|[^\s\w]{4}")

_DECIDED = re.compile(
    r"\b(?:decided|agreed (?:to|on|that)|settled on|opted (?:to|for)|decision (?:is|was)\b|decision:)"
)
_OWN = re.compile(
    r"(?:^|\b(?:we|i|team|it|all)(?:['’]\w{1,3})?(?: \w{1,12}){0,2} )(?:decided|agreed|settled|opted)"
    r"|\b(?:our|final|the) decision\b|^decision\b"
)
_UNDECIDED = re.compile(
    r"(?:\b(?:not|never|nothing|nobody|if|whether|once|until|unless|before|still|to be)|n['’]t)"
    r"(?: \w{1,20}){0,3} (?:decided|agreed)"
)
_FILLING = frozenset(("a", "an", "the", "please", "so", "also", "just", "well", "ok", "okay"))
_MARKS = ".,;:!?\"'()[]«»“”*"


class SpokenSentence(NamedTuple):
    """A spoken sentence. Sorted by `worth`, which is how much it is worth keeping.

    `decides`: it states a decision. `asks`: it is in a REQUEST, so it is not a result.
    """

    worth: float
    number: int
    order: int
    sentence: str
    contract_id: str
    agent: str
    by_caller: bool
    names: list[str]
    decides: bool
    asks: bool = False


def section_of(asks: bool) -> str:
    """The section of a spoken sentence: `preferences` if it is in a REQUEST, otherwise `results`."""
    return "preferences" if asks else "results"


def select_sentences(
    said: str, number: int, contract_id: str, agent: str, by_caller: bool, *, asks: bool = False
) -> tuple[list[SpokenSentence], int]:
    """The best sentences of a text, the best first, and the number of the others.

    `number` is the number of the contract. Of a long text, the first and last sentences are selected, and all decisions.
    """
    everything = list(safe_text.sentences(said))
    sentences = [(n, one) for n, one in enumerate(everything) if by_caller or _is_long(one)]
    half = _MOST_HEARD // 2
    if len(sentences) > _MOST_HEARD:
        between = [pair for pair in sentences[half:-half] if decides(pair[1], by_caller, asks=asks)]
        sentences = sentences[:half] + between + sentences[-half:]
    spoken = []
    for order, sentence in sentences:
        clipped = safe_text.clip(sentence, 300)
        names = found(clipped)[:20] + (proper_names(clipped)[:8] if by_caller else [])
        worth = spoken_worth(clipped, names, by_caller)
        decision = decides(clipped, by_caller, asks=asks)
        spoken.append(
            SpokenSentence(worth, number, -order, clipped, contract_id, agent, by_caller, names, decision, asks)
        )
    return sorted(spoken, reverse=True), len(everything) - len(sentences)


def _is_long(sentence: str) -> bool:
    return len(sentence) >= _SHORTEST or safe_text.word_count(sentence) >= _FEWEST


def decisions(
    strings: Sequence[str], number: int, contract_id: str, agent: str, *, asks: bool = False
) -> list[SpokenSentence]:
    """The sentences that state a decision in text that is not speech: arguments, results, errors."""
    stated = [
        safe_text.clip(one, 300)
        for text in strings
        if " " in text
        for one in safe_text.sentences(text)
        if decides(one, False, asks=asks)
    ]
    return [
        SpokenSentence(
            spoken_worth(one, found(one)[:20], False), number, -n, one, contract_id, agent, False, [], True, asks
        )
        for n, one in enumerate(stated)
    ]


def decides(sentence: str, by_caller: bool, *, asks: bool = False) -> bool:
    """Whether a sentence states a decision. If no caller said it, it must be a decision of its author (`we decided …`).

    Quotations in a REQUEST, and instructions to do or say something, are not decisions.
    """
    folded = sentence[:300].lower()
    if not _DECIDED.search(folded) or sentence.endswith("?") or _UNDECIDED.search(folded):
        return False
    if asks:
        folded = request_prompts.unquoted(folded)
        stated = _DECIDED.search(folded)
        if stated is None or request_prompts.instructs(folded[: stated.end()]):
            return False
    return by_caller or bool(_OWN.search(folded))


def meaningful_words(text: str) -> tuple[str, ...]:
    """The words of a text without filler words, in order. Texts with equal words count as repetitions."""
    words = (word.strip(_MARKS) for word in text.lower().split())
    return tuple(word for word in words if word and word not in _FILLING)


def is_phrase(said: str) -> bool:
    """Whether a caller's words are only thanks or a single word, and need no answer."""
    sentences = [*safe_text.sentences(said)][:_MOST_HEARD]
    if safe_text.word_count(said[: safe_text.HEAD]) < 2:
        return True
    return any(_POLITE.search(one[:400].lower()) for one in sentences) and all(
        spoken_worth(one, found(one), True) <= 0.3 for one in sentences
    )


def only_decides(said: str) -> bool:
    """Whether a caller's words only state decisions, and ask for nothing."""
    return all(decides(one, True, asks=True) for one in [*safe_text.sentences(said)][:_MOST_HEARD])


def spoken_worth(sentence: str, names: list[str], by_caller: bool) -> float:
    """How much a sentence is worth keeping.

    Wishes of the caller, conclusions and exact strings add to it; polite phrases and code reduce it.
    """
    words = safe_text.word_count(sentence)
    worth = 0.3 if by_caller else 0.1
    if by_caller and _WANTS.search(sentence):
        worth += 0.25
    folded = sentence.lower()
    if _CONCLUDES.search(folded):
        worth += 0.4 if _FINAL.search(folded) else 0.15
    if not by_caller and _CODE.search(sentence[:120]):
        worth -= 0.2
    else:
        worth += min(0.3, 0.1 * len(names))
    if (words < 7 and not names) or (words < 30 and _POLITE.search(folded)):
        worth -= 0.3
    if sentence.endswith(("!", ":", "?")) and not by_caller:
        worth -= 0.15
    return worth
