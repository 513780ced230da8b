"""Selects sentences from the texts of agents and callers: those worth keeping, and those that state a decision."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from aorch.memory import request_prompts, safe_text
from aorch.memory.call_effects import CHANGING, READING
from aorch.memory.contract_content import Contract, is_code, speech
from aorch.memory.literals import found, proper_names
from aorch.memory.local.announced_lists import announcements
from aorch.memory.local.error_lines import names_error
from aorch.memory.local.languages import can_have, marks
from aorch.memory.local.layout import is_layout, is_row, looks_like_code

LEANING = 60
"""Characters of a request below which the sentence before it says what it is about: `Can you help me with that?`"""
LONGEST_SENTENCE = 300
"""Number of characters of a sentence that are read."""
_SHORTEST, _FEWEST, _MOST_HEARD = 12, 4, 20

_TEMPLATE_WORDS = 6
"""Words at the start or at the end of a sentence that two prompts of a template have in common."""
_ERROR = 0.4
"""What the name of an exception adds to the worth of a sentence: a failure that an agent reports in a text."""
_ASKED = 0.05
"""What a wish gains by how clearly it asks: of the sentences of a caller, the request comes before its circumstances."""
_NAME, _NAMES = 0.1, 0.3
"""What an exact string adds to the worth of a sentence, and what several add at most."""
_REFUSAL = 0.1
"""What a sentence gains that states what an agent cannot or may not do, or a reason: why something was done or was not."""
_INTENTION = 0.2
"""What the worth of a sentence loses that only announces a call."""
_WHOLE_ANSWER, _ANSWERS = 120, 0.35
"""An answer of so many characters says what was asked for if it is one sentence, or has a figure in its last one; the least
worth of that."""
_GREETING = re.compile(r"(?:hello|hi|hey|good (?:morning|afternoon|evening|day))\b[\w ,]{0,30}[.!]{0,3}")

_DECIDED = re.compile(
    r"\b(?:decided|agreed (?:to|on|that)|settled on|opted (?:to|for)|decision (?:is|was)\b|decision:)"
)
_LAYOUT = 0.4
"""What the worth of a menu or of a row of columns loses, so that a word such as `Total` in it is no finding."""
_OWN = re.compile(
    r"(?:^|\b(?:we|i|team|it|all)(?:['’]\w{1,3})?(?: \w{1,12}){0,2} )(?:decided|agreed|settled|opted)"
    r"|\b(?:our|final|the) decision\b|^decision\b"
)
_DECISIVE = frozenset(("states decision", "decided"))
"""The sections of phrases that state a decision."""
_UNDECIDED = re.compile(
    r"(?:\b(?:not|never|nothing|nobody|if|whether|once|until|unless|before|still|to be)|n['’]t)"
    r"(?: \w{1,20}){0,3} (?:decided|agreed)"
)
_FILLING = frozenset(("a", "an", "the", "please", "so", "also", "just", "well", "ok", "okay"))
_BEFORE_IMPERATIVE = re.compile(
    r"^(?:(?:please|then|now|so|also|and|but|first|next|just|ok|okay|finally)[ ,]+|\W+){1,3}"
)
_ALSO_IMPERATIVE = (
    "make give tell use keep implement rewrite refactor replace improve design build propose fix help let"
)
_QUESTION_WORDS = "are can contains count do does exists has have is should sleep test tests was were order log price"
_IMPERATIVE = (CHANGING | READING | {*_ALSO_IMPERATIVE.split()}) - {*_QUESTION_WORDS.split()}
_CLAUSE = re.compile(r"[;:–—，、；：]|,(?! (?:wie|dass|warum|что|как|почему)\b)")
"""The end of a clause; German and Russian also put a comma before what is understood (`Ich verstehe, wie …`)."""
_MARKS = ".,;:!?\"'()[]«»“”*"


class SpokenSentence(NamedTuple):
    """A spoken sentence. Sorted by `worth`, which is how much it is worth keeping.

    `decides`: it states a decision. `asks`: it is in a REQUEST, so it is not a result. `is_choice`: it is a
    short answer to long instructions. `is_error`: it names an error that the work came to, as a traceback does. `follows`: the
    next sentence, or the items of a list, if this one announces them.
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
    is_choice: bool = False
    is_error: bool = False
    follows: tuple[str, ...] = ()

    @property
    def place(self) -> int:
        """Its place among the sentences of its contract, from 1."""
        return 1 - self.order

    @property
    def whole(self) -> str:
        """The sentence with what follows it."""
        return " ".join((self.sentence, *self.follows))

    @property
    def concluded(self) -> bool:
        """Whether it states a finding, or announces one that follows."""
        return concludes(self.sentence.rstrip(":：") if self.follows else self.sentence)


