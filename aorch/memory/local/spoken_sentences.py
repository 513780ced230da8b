"""Selects sentences from the texts of agents and callers: those worth keeping, and those that state a decision."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from aorch.memory import request_prompts, safe_text
from aorch.memory.contract_content import Contract, speech
from aorch.memory.literals import found, proper_names
from aorch.memory.local.announced_lists import announcements
from aorch.memory.local.error_lines import names_error
from aorch.memory.local.languages import can_have
from aorch.memory.local.layout import ends_like_sentence, is_code_or_row, is_layout, is_list_of_labels, looks_like_code
from aorch.memory.local.sentence_kinds import (
    DECISIVE,
    FEWEST,
    LONGEST_SENTENCE,
    MARKS,
    STATELESS,
    acknowledges,
    asks_for,
    concludes,
    decides,
    is_long,
    is_pointing,
    is_polite,
    is_signal,
    is_step,
    known,
    points,
    wishes,
)

_MOST_HEARD = 20

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
_PROMISE = 0.2
"""What a sentence gains that promises something: the call that was made does not show it."""
_INTENTION = 0.2
"""What the worth of a sentence loses that only announces a call."""
_STEP = 0.09
"""The same for a step that names what it was done with: `I clicked 'Membership prices'.`"""
_ADDRESS = 0.2
"""What a sentence loses that only asks another agent by name to speak: `@reviewer, please confirm`."""
_WHOLE_ANSWER, _ANSWERS = 120, 0.35
"""An answer of so many characters says what was asked for if it is one sentence, or has a figure in its last one; the least
worth of that."""
_POINTING, _PROTOCOL = 0.3, 0.5
"""What a sentence loses that points at something that is not shown beside it, and one about how agents take turns."""
_GREETING = re.compile(r"(?:hello|hi|hey|good (?:morning|afternoon|evening|day))\b[\w ,]{0,30}[.!]{0,3}")

_LAYOUT = 0.4
"""What the worth of a menu or of a row of columns loses, so that a word such as `Total` in it is no finding."""
_LINK, _LONGEST_ADDRESS = re.compile(r"\]\((https?://[^\s()&]{4,200})"), 80
"""A link in Markdown, up to the end of its first parameter, and the most characters that are shown of it."""
_PAGE = 0.2
"""The least worth of a step with the page that it led to: where the work was done."""
_FILLER = 40
"""Words of a sentence that says nothing because it is polite, or only acknowledges; a longer one also says something else."""
_FILLING = frozenset(("", "a", "an", "the", "please", "so", "also", "just", "well", "ok", "okay"))


class SpokenSentence(NamedTuple):
    """A spoken sentence. Sorted by `worth`, which is how much it is worth keeping.

    `decides`: it states a decision. `asks`: it is in a REQUEST, so it is not a result. `is_choice`: it is a
    short answer to long instructions. `is_error`: it names an error that the work came to, as a traceback does. `follows`: the
    next sentence, or the items of a list, if this one announces them. `before`: the sentence before it, if it points at that.
    `page`: the address of the page to which a step led.
    """

    worth: float
    number: int
    order: int
    sentence: str
    contract_id: str
    agent: str
    by_caller: bool
    names: tuple[str, ...]
    decides: bool
    asks: bool = False
    is_choice: bool = False
    is_error: bool = False
    follows: tuple[str, ...] = ()
    before: str = ""
    page: str = ""

    @property
    def place(self) -> int:
        """Its place among the sentences of its contract, from 1."""
        return 1 - self.order

    @property
    def whole(self) -> str:
        """The sentence with what follows it."""
        return " ".join((self.sentence, *self.follows)) if self.follows else self.sentence

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
    pieces = safe_text.sentence_pieces(said)
    bare = [*map(safe_text.without_marking, pieces)]
    everything = [one for one in bare if one]
    is_page = not by_caller and is_list_of_labels(everything)
    only = len(everything) == 1
    can_announce = not by_caller and (":" in said or "：" in said)
    marked = [pair for pair in zip(bare, pieces, strict=True) if pair[0]] if can_announce else []
    announced = dict(announcements(marked, concludes))
    if is_page:
        announced = {n: one for n, one in announced.items() if _announces(everything[n])}
    taken = {n + 1 + k for n, (_, count) in announced.items() for k in range(count)}
    last = len(everything) - 1
    has_link = not by_caller and "](http" in said
    sentences = [
        (n, one)
        for n, one in enumerate(everything)
        if n not in taken and (by_caller or only or ((n == last or is_long(one)) and not is_signal(one)))
    ]
    half = _MOST_HEARD // 2
    if len(sentences) > _MOST_HEARD:
        can_decide = can_have("\n".join(safe_text.ends_of(said)), DECISIVE)
        between = [pair for pair in sentences[half:-half] if can_decide and decides(pair[1], by_caller, asks=asks)]
        sentences = sentences[:half] + between + sentences[-half:]
    spoken = []
    for order, sentence in sentences:
        follows, _ = announced.get(order, ((), 0))
        clipped, worth, names, decision, is_leaning = read(sentence, follows, by_caller, asks)
        if is_page and not follows and not ends_like_sentence(clipped) and not concludes(clipped):
            worth = -_LAYOUT
        is_result = order == last and len(said) <= _WHOLE_ANSWER and " " in clipped and any(map(str.isdigit, clipped))
        if (only or is_result) and not by_caller and len(clipped) <= _WHOLE_ANSWER and not _is_empty(clipped):
            worth = max(worth, _ANSWERS)
        one = SpokenSentence(
            worth, number, -order, clipped, contract_id, agent, by_caller, names, decision, asks, follows=follows
        )
        if has_link and order < last and (page := _page_of(clipped, everything[order + 1])):
            one = one._replace(page=page, worth=max(one.worth, _PAGE), names=(page, *names))
        if is_leaning:
            one = _with_antecedent(one, everything[order - 1 : order] if order - 1 not in taken else [])
        spoken.append(one)
    return sorted(spoken, reverse=True), len(everything) - len(sentences) - len(taken)


def _page_of(step: str, after: str) -> str:
    """The address of the page to which the sentence after a step links: its start, without the parameters of a long one. Empty
    if there is none.
    """
    link = _LINK.search(after) if is_step(step) else None
    if link is None:
        return ""
    address = link[1]
    return address if len(address) <= _LONGEST_ADDRESS else address.partition("?")[0][:_LONGEST_ADDRESS]


class Reading(NamedTuple):
    """What is read of a sentence by itself. `is_leaning`: it points at something, or is only a name."""

    clipped: str
    worth: float
    names: tuple[str, ...]
    decides: bool
    is_leaning: bool


@lru_cache(1024)
def read(sentence: str, follows: tuple[str, ...], by_caller: bool, asks: bool) -> Reading:
    """The reading of a sentence with what `follows` it; almost half of the sentences of agents are repetitions."""
    clipped = safe_text.clip(sentence, LONGEST_SENTENCE)
    told = " ".join((clipped, *follows)) if follows else clipped
    names = (*_whole_names(told, sentence)[:20], *(proper_names(clipped)[:8] if by_caller else ()))
    return Reading(
        clipped,
        spoken_worth(told, names, by_caller),
        names,
        decides(clipped, by_caller, asks=asks),
        is_pointing(clipped) or _is_name(clipped, by_caller),
    )


def _is_name(sentence: str, by_caller: bool) -> bool:
    return not by_caller and sentence.startswith('"') and sentence.endswith('"')


def _with_antecedent(one: SpokenSentence, before: Sequence[str]) -> SpokenSentence:
    """A sentence that points at something, or is only a name, with the sentence before it, or with less worth."""
    is_name = _is_name(one.sentence, one.by_caller)
    said = before[0] if before and not points(before[0]) else ""
    announces = said.endswith((":", "："))
    if len(said) <= LONGEST_SENTENCE and is_long(said) and ends_like_sentence(said) and (is_name or not announces):
        return one if is_layout(said) or looks_like_code(said[:120]) else one._replace(before=said)
    is_finding = concludes(one.sentence) and any(map(str.isdigit, one.sentence))
    if one.by_caller or is_finding or not (points(one.sentence) or is_name):
        return one
    return one._replace(worth=one.worth - _POINTING)


def _announces(line: str) -> bool:
    """Whether a line of a page is more than the heading of a part of it (`Main content:`)."""
    return safe_text.word_count(line) >= FEWEST or concludes(line.rstrip(":："))


def _whole_names(told: str, sentence: str) -> list[str]:
    """The exact strings in what is read of a sentence, without one that is cut at its end."""
    names = found(told)
    return names[:-1] if names and len(told) < len(sentence) and told.endswith(names[-1]) else names


def spoken_error(line: str, number: int, contract_id: str, agent: str, before: int) -> SpokenSentence:
    """The line of an agent's text that names an error, as a sentence of its own. `before`: the sentences that precede it."""
    sentence = safe_text.clip(line, LONGEST_SENTENCE)
    names = (*found(sentence)[:20],)
    return SpokenSentence(1.0, number, -before, sentence, contract_id, agent, False, names, False, is_error=True)


