"""Collects the findings of a stream of contracts, in one pass and in bounded memory."""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import msgspec

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.memory import call_effects, contract_content, request_prompts, safe_text
from aorch.memory.contract_content import Contract, Leaf
from aorch.memory.literals import found, weight
from aorch.memory.local.calls import Call, CapabilityCalls, Failure, Request
from aorch.memory.local.error_lines import telling_lines
from aorch.memory.local.spoken_sentences import (
    SpokenSentence,
    decisions,
    is_phrase,
    meaningful_words,
    only_decides,
    section_of,
    select_sentences,
)

MOST_OPEN, MOST_CALLS, MOST_KINDS, MOST_CITES = 1000, 24, 60, 6
MOST_SAID, MOST_DECIDED, MOST_NAMED, MOST_SEEN, MOST_RESULTS = 800, 200, 3000, 50_000, 24
_UNTELLING = frozenset(("id", "key", "name", "value", "text"))
_LONG, _LONGEST_ERROR = 200, 240
AIM_WIDTH = 320
"""Maximum number of characters of an aim in a claim."""
_MOST_NAMING = {True: 8, False: 5}
FailureKind = tuple[str, str, bool]
"""The capability, the most important line of the error, and whether it was cancelled."""
_unlike = count(-1, -1)
_encoder = msgspec.json.Encoder(order="sorted")


class ExactString(NamedTuple):
    """An exact string: its worth, its first key, and the contract in which it occurs first."""

    worth: float
    label: str
    contract_id: str


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
    named: dict[str, ExactString] = field(default_factory=dict)
    answer: tuple[str, str, str] | None = None
    answered_before: list[str] = field(default_factory=list)

    def waiting(self, contract_id: str) -> Request | None:
        """The REQUEST with that ID if it is unanswered and the agent that got its text has not acted since."""
        asked = self.open.get(contract_id)
        if asked is None or not asked.said:
            return asked
        acted = contract_id in self.acted_on or self.last_act.get(asked.agent, 0) > asked.number
        return None if acted else asked


def collect_findings(contracts: Iterable[Contract], asked_before: Iterable[str] = ()) -> Findings:
    """The findings of `contracts`, oldest first. `asked_before` are the agents that earlier contracts called."""
    findings = Findings(helpers={safe_text.first_line(agent)[:80] for agent in asked_before})
    for contract in contracts:
        _add_contract(findings, contract)
    return findings


def _add_contract(g: Findings, contract: Contract) -> None:
    g.first = g.first or _outline(contract)
    g.last = _outline(contract)
    g.count += 1
    g.chars += _length(contract)
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
    arguments = contract_content.leaves(payload)
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
    if said:
        own = request_prompts.without_examples(said)
        _add_speech(g, own, asked.contract_id, from_agent, asked.outermost, asks=True)
        if g.aim is not None or len(said) > AIM_WIDTH or not asked.outermost:  # otherwise the aim shows the whole text
            not_selected = max(0, safe_text.sentence_count(asked.said) - safe_text.sentence_count(own))
            g.passed_over["preferences"] += not_selected + safe_text.unread_count(said)
    else:
        _add_decisions(g, request_prompts.spoken(payload), asked.contract_id, from_agent, asks=True)
        _name_arguments(g, asked)
    if asked.outermost and (g.aim is None or _is_better_aim(said, g.aim.said)):
        g.aim = asked
    g.open[asked.contract_id] = asked
    if len(g.open) > MOST_OPEN:
        del g.open[next(iter(g.open))]
        g.passed_over["open_points"] += 1


def digest(payload: Any) -> int:
    """A number that is the same for equal arguments, within this process."""
    try:
        return hash(_encoder.encode(payload))
    except (TypeError, ValueError, RecursionError):  # nested too deeply for the encoder: not equal to any other value
        return next(_unlike)


def _is_better_aim(said: str, before: str) -> bool:
    """Whether `said` states an aim better than `before`, which is only a phrase or only a decision."""
    if not said or not before or is_phrase(said):
        return False
    return is_phrase(before) or only_decides(before)


def _add_response(g: Findings, contract: Contract) -> None:
    identity = _string(contract, "contract_id")
    request_id = _string(contract, "request_id")
    asked = g.open.pop(request_id, None) or _request_of_unknown(g, contract)
    if asked.contract_id == identity and request_id and len(g.answered_before) < MOST_OPEN:
        g.answered_before.append(request_id)
    g.ends[_string(contract, "status")] += 1
    results = contract_content.leaves(contract.get("result"))
    news = _news(g, results)[:MOST_RESULTS]
    call = Call(asked, identity, g.count, results[:MOST_RESULTS], news)
    agent = safe_text.first_line(_string(contract, "from_agent"))[:80]
    if contract_content.failed(contract):
        _add_decisions(g, [contract.get("result"), contract.get("error")], identity, agent)
        _add_failure(g, contract, call)
        return
    said = contract_content.speech(contract.get("result"))
    listens = bool(said) and (asked.said or not asked.arguments or (len(said) > _LONG and not asked.changes))
    if _is_echo(said, asked):
        listens = True
    elif listens:
        _add_speech(g, said, identity, agent, False)
        if asked.outermost:
            g.answer = (identity, asked.agent, "\n".join(safe_text.ends_of(said)))
    else:
        _add_decisions(g, contract.get("result"), identity, agent)
    if asked.changes or (asked.changes is None and not asked.said and asked.arguments):
        _add_call(g, g.done, call, "decisions")
    elif asked.arguments and not asked.said:
        _add_call(g, g.lookups, call, "results")
    elif results and not listens:
        g.passed_over["results"] += 1  # no claim contains these results
    if not said:
        _name_results(g, results, identity)


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