def section_of(asks: bool) -> str:
    """The section of a spoken sentence: `preferences` if it is in a REQUEST, otherwise `results`."""
    return "preferences" if asks else "results"


def select_sentences(
    said: str, number: int, contract_id: str, agent: str, by_caller: bool, *, asks: bool = False
) -> tuple[list[SpokenSentence], int]:
    """The best sentences of a text, the best first, and the number of the others.

    `number` is the number of the contract. Of a long text, the first and last sentences are selected, and all decisions.
    """
    pieces = [(bare, one) for one in safe_text.sentence_pieces(said) if (bare := safe_text.without_marking(one))]
    everything = [bare for bare, _ in pieces]
    only = len(everything) == 1
    announced = {} if by_caller else dict(announcements(pieces, concludes))
    taken = {n + 1 + k for n, (_, count) in announced.items() for k in range(count)}
    last = len(everything) - 1
    sentences = [
        (n, one)
        for n, one in enumerate(everything)
        if n not in taken and (by_caller or only or n == last or is_long(one))
    ]
    half = _MOST_HEARD // 2
    if len(sentences) > _MOST_HEARD:
        can_decide = can_have("\n".join(safe_text.ends_of(said)), _DECISIVE)
        between = [pair for pair in sentences[half:-half] if can_decide and decides(pair[1], by_caller, asks=asks)]
        sentences = sentences[:half] + between + sentences[-half:]
    spoken = []
    for order, sentence in sentences:
        clipped = safe_text.clip(sentence, LONGEST_SENTENCE)
        follows, _ = announced.get(order, ((), 0))
        told = " ".join((clipped, *follows))
        names = found(told)[:20] + (proper_names(clipped)[:8] if by_caller else [])
        worth = spoken_worth(told, names, by_caller)
        is_result = order == last and len(said) <= _WHOLE_ANSWER and " " in clipped and any(map(str.isdigit, clipped))
        if (only or is_result) and not by_caller and len(clipped) <= _WHOLE_ANSWER and not _is_empty(clipped):
            worth = max(worth, _ANSWERS)
        decision = decides(clipped, by_caller, asks=asks)
        spoken.append(
            SpokenSentence(
                worth, number, -order, clipped, contract_id, agent, by_caller, names, decision, asks, follows=follows
            )
        )
    return sorted(spoken, reverse=True), len(everything) - len(sentences) - len(taken)


def spoken_error(line: str, number: int, contract_id: str, agent: str, before: int) -> SpokenSentence:
    """The line of an agent's text that names an error, as a sentence of its own. `before`: the sentences that precede it."""
    sentence = safe_text.clip(line, LONGEST_SENTENCE)
    names = found(sentence)[:20]
    return SpokenSentence(1.0, number, -before, sentence, contract_id, agent, False, names, False, is_error=True)


def is_long(sentence: str) -> bool:
    """Whether a sentence of an agent is long enough to state something."""
    return len(sentence) >= _SHORTEST or safe_text.word_count(sentence) >= _FEWEST


