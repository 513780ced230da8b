"""Adds to the findings what agents and callers say: sentences, decisions, and the exact strings in them."""

import heapq
import re
from collections.abc import Iterable, Iterator
from typing import Any

from aorch.memory import contract_content, request_prompts, safe_text
from aorch.memory.differences import changed_lines
from aorch.memory.literals import weight
from aorch.memory.local.calls import INSTRUCTION, Call, Copied, commands, is_prompt
from aorch.memory.local.code_runs import code_in
from aorch.memory.local.exact_strings import add_name
from aorch.memory.local.findings import MOST_SEEN, Findings
from aorch.memory.local.layout import is_code_or_row, is_layout
from aorch.memory.local.question_scores import content_words
from aorch.memory.local.sentence_kinds import asks_for, is_protocol, states, states_turns
from aorch.memory.local.spoken_sentences import SpokenSentence, decisions, section_of, select_sentences, spoken_error

_MOST_SAID, _MOST_DECIDED, _MOST_IDLE = 800, 200, 60
"""Bounds of memory: sentences, decisions, and agents that had nothing to do."""
_SHORT_ANSWER, _CHOICE = 120, 0.8
"""The longest answer to a prompt (characters) that counts as a choice, and the worth of a choice."""
_REPLY, _REPLIES = 400, 0.5
"""Characters of an answer to instructions that is short enough to be their result, and the worth of its sentences, or of those
of a longer answer that are most likely its result."""
_PROSE = 60
"""Characters from which a value of a result is text."""
_PROMPTED = 0.1
"""What a sentence of a prompt is worth less than the same sentence of an answer."""
_INSTRUCTED = 0.2
"""What a sentence gains by which one agent tells another what to do: the thread of the work."""
_RESTATED, _TASK = 0.25, 60
"""What a sentence is worth less in a text that hands on the aim, and the characters that such an aim has at least."""
_UNRELATED = 0.4
"""What a sentence of a long result is worth less if it has nothing to do with what was asked."""
_RESULT = 0.35
"""The least worth of the last line of an output, which is its result."""
_LABEL = -0.3
"""What a label of a page is worth at most, which is no result."""
_VERDICT = 60
"""Characters of the line at the end of a long answer that can be its verdict."""
_OF_CODE = {"file": 0.3, "class": 0.1}
"""Worth of the names of what the code in an answer is: its files and its classes."""
_DIFFERENCES = ("diff ", "--- ", "Index: ")
"""How an answer begins that is only a difference of files."""
_SHOWN = 160
"""Characters of the only value of the result of an act that its claim shows whole."""
_TURN = 400
"""Characters of an answer at most that only tells how agents take turns."""
_NAMES_OF_FILES = 3
"""Words beside code that only name it."""
_FIGURE, _MOST_GIVEN = re.compile(r"\d[\d.,]*\d"), 8
"""A figure of several digits, and the most lines of values that are given as known."""
_MOST_NAMING = {True: 8, False: 5}


def add_answer(g: Findings, call: Call, agent: str, said: str) -> None:
    """Add what an agent answers to a call."""
    own, pieces = request_prompts.prose(said)
    if call.request.outermost:
        g.copied = None
        author_id, author, number = g.told.get(hash(said.strip()), ("", agent, g.count))
        if author != agent:
            g.copied = Copied(call.contract_id, g.count, agent, call.request.from_agent, author, author_id)
            g.answer = (author_id, author, "\n".join(safe_text.ends_of(own)), number)
            return
    else:
        add_author(g, said, call, agent)
        if _add_code_or_output(g, call, agent, said, has_code=pieces > 0):
            add_decisions(g, said, call.contract_id, agent)
            return
    g.passed_over["results"] += pieces
    if call.error:
        _add_reported(g, call, agent, own)
    if pieces:
        for label, name in request_prompts.names_of_code(said):
            add_name(g.named, name, _OF_CODE[label], label, call.contract_id)
    is_signal = not is_prompt(call.request) and _add_turn(g, call, agent, own, has_code=pieces > 0)
    is_difference = said.lstrip().startswith(_DIFFERENCES) and bool(changed_lines(said))
    if is_difference:
        g.passed_over["results"] += 1  # its lines are no sentences
    elif not is_signal and (not pieces or safe_text.word_count(own) > _NAMES_OF_FILES):
        _add_sentences(g, call, agent, own, said)
    if call.request.outermost:
        ends = "\n".join(safe_text.ends_of(own))
        g.answer = None if is_difference else (call.contract_id, call.request.agent, ends, g.count)


def _add_reported(g: Findings, call: Call, agent: str, own: str) -> None:
    """Add the error that an answer names."""
    before = safe_text.sentence_count(own[: max(0, own.find(call.error))])
    words = spoken_error(call.error, g.count, call.contract_id, agent, before)
    g.reported.pop(words.sentence, None)
    g.reported[words.sentence] = words