def decisions(
    texts: Iterable[str], number: int, contract_id: str, agent: str, *, asks: bool = False
) -> list[SpokenSentence]:
    """The sentences that state a decision in text that is not speech: arguments, results, errors."""
    stated = [
        safe_text.clip(one, LONGEST_SENTENCE)
        for text in texts
        if " " in (ends := "\n".join(safe_text.ends_of(text))) and can_have(ends, DECISIVE)
        for one in safe_text.sentences(ends)
        if decides(one, False, asks=asks)
    ]
    return [
        SpokenSentence(
            spoken_worth(one, found(one)[:20], False), number, -n, one, contract_id, agent, False, (), True, asks
        )
        for n, one in enumerate(stated)
    ]


def meaningful_words(text: str) -> tuple[str, ...]:
    """The words of a text without filler words, in order. Texts with equal words count as repetitions."""
    words = text.lower().replace("’", "'").split()
    return tuple([bare for word in words if (bare := word.strip(MARKS)) not in _FILLING])


def ends_of_sentence(sentence: str) -> tuple[int, int]:
    """Numbers for the first and the last words of a sentence, by which a template is recognised although it contains names."""
    return start_of_sentence(sentence), hash((*sentence.split()[-_TEMPLATE_WORDS:], 1))


def start_of_sentence(sentence: str) -> int:
    """A number for the first words of a sentence."""
    return hash((*sentence.split(None, _TEMPLATE_WORDS)[:_TEMPLATE_WORDS],))


