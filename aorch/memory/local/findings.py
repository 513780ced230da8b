"""Collects the findings of a stream of contracts, in one pass and in bounded memory."""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aorch.memory import call_effects, contract_content, request_prompts, safe_text
from aorch.memory.contract_content import Contract, Leaf
from aorch.memory.literals import weight
from aorch.memory.local.call_kinds import FailureKind, digest, failure_kind
from aorch.memory.local.calls import (
    INSTRUCTION,
    Call,
    CapabilityCalls,
    Copied,
    Ending,
    Failure,
    Recorded,
    Request,
    is_command,
    is_prompt,
)
from aorch.memory.local.error_lines import reported_in
from aorch.memory.local.exact_strings import ExactString, add_name, forget_least, name_arguments, name_results
from aorch.memory.local.spoken_sentences import (
    SpokenSentence,
    decisions,
    ends_of_sentence,
    is_better_aim,
    meaningful_words,
    section_of,
    select_sentences,
    spoken_error,
)

MOST_OPEN, MOST_CALLS, MOST_KINDS, MOST_CITES = 1000, 24, 60, 6
MOST_SAID, MOST_DECIDED, MOST_SEEN, MOST_RESULTS = 800, 200, 50_000, 24
AIM_WIDTH = 320
"""Maximum number of characters of an aim in a claim."""
_SHORT_ANSWER, _CHOICE = 120, 0.8
"""The longest answer to a prompt (characters) that counts as a choice, and the worth of a choice."""
_REPLY, _REPLIES = 400, 0.5
"""Characters of an answer to instructions that is short enough to be their result, and the worth of its sentences."""
_NAMES_OF_FILES = 3
"""Words beside code that only name it."""
_MOST_NAMING = {True: 8, False: 5}


@dataclass
class Findings:
    """All findings that a block is made from."""

    count: int = 0
    chars: int = 0
    first: Contract = field(default_factory=dict)
    last: Contract = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    agents: Counter[str] = field(default_factory=Counter)
    capabilities: Counter[str] = field(default_factory=Counter)
    open: dict[str, Request] = field(default_factory=dict)
    aim: Request | None = None
    done: dict[str, CapabilityCalls] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)
    failures: dict[FailureKind, Failure] = field(default_factory=dict)
    lookups: dict[str, CapabilityCalls] = field(default_factory=dict)
    times: Counter[int] = field(default_factory=Counter)
    last_act: dict[str, int] = field(default_factory=dict)
    acted_on: set[str] = field(default_factory=set)
    helpers: set[str] = field(default_factory=set)
    seen: set[tuple[str, str]] = field(default_factory=set)
    said: list[SpokenSentence] = field(default_factory=list)
    decided: list[SpokenSentence] = field(default_factory=list)
    heard: Counter[int] = field(default_factory=Counter)
    prompted: Counter[int] = field(default_factory=Counter)
    named: dict[str, ExactString] = field(default_factory=dict)
    reported: dict[str, SpokenSentence] = field(default_factory=dict)
    answer: tuple[str, str, str, int] | None = None
    end: Ending | None = None
    told: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    copied: Copied | None = None
    record: list[Recorded] | None = None
    record_room: int = 0
    answered_before: list[str] = field(default_factory=list)

    def keep_contract(self, contract: Contract, made: Request | Call) -> None:
        """Keep a contract as part of the record, or drop the record if it is too long."""
        if self.record is None:
            return
        content = [contract.get("payload"), contract.get("result"), contract.get("error")]
        longest = max((len(text) for text in contract_content.all_strings(content)), default=0)
        self.record_room -= contract_content.length(content)
        if self.record_room < 0 or longest > safe_text.HEAD + safe_text.TAIL:
            self.record = None
        else:
            self.record.append(Recorded(contract, made))

    def waiting(self, contract_id: str) -> Request | None:
        """The REQUEST with that ID if it is unanswered and the agent that got its text has not acted since."""
        asked = self.open.get(contract_id)
        if asked is None or not asked.said:
            return asked
        acted = contract_id in self.acted_on or self.last_act.get(asked.agent, 0) > asked.number
        return None if acted else asked