def _add_sentences(g: Findings, call: Call, agent: str, own: str, said: str) -> None:
    """Add the sentences of an answer `said`, of which `own` is the prose."""
    replies = is_prompt(call.request)
    is_choice = replies and len(said) <= _SHORT_ANSWER
    add_speech(
        g,
        own,
        call.contract_id,
        agent,
        False,
        least=_CHOICE if is_choice else _REPLIES if replies else 0.0,
        only_first=len(own) > _REPLY,
        is_choice=is_choice,
        less=_restatement(g, call, agent, said),
        about=call.request.said,
    )


def _add_turn(g: Findings, call: Call, agent: str, own: str, *, has_code: bool) -> bool:
    """Add an answer that only ends the work with a signal, or tells how agents take turns, such as that there is no code to run.
    Return whether it is a signal.
    """
    is_signal = own.isascii() and own.isupper() and own.strip().isalpha()
    g.signal = (call.contract_id, g.count, agent, own.strip()) if is_signal else None
    if is_signal:
        g.passed_over["results"] += 1  # such as `TERMINATE`
    elif not has_code and len(own) <= _TURN and agent not in g.idle:
        pieces = safe_text.sentence_pieces(own)
        if len(g.idle) < _MOST_IDLE and pieces and states_turns(pieces[0]) and all(map(is_protocol, pieces)):
            g.idle[agent] = call.contract_id, g.count, pieces[0]
    return is_signal


def _add_code_or_output(g: Findings, call: Call, agent: str, said: str, *, has_code: bool) -> bool:
    """Add the code in an answer, or an answer that is the output of code. Return whether it is an output of which all is kept."""
    aim = g.aim.said if g.aim else ""
    if has_code and (code := code_in(said, call.contract_id, g.count, agent, aim)):
        g.runs.add_code(code)
        return False
    if call.error:
        g.runs.add_failure(agent)
    elif g.runs.add_output(agent, call.contract_id, g.count, said):
        return True
    g.runs.pass_over()
    return False


def add_author(g: Findings, text: str, call: Call, agent: str) -> None:
    """Keep who said a text, or failed with it, because the answer to a person may have the same words."""
    if len(g.told) < MOST_SEEN:
        g.told[hash(text.strip())] = (call.contract_id, agent, g.count)


def _given_figures(said: str, aim: str) -> list[str]:
    """The last section of a text that hands the aim on, with its heading, if most of its lines have figures that the aim does not
    have: values that were found before and are given as known.
    """
    section = [*safe_text.lines(safe_text.ends_of(said)[-1].rstrip().rpartition("\n#")[2].lstrip("#"))]
    lines = section[1:]
    bare = map(safe_text.without_marking, lines)
    known = [line for line in bare if any(figure not in aim for figure in _FIGURE.findall(line))]
    return section if len(known) * 2 > len(lines) and len(lines) <= _MOST_GIVEN else []


def _restates(g: Findings, said: str) -> bool:
    """Whether a text hands the aim on to other agents, with instructions for them."""
    aim = "" if g.aim is None else g.aim.said.strip()
    return len(aim) >= _TASK and len(said) > 2 * len(aim) and aim[:INSTRUCTION] in said


def _restatement(g: Findings, call: Call, agent: str, said: str) -> float:
    """What the sentences of an answer are worth less if it hands the aim on, of which the values that are given are kept."""
    if g.aim is None or not _restates(g, said):
        return 0.0
    if g.given is None and (given := _given_figures(said, g.aim.said)):
        place = safe_text.sentence_count(said[: said.rfind(given[0])]) + 1
        g.given = call.contract_id, g.count, agent, place, given
    return _RESTATED


def add_document(g: Findings, call: Call, agent: str, texts: Iterable[str]) -> None:
    """Add the decisions that are stated in the texts of a result, and the sentences of the longer ones, such as those of a
    design.
    """
    _add_stated(g, texts, call.contract_id, agent)
    if commands(call.request.arguments):
        return
    prose = [text for text in texts if _is_prose(text)]
    is_shown = call.request.changes and len(prose) == len(call.results) == 1 and len(prose[0]) <= _SHOWN
    if prose and not is_shown:
        least = _REPLIES if call.request.changes else 0.0
        add_speech(g, "\n".join(prose), call.contract_id, agent, False, least=least, only_first=True)


def _is_prose(text: str) -> bool:
    """Whether a value is long enough to say something, and ends like a sentence."""
    return (
        len(text) >= _PROSE and text.rstrip()[-1:] in ".!?。！？" and " " in text and not contract_content.is_data(text)
    )


