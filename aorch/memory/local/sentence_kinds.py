"""Tells what a sentence does: states a decision, a finding or a wish, asks, refuses, points at another one."""

import re
from functools import lru_cache

from aorch.memory import request_prompts, safe_text
from aorch.memory.call_effects import CHANGING, READING
from aorch.memory.contract_content import is_code
from aorch.memory.local.error_lines import names_error
from aorch.memory.local.languages import marks

LEANING = 60
"""Characters of a request below which the sentence before it says what it is about: `Can you help me with that?`"""
LONGEST_SENTENCE = 300
"""Number of characters of a sentence that are read."""
_SHORTEST, FEWEST = 12, 4
_POINTS = re.compile(
    r"(?:If so|This|That|These|Those|Such|Both|Neither of (?:these|those|them)|Either of them)\b(?! session)"
)
_NEAR = 110
_NAMES_EARLIER = re.compile(
    r"[Tt](?<!\w.)(?:his|hese|hose) (?!(?:is|year|month|week|day|morning|afternoon|evening|time|way)\b)[a-z]{3}"
)
"""What a short sentence calls by `this` and a word, in less than so many characters: what that is was said before it."""
_DECIDED = re.compile(
    r"\b(?:decided|agreed (?:to|on|that)|settled on|opted (?:to|for)|decision (?:is|was)\b|decision:)"
)
_OWN = re.compile(
    r"(?:^|\b(?:we|i|team|it|all)(?:['’]\w{1,3})?(?: \w{1,12}){0,2} )(?:decided|agreed|settled|opted)"
    r"|\b(?:our|final|the) decision\b|^decision\b"
)
DECISIVE = frozenset(("states decision", "decided"))
"""The sections of phrases that state a decision."""
_UNDECIDED = re.compile(
    r"(?:\b(?:not|never|nothing|nobody|if|whether|once|until|unless|before|still|to be)|n['’]t)"
    r"(?: \w{1,20}){0,3} (?:decided|agreed)"
)
STATELESS = frozenset(("polite", "protocol", "acts"))
"""The sections of phrases of sentences that state nothing."""
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
MARKS = ".,;:!?\"'()[]«»“”*"
"""Marks around a word."""


def points(sentence: str) -> bool:
    """Whether a sentence is about something that was said before it: `This should fetch it`, `if this approach is acceptable`."""
    return bool(_POINTS.match(sentence)) or "points" in known(sentence)


def is_pointing(sentence: str) -> bool:
    """Whether a sentence is clearer after the one before it: it points at something, or is short and names a thing by `this`."""
    return points(sentence) or (len(sentence) < _NEAR and bool(_NAMES_EARLIER.search(sentence)))


def is_leaning(sentence: str) -> bool:
    """Whether a sentence is understood only after the one before it: it is short, or points at something."""
    return len(sentence) < LEANING or is_pointing(sentence)


def confirms(sentence: str) -> bool:
    """Whether a caller's sentence agrees to what an agent proposes."""
    return "confirms" in known(sentence)


def is_signal(sentence: str) -> bool:
    """Whether a sentence is only a signal that ends a chat: `TERMINATE`."""
    return sentence.isupper() and "signals" in known(sentence) and safe_text.word_count(sentence) < FEWEST


def is_protocol(sentence: str) -> bool:
    """Whether a sentence tells how agents take turns, or a step without its result, and nothing about the work."""
    return not known(sentence).isdisjoint(("protocol", "acts"))


def states_turns(sentence: str) -> bool:
    """Whether a sentence states something about how agents take turns: `There is no code for me to execute.`"""
    return "protocol" in known(sentence) and safe_text.word_count(sentence) >= FEWEST and not sentence.endswith(":")


def is_step(sentence: str) -> bool:
    """Whether a sentence tells a step without its result: `I clicked 'Prices'.`"""
    return "acts" in known(sentence)


def announces_step(sentence: str) -> bool:
    """Whether an agent's sentence only says what the agent is about to do: `I will check the prices.`"""
    return "intends" in known(sentence)