def is_phrase(said: str) -> bool:
    """Whether a caller's words are only thanks or a single word, and need no answer."""
    sentences = [*safe_text.sentences(said)][:_MOST_HEARD]
    if safe_text.word_count(said[: safe_text.HEAD]) < 2 and not found(said[: safe_text.HEAD]):
        return True
    return any(_thanks(one) or _GREETING.fullmatch(one.lower()) for one in sentences) and all(
        spoken_worth(one, found(one), True) <= 0.3 for one in sentences
    )


def needs_no_answer(said: str) -> bool:
    """Whether a caller's words are only thanks, or end the conversation with a signal."""
    return safe_text.ends_with_signal(said) or is_phrase(said)


def _thanks(sentence: str) -> bool:
    return "polite" in known(sentence) if len(sentence) <= LONGEST_SENTENCE else is_polite(sentence[:400].lower())


def is_closing(contract: Contract) -> bool:
    """Whether a contract is a person's REQUEST with closing words: thanks, and no wish, or a signal for a program at the end."""
    said = speech(contract.get("payload")) if contract.get("contract_type") == "REQUEST" else ""
    if not said or contract.get("parent_id") or said.rstrip().endswith(("?", "？")):
        return False
    if safe_text.ends_with_signal(said):
        return True
    folded = said[:400].lower()
    return is_phrase(said) and is_polite(folded)


def _is_empty(answer: str) -> bool:
    """Whether an answer has no content: a polite phrase, a step without its result, or a single word in capitals, which is a
    signal (`TERMINATE`).
    """
    return (
        not known(answer).isdisjoint(STATELESS)
        or acknowledges(answer)
        or (answer.isascii() and answer.isupper() and " " not in answer)
    )


def only_decides(said: str) -> bool:
    """Whether a caller's words only state decisions, and ask for nothing."""
    return all(decides(one, True, asks=True) for one in [*safe_text.sentences(said)][:_MOST_HEARD])


def is_better_aim(said: str, before: str) -> bool:
    """Whether `said` states an aim better than `before`, which is only a phrase or only a decision."""
    return bool(said) and bool(before) and _states_no_aim(before) and not is_phrase(said)


@lru_cache(64)
def _states_no_aim(said: str) -> bool:
    only_announces = said.rstrip().endswith((":", "：")) and safe_text.word_count(said) < FEWEST
    return only_announces or is_phrase(said) or only_decides(said)


def spoken_worth(sentence: str, exact: Sequence[str], by_caller: bool) -> float:
    """How much a sentence with these `exact` strings is worth keeping.

    Wishes of the caller, conclusions and exact strings add to it; polite phrases and code reduce it.
    """
    names = min(_NAMES, _NAME * len(exact))
    words = safe_text.word_count(sentence)
    kinds = known(sentence)
    worth = 0.3 if by_caller else 0.1
    if by_caller and wishes(sentence):
        worth += 0.3 + _ASKED * asks_for(sentence)
    if "waits" in kinds:
        worth += 0.3
    if "concludes" in kinds:
        worth += 0.4 if "summarises" in kinds else 0.15
    if by_caller:
        worth += _ERROR if names_error(sentence) else -_LAYOUT if looks_like_code(sentence[:120]) else names
        is_filler = "polite" in kinds
    else:
        worth += _worth_of_agent(sentence, names, kinds)
        is_filler = "polite" in kinds or acknowledges(sentence)
    is_rule = by_caller and "wants" in kinds and not sentence.endswith(("?", "？"))
    if (words < (FEWEST if is_rule else 7) and not names) or (words < _FILLER and is_filler):
        worth -= 0.3
    return worth


def _worth_of_agent(sentence: str, names: float, kinds: frozenset[str]) -> float:
    """What is added to the worth of a sentence because an agent says it. `kinds`: the sections of its phrases."""
    if "protocol" in kinds:
        return -_PROTOCOL
    worth = _REFUSAL if not kinds.isdisjoint(("refuses", "reasons")) else 0.0
    worth += _PROMISE if "promises" in kinds else 0.0
    worth -= _INTENTION if "intends" in kinds and kinds.isdisjoint(("reasons", "refuses")) else 0.0
    if "acts" in kinds:
        worth -= _INTENTION if request_prompts.unquoted(sentence) == sentence else _STEP
    worth -= _ADDRESS if sentence.startswith("@") else 0.0
    worth -= 0.15 if sentence.endswith(("!", ":", "?", "！", "：", "？")) else 0.0
    if names_error(sentence):
        return worth + _ERROR
    if is_layout(sentence):
        return worth - _LAYOUT
    return worth + (-0.2 if is_code_or_row(sentence) else names)