def collect_findings(contracts: Iterable[Contract], asked_before: Iterable[str] = (), room: int = 0) -> Findings:
    """The findings of `contracts`, oldest first. `asked_before` are the agents that earlier contracts called.

    The contracts themselves are kept as long as their content has at most `room` characters.
    """
    findings = Findings(
        helpers={safe_text.first_line(agent)[:80] for agent in asked_before}, record=[], record_room=room
    )
    for contract in contracts:
        _add_contract(findings, contract)
    return findings


def _add_contract(g: Findings, contract: Contract) -> None:
    g.first = g.first or _outline(contract)
    g.last = _outline(contract)
    g.passed_over["literals"] += forget_least(g.named)
    g.count += 1
    g.chars += contract_content.length(contract)
    agent = safe_text.first_line(_string(contract, "from_agent"))[:80]
    g.agents[agent] += 1
    g.last_act[agent] = g.count
    if contract.get("contract_type") == "RESPONSE":
        _add_response(g, contract)
    else:
        _add_request(g, contract)


def _add_request(g: Findings, contract: Contract) -> None:
    payload = contract.get("payload")
    capability = safe_text.first_line(_string(contract, "capability"))[:80]
    g.capabilities[capability] += 1
    arguments = sorted(contract_content.leaves(payload), key=_rank)
    said = contract_content.speech(payload)
    from_agent = safe_text.first_line(_string(contract, "from_agent"))[:80]
    asked = Request(
        contract_id=_string(contract, "contract_id"),
        number=g.count,
        from_agent=from_agent,
        agent=safe_text.first_line(_string(contract, "to_agent"))[:80],
        capability=capability,
        arguments=arguments,
        said="\n".join(safe_text.ends_of(said)),
        outermost=not contract.get("parent_id") and from_agent not in g.helpers,
        changes=call_effects.changes(capability, *(() if said else call_effects.command(payload))),
        digest=digest(payload),
    )
    if contract.get("parent_id") in g.open:
        g.acted_on.add(_string(contract, "parent_id"))
    g.helpers.add(asked.agent)
    if said and asked.outermost:
        g.end = Ending(asked.contract_id, g.count, from_agent, asked.said, asks=True)
    if said:
        if is_prompt(asked):
            own = request_prompts.prose(asked.said)[0]
            g.prompted.update({end for one in safe_text.sentences(own) for end in ends_of_sentence(one)})
        own = request_prompts.without_examples(said)
        _add_speech(g, own, asked.contract_id, from_agent, asked.outermost, asks=True)
        if g.aim is not None or len(said) > AIM_WIDTH or not asked.outermost:  # otherwise the aim shows the whole text
            not_selected = max(0, safe_text.sentence_count(asked.said) - safe_text.sentence_count(own))
            g.passed_over["preferences"] += not_selected + safe_text.unread_count(said)
    else:
        _add_decisions(g, request_prompts.spoken(payload), asked.contract_id, from_agent, asks=True)
        name_arguments(g.named, asked.arguments, asked.contract_id, is_change=bool(asked.changes))
    if asked.outermost and (g.aim is None or is_better_aim(said, g.aim.said)):
        g.aim = asked
    g.keep_contract(contract, asked)
    g.open[asked.contract_id] = asked
    if len(g.open) > MOST_OPEN:
        del g.open[next(iter(g.open))]
        g.passed_over["open_points"] += 1


def _rank(leaf: Leaf) -> int:
    """The order in which arguments are shown: what is executed first, and what an edit replaces last."""
    key = leaf.key.lower()
    return 0 if key in call_effects.COMMANDS else 2 if key.startswith("old") else 1