def decisions(
    strings: Sequence[str], number: int, contract_id: str, agent: str, *, asks: bool = False
) -> list[SpokenSentence]:
    """The sentences that state a decision in text that is not speech: arguments, results, errors."""
    stated = [
        safe_text.clip(one, LONGEST_SENTENCE)
        for text in strings
        if " " in text and can_have(text, _DECISIVE)
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
    if _known(sentence).isdisjoint(_DECISIVE):  # most of them
        return False
    folded = sentence[:LONGEST_SENTENCE].lower()
    if not _states_decision(folded) or sentence.endswith(("?", "？")) or _UNDECIDED.search(folded):
        return False
    if asks:
        folded = request_prompts.unquoted(folded)
        stated = _DECIDED.search(folded)
        if not _states_decision(folded) or request_prompts.instructs(folded[: stated.end() if stated else None]):
            return False
    return by_caller or bool(_OWN.search(folded)) or "decided" in marks(folded)


def _states_decision(folded: str) -> bool:
    """Whether a sentence (in lower case) has a phrase that states a decision, in any of the languages."""
    known = marks(folded)
    return ("states decision" in known and bool(_DECIDED.search(folded))) or (
        "decided" in known and "undecided" not in known
    )


@lru_cache(1024)
def _known(sentence: str) -> frozenset[str]:
    """The sections that have a phrase in a sentence."""
    return marks(sentence[:LONGEST_SENTENCE].lower())


def waits(sentence: str) -> bool:
    """Whether a sentence states what is still to be done, or what the work waits for."""
    return "waits" in _known(sentence)


def wishes(sentence: str) -> bool:
    """Whether a caller's sentence states a wish, a rule or a question."""
    return sentence.endswith(("?", "？")) or not _known(sentence).isdisjoint(("wants", "asks"))


def asks_for(sentence: str) -> int:
    """How clearly a caller's sentence asks for something, from 0 (not at all) to 4."""
    folded = sentence[:LONGEST_SENTENCE].lower()
    found_in = _known(sentence)
    if is_code(sentence) or ("polite" in found_in and safe_text.word_count(folded) < _FEWEST):
        return 0
    is_request = "asks" in found_in or _commands(folded)
    return 2 * is_request + sentence.endswith(("?", "？")) + ("wants" in found_in or names_error(sentence))


def _commands(folded: str) -> bool:
    """Whether an English sentence (in lower case) begins with a verb in the imperative."""
    words = _BEFORE_IMPERATIVE.sub("", folded, count=1).split(maxsplit=1)
    return bool(words) and words[0].strip(_MARKS) in _IMPERATIVE


def concludes(sentence: str) -> bool:
    """Whether a sentence states a finding: it has a phrase for one, and does not only announce it or ask."""
    known = _known(sentence)
    if "concludes" not in known or "polite" in known or "intends" in known:
        return False
    return not sentence.endswith((":", "?", "：", "？")) and not acknowledges(sentence)


def states(sentence: str) -> bool:
    """Whether a sentence states something: it neither announces the next one, nor asks, nor only acknowledges, nor is polite."""
    announces = sentence.endswith((":", "?", "：", "？"))
    is_said = safe_text.word_count(sentence) >= _FEWEST and not is_polite(sentence.lower())
    return is_said and not announces and not acknowledges(sentence)


def acknowledges(sentence: str) -> bool:
    """Whether an agent's sentence only shows that it has understood: each of its clauses is short, polite, or says so."""
    known = _known(sentence)
    if "acknowledges" not in known or not known.isdisjoint(("refuses", "decided", "waits", "concludes")):
        return False
    folded = sentence[:LONGEST_SENTENCE].lower()
    return all(
        safe_text.word_count(clause) < _FEWEST or "acknowledges" in marks(clause) or is_polite(clause)
        for clause in _CLAUSE.split(folded)
    )


def chooses(sentence: str) -> bool:
    """Whether a caller's sentence chooses one of several things."""
    return "chooses" in _known(sentence)


def refuses(sentence: str) -> bool:
    """Whether an agent's sentence states what it cannot or may not do."""
    return "refuses" in _known(sentence)


def justifies(sentence: str) -> bool:
    """Whether an agent's sentence states a choice with its reason."""
    known = _known(sentence)
    return "reasons" in known and "polite" not in known


def meaningful_words(text: str) -> tuple[str, ...]:
    """The words of a text without filler words, in order. Texts with equal words count as repetitions."""
    words = [word.strip(_MARKS) for word in text.lower().split()]
    return tuple([word for word in words if word and word not in _FILLING])


def ends_of_sentence(sentence: str) -> tuple[int, int]:
    """Numbers for the first and the last words of a sentence, by which a template is recognised although it contains names."""
    words = sentence.split()
    return hash((*words[:_TEMPLATE_WORDS],)), hash((*words[-_TEMPLATE_WORDS:], 1))


def is_phrase(said: str) -> bool:
    """Whether a caller's words are only thanks or a single word, and need no answer."""
    sentences = [*safe_text.sentences(said)][:_MOST_HEARD]
    if safe_text.word_count(said[: safe_text.HEAD]) < 2 and not found(said[: safe_text.HEAD]):
        return True
    return any(is_polite(one[:400].lower()) or _GREETING.fullmatch(one.lower()) for one in sentences) and all(
        spoken_worth(one, found(one), True) <= 0.3 for one in sentences
    )


def is_closing(contract: Contract) -> bool:
    """Whether a contract is a person's REQUEST with closing words: thanks, and no wish."""
    said = speech(contract.get("payload")) if contract.get("contract_type") == "REQUEST" else ""
    if not said or contract.get("parent_id") or said.rstrip().endswith(("?", "？")):
        return False
    folded = said[:400].lower()
    return is_phrase(said) and is_polite(folded)


def _is_empty(answer: str) -> bool:
    """Whether an answer has no content: a polite phrase, or a single word in capitals, which is a signal (`TERMINATE`)."""
    return (
        is_polite(answer.lower())
        or acknowledges(answer)
        or (answer.isascii() and answer.isupper() and " " not in answer)
    )


def is_polite(folded: str) -> bool:
    """Whether a sentence (in lower case) contains a polite phrase."""
    return "polite" in marks(folded)


def only_decides(said: str) -> bool:
    """Whether a caller's words only state decisions, and ask for nothing."""
    return all(decides(one, True, asks=True) for one in [*safe_text.sentences(said)][:_MOST_HEARD])


def is_better_aim(said: str, before: str) -> bool:
    """Whether `said` states an aim better than `before`, which is only a phrase or only a decision."""
    return bool(said) and bool(before) and _states_no_aim(before) and not is_phrase(said)


@lru_cache(64)
def _states_no_aim(said: str) -> bool:
    return is_phrase(said) or only_decides(said)


def spoken_worth(sentence: str, names: list[str], by_caller: bool) -> float:
    """How much a sentence is worth keeping.

    Wishes of the caller, conclusions and exact strings add to it; polite phrases and code reduce it.
    """
    return _worth(sentence, min(_NAMES, _NAME * len(names)), by_caller)


@lru_cache(1024)
def _worth(sentence: str, names: float, by_caller: bool) -> float:
    words = safe_text.word_count(sentence)
    known = _known(sentence)
    worth = 0.3 if by_caller else 0.1
    if by_caller and wishes(sentence):
        worth += 0.3 + _ASKED * asks_for(sentence)
    if "waits" in known:
        worth += 0.3
    if "concludes" in known:
        worth += 0.4 if "summarises" in known else 0.15
    if by_caller:
        worth += names
        is_filler = "polite" in known
    else:
        worth += _worth_of_agent(sentence, names, known)
        is_filler = "polite" in known or acknowledges(sentence)
    if (words < 7 and not names) or (words < 30 and is_filler):
        worth -= 0.3
    return worth


def _worth_of_agent(sentence: str, names: float, known: frozenset[str]) -> float:
    """What is added to the worth of a sentence because an agent says it. `known`: the sections of its phrases."""
    worth = _REFUSAL if not known.isdisjoint(("refuses", "reasons")) else 0.0
    worth -= _INTENTION if "intends" in known and "reasons" not in known else 0.0
    worth -= 0.15 if sentence.endswith(("!", ":", "?", "！", "：", "？")) else 0.0
    if names_error(sentence):
        return worth + _ERROR
    if is_layout(sentence):
        return worth - _LAYOUT
    return worth + (-0.2 if looks_like_code(sentence[:120]) or is_row(sentence) else names)
