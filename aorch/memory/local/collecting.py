"""Collects the findings of a stream of contracts, in one pass and in bounded memory."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from aorch.memory import call_effects, contract_content, request_prompts, safe_text
from aorch.memory.contract_content import Contract, Leaf
from aorch.memory.local.aim_claims import AIM_WIDTH
from aorch.memory.local.call_kinds import digest, failure_kind
from aorch.memory.local.calls import (
    INSTRUCTION,
    Call,
    CapabilityCalls,
    Ending,
    Failure,
    Request,
    commands,
    is_command,
    is_prompt,
)
from aorch.memory.local.collecting_speech import add_answer, add_author, add_decisions, add_document, add_speech
from aorch.memory.local.edits import repeats_edit
from aorch.memory.local.error_lines import reported_in
from aorch.memory.local.exact_strings import forget_least, name_arguments, name_results
from aorch.memory.local.findings import MOST_SEEN, Findings
from aorch.memory.local.spoken_sentences import ends_of_sentence, is_better_aim, is_phrase, meaningful_words
from aorch.memory.local.task_texts import without_instructions
from aorch.memory.parties import Parties

MOST_OPEN, MOST_CALLS, MOST_KINDS, MOST_CITES = 1000, 24, 60, 6
MOST_RESULTS = 40
_SHORT_RESULT = 80
"""Characters of a result that is no more than that of an act (`Transfer successful`)."""
_REASON = 120
"""Characters of the reason that an agent gives for a command."""


def collect_findings(contracts: Iterable[Contract], asked_before: Iterable[str] = (), room: int = 0) -> Findings:
    """The findings of `contracts`, oldest first. `asked_before` are the agents that earlier contracts called.

    The contracts themselves are kept as long as their content has at most `room` characters.
    """
    findings = Findings(parties=Parties(map(_first_of_line, asked_before)), record=[], record_room=room, room=room)
    for contract in contracts:
        _add_contract(findings, contract)
    findings.runs.end()
    return findings


def _add_contract(g: Findings, contract: Contract) -> None:
    g.first, g.last = g.first or contract, contract
    g.passed_over["literals"] += forget_least(g.named)
    g.count += 1
    g.chars += contract_content.length(contract)
    agent = _name(contract, "from_agent")
    g.agents[agent] += 1
    g.last_act[agent] = g.count
    if contract.get("contract_type") == "RESPONSE":
        _add_response(g, contract)
    else:
        _add_request(g, contract)


def _add_request(g: Findings, contract: Contract) -> None:
    payload = contract.get("payload")
    said = contract_content.speech(payload)
    asked = _request(g, contract, said)
    g.capabilities[asked.capability] += 1
    if contract.get("parent_id") in g.open:
        g.acted_on.add(_string(contract, "parent_id"))
    if said and asked.outermost:
        g.turns += 1
        g.end = Ending(asked.contract_id, g.count, asked.from_agent, asked.said, asks=True)
    is_act = asked.changes is True and not asked.outermost and not is_prompt(asked)
    if said and not is_act:  # the claim of an act, such as a commit, shows its text
        _add_spoken_request(g, asked, said)
    else:
        add_decisions(g, request_prompts.spoken(payload), asked.contract_id, asked.from_agent, asks=True)
        name_arguments(g.named, asked.arguments, asked.contract_id, is_change=bool(asked.changes))
    if asked.outermost and (g.aim is None or _is_better_aim(asked, g.aim)):
        g.aim = asked
    g.keep_contract(contract, asked)
    g.open[asked.contract_id] = asked
    if len(g.open) > MOST_OPEN:
        del g.open[next(iter(g.open))]
        g.passed_over["open_points"] += 1


def _request(g: Findings, contract: Contract, said: str) -> Request:
    """The parts of a REQUEST. `said` is its spoken text."""
    payload, capability = contract.get("payload"), _name(contract, "capability")
    from_agent, agent = _name(contract, "from_agent"), _name(contract, "to_agent")
    identity = _string(contract, "contract_id")
    arguments = _with_short_reason(sorted(contract_content.leaves(payload), key=_rank))
    changes = call_effects.changes(capability, *(() if said else call_effects.command(payload)))
    return Request(
        contract_id=identity,
        number=g.count,
        from_agent=from_agent,
        agent=agent,
        capability=capability,
        arguments=g.edits.with_new_lines(arguments, payload, identity) if changes else arguments,
        said="\n".join(safe_text.ends_of(said)),
        outermost=g.parties.add_request(from_agent, agent, has_parent=bool(contract.get("parent_id"))),
        changes=changes,
        digest=digest(payload),
    )


def _add_spoken_request(g: Findings, asked: Request, said: str) -> None:
    """Add what a REQUEST says, without examples and the instructions of a task text."""
    if is_prompt(asked):
        own = request_prompts.prose(asked.said)[0]
        g.prompted.update({end for one in safe_text.sentences(own) for end in ends_of_sentence(one)})
    own = request_prompts.without_examples(said)
    if asked.outermost and len(said) > AIM_WIDTH:
        own = without_instructions(own, said)
    add_speech(g, own, asked.contract_id, asked.from_agent, asked.outermost, asks=True, in_prompt=is_prompt(asked))
    if g.aim is not None or len(said) > AIM_WIDTH or not asked.outermost:  # otherwise the aim shows the whole text
        not_selected = 0
        if own != asked.said:
            not_selected = max(0, safe_text.sentence_count(asked.said) - safe_text.sentence_count(own))
        g.passed_over["preferences"] += not_selected + safe_text.unread_count(said)


def _is_better_aim(asked: Request, before: Request) -> bool:
    """Whether a REQUEST of a person states an aim better than `before`, which only looks, is only a phrase, or is a command with
    which the same person prepares the work.
    """
    said = asked.said
    if not before.said:
        only_looks = before.changes is False or not before.arguments
        only_looks = only_looks or (asked.from_agent == before.from_agent and is_command(before.arguments))
        return bool(said) and only_looks and not is_phrase(said)
    return is_better_aim(said, before.said)


def _rank(leaf: Leaf) -> int:
    """The order in which arguments are shown: what is executed first, and what an edit replaces last."""
    key = leaf.key.lower()
    return 0 if key in call_effects.COMMANDS else 2 if key.startswith("old") else 1


def _with_short_reason(arguments: list[Leaf]) -> list[Leaf]:
    """`arguments` with the start of each sentence that gives the reason for a command, so that its result has room."""
    if not any(" " in leaf.text for leaf in commands(arguments)):
        return arguments
    return [_clipped(leaf) if leaf.key.lower() not in call_effects.COMMANDS else leaf for leaf in arguments]


def _clipped(leaf: Leaf) -> Leaf:
    text = safe_text.clip(leaf.text, _REASON)
    is_cut = leaf.cut or len(text) < len(leaf.text)
    return leaf if not leaf.is_string or " " not in leaf.text else leaf._replace(text=text, cut=is_cut, more=(), end="")


def _add_response(g: Findings, contract: Contract) -> None:
    identity = _string(contract, "contract_id")
    asked = _answered(g, contract)
    g.ends[_string(contract, "status")] += 1
    said = contract_content.speech(contract.get("result"))
    listens = _listens(asked, said)
    is_echo = repeats_edit(contract.get("result"), asked.arguments) if asked.changes else listens and asked.said
    results = [] if is_echo else _results(contract, said)
    texts = [*contract_content.whole_strings(contract.get("result"))]
    call = _call(g, contract, asked, results, texts)
    agent = _name(contract, "from_agent")
    g.keep_contract(contract, call)
    if contract_content.failed(contract):
        add_decisions(g, [contract.get("result"), contract.get("error")], identity, agent)
        g.runs.add_failure(agent)
        _add_failure(g, contract, call)
        return
    is_act = asked.changes is True and not asked.outermost
    if not listens or (is_act and len(said) <= _SHORT_RESULT):  # the claim of the act shows the result
        add_document(g, call, agent, texts)
    elif not _is_echo(said, asked):
        add_answer(g, call, agent, said)
    if asked.outermost and asked.said and said:
        output_of = g.outputs.get(hash(said.strip()))
        text = "\n".join(safe_text.ends_of(said))
        g.end = Ending(identity, g.count, agent, text, asks=False, output_of=output_of, whom=asked.from_agent)
        return
    if not listens:
        _keep_output(g, call, texts)
    if asked.changes or (asked.changes is None and not asked.said and asked.arguments):
        _add_call(g, g.done, call, "decisions", _made(contract, asked))
    elif asked.arguments and not asked.said:
        _add_call(g, g.lookups, call, "results")
    elif call.results and not listens:
        g.passed_over["results"] += 1  # no claim contains these results
    if not said:
        name_results(g.named, results, identity)


def _keep_output(g: Findings, call: Call, texts: list[str]) -> None:
    """Keep the call by the only text of its result, which an answer may repeat."""
    if len(texts) == 1 and len(g.outputs) < MOST_SEEN:
        g.outputs[hash(texts[0].strip())] = call


def _answered(g: Findings, contract: Contract) -> Request:
    """The REQUEST that a RESPONSE answers, which may be in an earlier block."""
    identity, request_id = _string(contract, "contract_id"), _string(contract, "request_id")
    asked = g.open.pop(request_id, None) or _request_of_unknown(g, contract)
    if asked.contract_id == identity and request_id and len(g.answered_before) < MOST_OPEN:
        g.answered_before.append(request_id)
    return asked


def _results(contract: Contract, said: str) -> list[Leaf]:
    """The values of a result. `said`: its text, of which code is left out."""
    own, pieces = request_prompts.prose(said) if said else ("", 0)
    return contract_content.leaves({"text": own} if pieces else contract.get("result"))


def _call(g: Findings, contract: Contract, asked: Request, results: list[Leaf], texts: list[str]) -> Call:
    """The call that a RESPONSE ends. `texts`: the strings in its result."""
    result = contract.get("result")
    news = _news(g, results)[:MOST_RESULTS]
    is_empty = not results and contract_content.is_empty(result)
    error = reported_in(texts, of_command=bool(commands(asked.arguments)))
    if asked.changes:
        g.edits.end(asked.contract_id, failed=contract_content.failed(contract) or bool(error))
    return Call(asked, _string(contract, "contract_id"), g.count, results[:MOST_RESULTS], news, is_empty, error)


def _listens(asked: Request, said: str) -> bool:
    """Whether a result is what an agent says, and not the text of a page or of a file."""
    if not said or asked.said or not asked.arguments:
        return bool(said)
    is_output = bool(asked.changes) or is_command(asked.arguments) or contract_content.is_data(said)
    return len(said) > INSTRUCTION and not is_output


def _is_echo(said: str, asked: Request) -> bool:
    """Whether a response only repeats the request, apart from the name of the capability."""
    if not said or not asked.said or len(said) > 2 * len(asked.said) + len(asked.capability) + 20:
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
        failure = Failure(lines, call, call, cancelled=key[2])
    elif len(failure.contract_ids) >= MOST_CITES:
        del failure.contract_ids[1]
    failure.count = max(failure.count + 1, _times(g, key))
    failure.alike = failure.alike and failure.last.request.digest == call.request.digest
    failure.last = call
    failure.contract_ids.append(call.contract_id)
    g.failures[key] = failure  # the newest one is last
    if isinstance(error := contract.get("error"), str):
        add_author(g, error, call, _name(contract, "from_agent"))
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
    key = hash((call.request.digest, made, call.error))  # a test that fails in another way is another event
    calls = kinds.setdefault(capability, CapabilityCalls())
    calls.count = max(calls.count, _times(g, section, capability) - 1)
    times = _times(g, section, capability, key)
    g.passed_over[section] += calls.add(key, call, times, MOST_CALLS)
    if len(kinds) > MOST_KINDS:
        g.passed_over[section] += len(kinds.pop(next(iter(kinds))).series)


def _request_of_unknown(g: Findings, contract: Contract) -> Request:
    from_agent, agent, capability = (_name(contract, name) for name in ("to_agent", "from_agent", "capability"))
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


def _string(contract: Contract, name: str) -> str:
    value: Any = contract.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)[:200]


def _name(contract: Contract, name: str) -> str:
    """The name of an agent or of a capability."""
    return _first_of_line(_string(contract, name)[: safe_text.HEAD])


@lru_cache(512)
def _first_of_line(text: str) -> str:
    return safe_text.first_line(text)[:80]