def _add_response(g: Findings, contract: Contract) -> None:
    identity = _string(contract, "contract_id")
    request_id = _string(contract, "request_id")
    asked = g.open.pop(request_id, None) or _request_of_unknown(g, contract)
    if asked.contract_id == identity and request_id and len(g.answered_before) < MOST_OPEN:
        g.answered_before.append(request_id)
    g.ends[_string(contract, "status")] += 1
    said = contract_content.speech(contract.get("result"))
    own, pieces = request_prompts.prose(said) if said else ("", 0)
    results = contract_content.leaves({"text": own} if pieces else contract.get("result"))
    news = _news(g, results)[:MOST_RESULTS]
    is_empty = not results and contract_content.is_empty(contract.get("result"))
    error = reported_in(contract.get("result"))
    call = Call(asked, identity, g.count, results[:MOST_RESULTS], news, is_empty, error)
    agent = safe_text.first_line(_string(contract, "from_agent"))[:80]
    if contract_content.failed(contract):
        g.keep_contract(contract, call)
        _add_decisions(g, [contract.get("result"), contract.get("error")], identity, agent)
        _add_failure(g, contract, call)
        return
    if asked.outermost and asked.said and said:
        g.end = Ending(identity, g.count, agent, "\n".join(safe_text.ends_of(said)), asks=False)
    is_text = (
        len(said) > INSTRUCTION
        and not asked.changes
        and not is_command(asked.arguments)
        and not contract_content.is_data(said)
    )
    listens = bool(said) and bool(asked.said or not asked.arguments or is_text)
    g.keep_contract(contract, call)
    if _is_echo(said, asked):
        listens = True
    else:
        _add_answer(g, contract, call, said if listens else "")
    if asked.outermost and asked.said and said:
        return
    if asked.changes or (asked.changes is None and not asked.said and asked.arguments):
        _add_call(g, g.done, call, "decisions", _made(contract, asked))
    elif asked.arguments and not asked.said:
        _add_call(g, g.lookups, call, "results")
    elif results and not listens:
        g.passed_over["results"] += 1  # no claim contains these results
    if not said:
        name_results(g.named, results, identity)


def _add_answer(g: Findings, contract: Contract, call: Call, said: str) -> None:
    """Add what an agent answers, or the decisions that are stated in another result."""
    agent = safe_text.first_line(_string(contract, "from_agent"))[:80]
    if not said:
        _add_decisions(g, contract.get("result"), call.contract_id, agent)
        return
    own, pieces = request_prompts.prose(said)
    text, outermost = hash(said), call.request.outermost
    author_id, author, number = g.told.get(text, ("", agent, g.count))
    g.copied = None if outermost else g.copied
    if outermost and author != agent:
        g.copied = Copied(call.contract_id, g.count, agent, call.request.from_agent, author, author_id)
        g.answer = (author_id, author, "\n".join(safe_text.ends_of(own)), number)
        return
    if not outermost and len(g.told) < MOST_SEEN:
        g.told[text] = (call.contract_id, agent, g.count)
    g.passed_over["results"] += pieces
    if call.error:
        words = spoken_error(call.error, g.count, call.contract_id, agent)
        g.reported.pop(words.sentence, None)
        g.reported[words.sentence] = words
    is_choice = is_prompt(call.request) and len(said) <= _SHORT_ANSWER
    replies = is_prompt(call.request) and len(own) <= _REPLY
    if not pieces or safe_text.word_count(own) > _NAMES_OF_FILES:
        least = _CHOICE if is_choice else _REPLIES if replies else 0.0
        _add_speech(g, own, call.contract_id, agent, False, least=least)
    if call.request.outermost:
        g.answer = (call.contract_id, call.request.agent, "\n".join(safe_text.ends_of(own)), g.count)


def _is_echo(said: str, asked: Request) -> bool:
    """Whether a response only repeats the request, apart from the name of the capability."""
    if not said or not asked.said:
        return False
    own = call_effects.verbs(asked.capability)
    answered, given = meaningful_words("\n".join(safe_text.ends_of(said))), meaningful_words(asked.said)
    return [word for word in answered if word not in own] == [word for word in given if word not in own]


def _news(g: Findings, results: list[Leaf]) -> list[Leaf]:
    """The values of a result that no earlier result had under the same key."""
    new = [leaf for leaf in results if (leaf.key, leaf.text) not in g.seen]
    if len(g.seen) < MOST_SEEN:
        g.seen.update((leaf.key, leaf.text) for leaf in new)
    return new


def _add_failure(g: Findings, contract: Contract, call: Call) -> None:
    key, lines = failure_kind(call.request.capability, contract)
    failure = g.failures.pop(key, None)
    if failure is None:
        failure = Failure(lines, call, cancelled=key[2])
    elif len(failure.contract_ids) >= MOST_CITES:
        del failure.contract_ids[1]
    failure.count = max(failure.count + 1, _times(g, key))
    failure.alike = failure.alike and failure.last.request.digest == call.request.digest
    failure.last = call
    failure.contract_ids.append(call.contract_id)
    g.failures[key] = failure  # the newest one is last
    if len(g.failures) > MOST_KINDS:
        del g.failures[next(iter(g.failures))]
        g.passed_over["failures"] += 1