def add_speech(
    g: Findings,
    said: str,
    contract_id: str,
    agent: str,
    by_caller: bool,
    *,
    asks: bool = False,
    least: float = 0.0,
    only_first: bool = False,
    is_choice: bool = False,
    in_prompt: bool = False,
    less: float = 0.0,
    about: str = "",
) -> None:
    """Add what an agent or a caller says. `least`: the worth that its sentences have at least, as an answer to long
    instructions; `only_first`: only those that are most likely its result. `is_choice`: it is a choice. `in_prompt`: it is a
    prompt for another agent, whose instructions state nothing. `less`: what its sentences are worth less.
    """
    spoken, not_selected = select_sentences(said, g.count, contract_id, agent, by_caller, asks=asks)
    if in_prompt:
        spoken = [one._replace(worth=0.0 if _only_instructs(one.sentence) else one.worth - _PROMPTED) for one in spoken]
    elif asks and not by_caller:
        spoken = [one._replace(worth=one.worth + _INSTRUCTED) if _tells_to_do(one) else one for one in spoken]
    if less:
        spoken = [one._replace(worth=one.worth - less) for one in spoken]
    if not asks and len(said) > safe_text.ALL:
        spoken = list(_related(spoken, f"{about} {g.aim.said if g.aim else ''}"))
    if least:
        told = _telling_places(said, spoken) if only_first else {one.order for one in spoken}
        spoken = [
            _as_result(one, least, is_choice=is_choice, is_telling=only_first) if one.order in told else one
            for one in spoken
        ]
    if not asks and (result := _last_of_output(said)):
        spoken = [one._replace(worth=max(one.worth, _RESULT)) if one.sentence == result else one for one in spoken]
    g.heard.update([hash(one.whole) for one in spoken])
    g.passed_over[section_of(asks)] += not_selected + safe_text.unread_count(said)
    for one in spoken[: _MOST_NAMING[by_caller]]:
        for name in one.names:
            if by_caller or (weight(name) > 0.5 and one.worth > 0):
                worth = (0.4 if by_caller else 0.2) * weight(name) or 0.15  # a proper name has no weight of its own
                add_name(g.named, name, worth, "", contract_id)
    _keep_sentences(g, spoken)


def _as_result(one: SpokenSentence, least: float, *, is_choice: bool, is_telling: bool) -> SpokenSentence:
    """A sentence that is the result of instructions: a choice, or a sentence that is long enough."""
    if is_choice:
        return one._replace(worth=max(one.worth, least), is_choice=one.worth > 0)
    if is_protocol(one.sentence):
        return one
    return one._replace(worth=max(one.worth, least)) if " " in one.sentence or is_telling else one


def _telling_places(said: str, spoken: Iterable[SpokenSentence]) -> set[int]:
    """The places of the first sentence of a long answer that states something, and of the last one if it is a short line: a
    verdict such as `LGTM`.
    """
    stated = [one.order for one in spoken if one.worth > _LABEL and states(one.sentence)]
    last = safe_text.without_marking(said.rstrip().rpartition("\n")[2])
    verdict = {one.order for one in spoken if one.sentence == last and len(last) <= _VERDICT and not last.endswith(":")}
    return {max(stated, default=1), *verdict}


def _related(spoken: Iterable[SpokenSentence], question: str) -> Iterator[SpokenSentence]:
    """Sentences of a text that is too long to be an agent's own words, such as a page: those that have no word in common with
    what was asked are worth less.
    """
    asked = content_words(question)
    for one in spoken:
        is_other = not one.page and one.worth > -_UNRELATED and asked.isdisjoint(content_words(one.whole))
        yield one._replace(worth=one.worth - _UNRELATED) if is_other else one


def _last_of_output(said: str) -> str:
    """The last line of an output, if it states a figure: what a program prints last is its result. Empty for other texts."""
    last = said.rstrip().rpartition("\n")[2].strip()
    if not last[:1].isalnum() or " " not in last or not any(map(str.isdigit, last)):
        return ""
    if is_layout(last) or is_code_or_row(last) or not contract_content.is_data(said):
        return ""
    return safe_text.without_marking(last)


def _tells_to_do(one: SpokenSentence) -> bool:
    """Whether a sentence of one agent for another says what is done next."""
    return one.worth > 0 and asks_for(one.sentence) > 0


def _only_instructs(sentence: str) -> bool:
    """Whether a sentence of a prompt says nothing of the session: it tells the agent what to do, or it is code to work on."""
    return request_prompts.instructs(sentence) or contract_content.is_code(sentence)


def add_decisions(g: Findings, value: Any, contract_id: str, agent: str, *, asks: bool = False) -> None:
    """Add the decisions that are stated in text that is not speech."""
    _add_stated(g, contract_content.whole_strings(value), contract_id, agent, asks=asks)


def _add_stated(g: Findings, texts: Iterable[str], contract_id: str, agent: str, *, asks: bool = False) -> None:
    _keep_sentences(g, decisions(texts, g.count, contract_id, agent, asks=asks))


def _keep_sentences(g: Findings, spoken: Iterable[SpokenSentence]) -> None:
    """Add sentences. The newest decisions are kept; of other sentences, those with the highest worth."""
    for one in spoken:
        if one.decides:
            g.decided.append(one)
            continue
        if len(g.said) < _MOST_SAID:
            heapq.heappush(g.said, one)
            continue
        g.passed_over[section_of(heapq.heappushpop(g.said, one).asks)] += 1
    over = len(g.decided) - _MOST_DECIDED
    if over > 0:
        del g.decided[:over]
        g.passed_over["decisions"] += over