def failure_kind(capability: str, contract: Contract) -> tuple[FailureKind, list[tuple[str, ...]]]:
    """The key under which equal failures are counted, and the lines that describe what happened."""
    error = contract.get("error") or contract_content.speech(contract.get("result")) or contract.get("status")
    lines = [_clipped(pieces) for pieces in telling_lines(error if isinstance(error, str) else jsonio.encode(error))]
    return (capability, " ".join(lines[-1]) if lines else "", contract.get("status") == "cancelled"), lines


def _clipped(pieces: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(safe_text.clip(piece, _LONGEST_ERROR) for piece in pieces[:6])


def _times(g: Findings, *what: Any) -> int:
    """How often this item was counted, even if the item itself was forgotten; 0 if unknown."""
    key = hash(what)
    if key not in g.times and len(g.times) >= MOST_SEEN:
        return 0
    g.times[key] += 1
    return g.times[key]


def _add_call(g: Findings, kinds: dict[str, CapabilityCalls], call: Call, section: str) -> None:
    capability = call.request.capability
    calls = kinds.setdefault(capability, CapabilityCalls())
    calls.count = max(calls.count, _times(g, section, capability) - 1)
    times = _times(g, section, capability, call.request.digest)
    g.passed_over[section] += calls.add(call, times, MOST_CALLS)
    if len(kinds) > MOST_KINDS:
        g.passed_over[section] += len(kinds.pop(next(iter(kinds))).series)


def _add_speech(g: Findings, said: str, contract_id: str, agent: str, by_caller: bool, *, asks: bool = False) -> None:
    spoken, not_selected = select_sentences(said, g.count, contract_id, agent, by_caller, asks=asks)
    g.passed_over[section_of(asks)] += not_selected + safe_text.unread_count(said)
    for one in spoken[: _MOST_NAMING[by_caller]]:
        for name in one.names:
            if by_caller or weight(name) > 0.5:
                worth = (0.4 if by_caller else 0.2) * weight(name) or 0.15  # a proper name has no weight of its own
                _name(g, name, worth, "", contract_id)
    _keep_sentences(g, spoken)


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


def _name_arguments(g: Findings, asked: Request) -> None:
    factor = 1.0 if asked.changes else 0.7
    for leaf in asked.arguments:
        if " " in leaf.text:
            for name in found(leaf.text)[:8]:
                _name(g, name, 0.5 * factor * weight(name), "", asked.contract_id)
        elif leaf.is_string and leaf.worth >= 0.5:
            _name(
                g, leaf.text, factor * leaf.worth, leaf.top if leaf.key in _UNTELLING else leaf.key, asked.contract_id
            )


def _name_results(g: Findings, results: list[Leaf], contract_id: str) -> None:
    """Add the exact strings of a result. The fewer there are, the more important is each of them."""
    telling = [leaf for leaf in results if leaf.is_string and leaf.worth >= 0.6]
    for leaf in telling:
        factor = (0.12 if weight(leaf.text) == 1 else 0.05) * min(1.0, 8 / len(telling))
        _name(g, leaf.text, factor, leaf.top if leaf.key in _UNTELLING else leaf.key, contract_id)


def _name(g: Findings, name: str, worth: float, label: str, contract_id: str) -> None:
    known = g.named.get(name)
    if known is None:
        g.named[name] = ExactString(worth, label, contract_id)
    else:  # the citation is its first occurrence, or its first one under a key
        first = known if known.label or not label else ExactString(0.0, label, contract_id)
        g.named[name] = first._replace(worth=known.worth + worth)
    if len(g.named) > MOST_NAMED:
        least = heapq.nsmallest(MOST_NAMED // 2, g.named.items(), key=lambda item: item[1].worth)
        for word, _ in least:
            del g.named[word]
        g.passed_over["literals"] += len(least)


def _request_of_unknown(g: Findings, contract: Contract) -> Request:
    capability = safe_text.first_line(_string(contract, "capability"))[:80]
    return Request(
        contract_id=_string(contract, "contract_id"),
        number=g.count,
        from_agent=safe_text.first_line(_string(contract, "to_agent"))[:80],
        agent=safe_text.first_line(_string(contract, "from_agent"))[:80],
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


def _length(contract: Contract) -> int:
    try:
        return len(jsonio.encode(contract))
    except InvalidJSON:  # nested too deeply for the encoder
        return 0