def _times(g: Findings, *what: Any) -> int:
    """How often this item was counted, even if the item itself was forgotten; 0 if unknown."""
    key = hash(what)
    if key not in g.times and len(g.times) >= MOST_SEEN:
        return 0
    g.times[key] += 1
    return g.times[key]


def _made(contract: Contract, asked: Request) -> int:
    """The result of a call that changes something, which tells it from an equal one."""
    return digest(contract.get("result")) if asked.changes else 0


def _add_call(g: Findings, kinds: dict[str, CapabilityCalls], call: Call, section: str, made: int = 0) -> None:
    capability = call.request.capability
    key = hash((call.request.digest, made))
    calls = kinds.setdefault(capability, CapabilityCalls())
    calls.count = max(calls.count, _times(g, section, capability) - 1)
    times = _times(g, section, capability, key)
    g.passed_over[section] += calls.add(key, call, times, MOST_CALLS)
    if len(kinds) > MOST_KINDS:
        g.passed_over[section] += len(kinds.pop(next(iter(kinds))).series)


def _add_speech(
    g: Findings,
    said: str,
    contract_id: str,
    agent: str,
    by_caller: bool,
    *,
    asks: bool = False,
    least: float = 0.0,
) -> None:
    """Add what an agent or a caller says. `least`: the worth that its sentences have at least, as a short answer to long
    instructions.
    """
    spoken, not_selected = select_sentences(said, g.count, contract_id, agent, by_caller, asks=asks)
    if least:
        spoken = [_as_result(one, least) for one in spoken]
    g.heard.update(hash(one.sentence) for one in spoken)
    g.passed_over[section_of(asks)] += not_selected + safe_text.unread_count(said)
    for one in spoken[: _MOST_NAMING[by_caller]]:
        for name in one.names:
            if by_caller or (weight(name) > 0.5 and one.worth > 0):
                worth = (0.4 if by_caller else 0.2) * weight(name) or 0.15  # a proper name has no weight of its own
                add_name(g.named, name, worth, "", contract_id)
    _keep_sentences(g, spoken)


def _as_result(one: SpokenSentence, least: float) -> SpokenSentence:
    """A sentence that is the result of instructions: a choice, or a sentence that is long enough."""
    if least == _CHOICE:
        return one._replace(worth=max(one.worth, least), is_choice=one.worth > 0)
    return one._replace(worth=max(one.worth, least)) if " " in one.sentence else one


def _add_decisions(g: Findings, value: Any, contract_id: str, agent: str, *, asks: bool = False) -> None:
    """Add the decisions that are stated in text that is not speech."""
    _keep_sentences(g, decisions(contract_content.strings(value), g.count, contract_id, agent, asks=asks))


def _keep_sentences(g: Findings, spoken: Iterable[SpokenSentence]) -> None:
    """Add sentences. The newest decisions are kept; of other sentences, those with the highest worth."""
    for one in spoken:
        if one.decides:
            g.decided.append(one)
            continue
        if len(g.said) < MOST_SAID:
            heapq.heappush(g.said, one)
            continue
        g.passed_over[section_of(heapq.heappushpop(g.said, one).asks)] += 1
    over = len(g.decided) - MOST_DECIDED
    if over > 0:
        del g.decided[:over]
        g.passed_over["decisions"] += over


def _request_of_unknown(g: Findings, contract: Contract) -> Request:
    from_agent, agent, capability = (
        safe_text.first_line(_string(contract, name))[:80] for name in ("to_agent", "from_agent", "capability")
    )
    return Request(
        contract_id=_string(contract, "contract_id"),
        number=g.count,
        from_agent=from_agent,
        agent=agent,
        capability=capability,
        arguments=[],
        said="",
        outermost=not contract.get("parent_id"),
        changes=call_effects.changes(capability),
        digest=hash(_string(contract, "contract_id")),
    )


def _outline(contract: Contract) -> Contract:
    return {name: contract.get(name) for name in ("contract_id", "session_id", "created_at")}


def _string(contract: Contract, name: str) -> str:
    value: Any = contract.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)[:200]