def is_long(sentence: str) -> bool:
    """Whether a sentence of an agent is long enough to state something."""
    return len(sentence) >= _SHORTEST or safe_text.word_count(sentence) >= FEWEST


def decides(sentence: str, by_caller: bool, *, asks: bool = False) -> bool:
    """Whether a sentence states a decision. If no caller said it, it must be a decision of its author (`we decided …`).

    Quotations in a REQUEST, and instructions to do or say something, are not decisions.
    """
    if known(sentence).isdisjoint(DECISIVE):  # most of them
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
    there = marks(folded)
    return ("states decision" in there and bool(_DECIDED.search(folded))) or (
        "decided" in there and "undecided" not in there
    )


@lru_cache(1024)
def known(sentence: str) -> frozenset[str]:
    """The sections that have a phrase in a sentence."""
    return marks(sentence[:LONGEST_SENTENCE].lower())


def waits(sentence: str) -> bool:
    """Whether a sentence states what is still to be done, or what the work waits for."""
    return "waits" in known(sentence)


def wishes(sentence: str) -> bool:
    """Whether a caller's sentence states a wish, a rule or a question."""
    return sentence.endswith(("?", "？")) or not known(sentence).isdisjoint(("wants", "asks"))


def asks_for(sentence: str) -> int:
    """How clearly a caller's sentence asks for something, from 0 (not at all) to 4."""
    folded = sentence[:LONGEST_SENTENCE].lower()
    found_in = known(sentence)
    if is_code(sentence) or ("polite" in found_in and safe_text.word_count(folded) < FEWEST):
        return 0
    is_request = "asks" in found_in or _commands(folded)
    return 2 * is_request + sentence.endswith(("?", "？")) + ("wants" in found_in or names_error(sentence))


def _commands(folded: str) -> bool:
    """Whether an English sentence (in lower case) begins with a verb in the imperative."""
    words = _BEFORE_IMPERATIVE.sub("", folded, count=1).split(maxsplit=1)
    return bool(words) and words[0].strip(MARKS) in _IMPERATIVE


def concludes(sentence: str) -> bool:
    """Whether a sentence states a finding: it has a phrase for one, and does not only announce it or ask."""
    there = known(sentence)
    if "concludes" not in there or "polite" in there or "intends" in there:
        return False
    return not sentence.endswith((":", "?", "：", "？")) and not acknowledges(sentence)


def states(sentence: str) -> bool:
    """Whether a sentence states something: it neither announces the next one, nor asks, nor only acknowledges, nor is polite."""
    announces = sentence.endswith((":", "?", "：", "？"))
    is_said = safe_text.word_count(sentence) >= FEWEST and known(sentence).isdisjoint(STATELESS)
    return is_said and not announces and not acknowledges(sentence)


def acknowledges(sentence: str) -> bool:
    """Whether an agent's sentence only shows that it has understood: each of its clauses is short, polite, or says so."""
    there = known(sentence)
    if "acknowledges" not in there or not there.isdisjoint(("refuses", "decided", "waits", "concludes")):
        return False
    folded = sentence[:LONGEST_SENTENCE].lower()
    return all(
        safe_text.word_count(clause) < FEWEST or "acknowledges" in marks(clause) or is_polite(clause)
        for clause in _CLAUSE.split(folded)
    )


def chooses(sentence: str) -> bool:
    """Whether a caller's sentence chooses one of several things."""
    return "chooses" in known(sentence)


def refuses(sentence: str) -> bool:
    """Whether an agent's sentence states what it cannot or may not do."""
    return "refuses" in known(sentence)


def justifies(sentence: str) -> bool:
    """Whether an agent's sentence states a choice with its reason."""
    there = known(sentence)
    return "reasons" in there and "polite" not in there


def is_polite(folded: str) -> bool:
    """Whether a sentence (in lower case) contains a polite phrase."""
    return "polite" in marks(folded)
