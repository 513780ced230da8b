"""Verifies a block: every statement in it must be supported by its contracts."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from aorch.ledger.contract_metadata import erasure_mark
from aorch.memory import contract_content, request_prompts
from aorch.memory.block import (
    BY_PEOPLE,
    LOCAL,
    MOST_COUNTED,
    NO_RESPONSE,
    NOT_ANSWERED,
    NOTHING,
    Claim,
    MemoryBlock,
    counted,
)
from aorch.memory.covered_contracts import Contract, CoveredContracts, changes, line, shown_capability, strings_of
from aorch.memory.local.call_kinds import digest
from aorch.memory.local.local_claim_checks import faults as local_faults

_TIMES = re.compile(r"^(?P<head>[^«»]{1,200}?) ×(?P<times>\d+)(?=[ :]|$)")
_SPOKEN = re.compile(r"^(?P<who>[^«»]{0,200}): «")
_WELL = re.compile(r"went well later")
_STATED = re.compile(r"(\d[\d,]*) (contracts|failed|cancelled|interrupted)\b")


def verify_block(
    block: MemoryBlock,
    contract_of: Callable[[str], Mapping[str, Any] | None],
    covered: Iterable[Mapping[str, Any]] | None = None,
    asked_before: Iterable[str] = (),
    pruned: Collection[str] = (),
) -> list[str]:
    """The mismatches between `block` and its contracts, one sentence each.

    Each citation must lead to a contract: `contract_of` returns the JSON form of a contract, or None. Each quotation must occur
    in one of the contracts that its claim cites: in a string, as a key, or in the compact JSON. If `covered` is given (the
    contracts that the block covers, oldest first), the counts of the block and the statements of its claims about the
    contracts are checked too. `asked_before` are the agents that earlier contracts of the session called. A citation of a
    contract in `pruned` (ids) is no mismatch, and its quotations cannot be checked.
    """
    faults = list(_faults(block, contract_of, pruned))
    return faults if covered is None else faults + misstated(block, covered, asked_before)


def _faults(
    block: MemoryBlock, contract_of: Callable[[str], Mapping[str, Any] | None], pruned: Collection[str]
) -> Iterator[str]:
    for section, claim in block.claims():
        name = f"{section}: {claim.text[:60]!r}"
        if not claim.contract_ids:
            yield f"{name} cites no contract"
        contracts, is_gone = [], False
        for identity in claim.contract_ids:
            contract = contract_of(identity)
            if contract is None and identity in pruned:
                is_gone = True
            elif contract is None:
                yield f"{name} cites {identity}, which does not exist"
            elif mark := erasure_mark(contract.get("metadata") or {}):
                is_gone = True
                yield f"{name} cites {identity}, which was {mark}"
            else:
                contracts.append(contract)
        for quote in () if is_gone else _missing(claim.quotes, contracts):
            yield f"{name} quotes {quote[:60]!r}, which is in none of the contracts that it cites"


def _missing(quotes: Iterable[str], contracts: Iterable[Mapping[str, Any]]) -> list[str]:
    missing = list(quotes)
    for contract in contracts:
        for text in strings_of(contract):
            missing = [quote for quote in missing if quote not in text]
            if not missing:
                return []
    return missing


def misstated(block: MemoryBlock, covered: Iterable[Contract], asked_before: Iterable[str] = ()) -> list[str]:
    """The wrong counts and wrong statements about contracts in `block`, one sentence each."""
    facts = CoveredContracts(covered, asked_before)
    if facts.erased:  # statements about several contracts cannot be checked without them
        return list(_counts(block, facts))
    return [*_counts(block, facts), *_labels(block, facts)]


def _counts(block: MemoryBlock, facts: CoveredContracts) -> Iterator[str]:
    for name, stated, there in (
        ("agents", block.agents, facts.agents),
        ("capabilities", block.capabilities, facts.capabilities),
        ("ends", block.ends or {}, facts.ends),
    ):
        for key, count in stated.items():
            if there[key] != count:
                yield f"{name}: counts {count} of {key!r}; there are {there[key]}"
        if block.ends is not None and len(stated) < min(len(there), MOST_COUNTED):
            yield f"{name}: counts {len(stated)} kinds; there are {len(there)}"
    if block.covered.count != facts.count:
        return  # memory_queries.py reports a wrong count
    yield from _summary(block, facts) if block.ends is not None else _older_summary(block, facts)
    yield from _outline(block, facts)


def _summary(block: MemoryBlock, facts: CoveredContracts) -> Iterator[str]:
    right = ". ".join(counted(facts.count, block.capabilities, facts.ends))
    if not f"{block.summary}. ".startswith(f"{right}. "):
        yield f"summary: does not begin with {right!r}"


def _older_summary(block: MemoryBlock, facts: CoveredContracts) -> Iterator[str]:
    if (block.compressor.name, block.compressor.version) == LOCAL:
        yield "ends: does not count the RESPONSEs"
    right = {"contracts": facts.count, **{status: facts.ends[status] for status in NOTHING}}
    summary = block.summary
    for claim in sorted((claim for _, claim in block.claims()), key=lambda claim: -len(claim.text)):
        summary = summary.replace(claim.text, "")  # the numbers in claims are not counts of the block
    for number, name in _STATED.findall(summary):
        if int(number.replace(",", "")) != right[name]:
            yield f"summary: says {number} {name}; there are {right[name]}"


def _outline(block: MemoryBlock, facts: CoveredContracts) -> Iterator[str]:
    """Check the first and the last contract, the answers to earlier blocks, and `quality` against `left_out`."""
    covered = block.covered
    for name, stated, there in (
        ("first contract", (covered.first_contract_id, covered.first_created_at), facts.first),
        ("last contract", (covered.last_contract_id, covered.last_created_at), facts.last),
    ):
        right = tuple(there.get(each, "") for each in ("contract_id", "created_at"))
        if stated != right:
            yield f"covered: gives {' at '.join(stated)} as its {name}; it is {' at '.join(right)}"
    for identity in block.answered_before:
        if identity not in facts.answers or identity in facts.requests:
            yield f"answered_before: names {identity}, an earlier REQUEST that no covered contract answers"
    if not 0 <= block.quality <= 1 or (block.quality == 1 and block.left_out):
        yield f"quality: is {block.quality}, although something was left out"


def _labels(block: MemoryBlock, facts: CoveredContracts) -> Iterator[str]:
    checks = (_aim, _done, _well_later, _open, _asks, _order, _times)
    local = (block.compressor.name, block.compressor.version) == LOCAL
    for section, claim in block.claims():
        if section in BY_PEOPLE:
            continue  # a pin was checked with its own block
        found = [fault for check in checks if (fault := check(section, claim, facts))]
        for fault in (*found, *(local_faults(section, claim, facts) if local else ())):
            yield f"{section}: {claim.text[:60]!r} {fault}"


def _aim(section: str, claim: Claim, facts: CoveredContracts) -> str:
    if (
        section == "aims"
        and facts.calls(claim)
        and all(str(c["contract_id"]) in facts.inner for c in facts.calls(claim))
    ):
        return "is listed as an aim, but is a call within the session"
    return ""


def _done(section: str, claim: Claim, facts: CoveredContracts) -> str:
    if section != "decisions" or _SPOKEN.match(claim.text):
        return ""
    calls = [one for one in facts.calls(claim) if claim.text.startswith(shown_capability(one))]
    if calls and all(changes(one) is False for one in calls):
        return "is listed as done, but only reads"
    return ""


def _well_later(section: str, claim: Claim, facts: CoveredContracts) -> str:
    if not _WELL.search(claim.text.rpartition("»")[2]):
        return ""
    cited = [facts.responses[identity] for identity in claim.contract_ids if identity in facts.responses]
    failed = [one for one in cited if contract_content.failed(one)]
    for good in (one for one in cited if not contract_content.failed(one)):
        same = [one for one in failed if _same_call(facts, one, good)]
        if failed and same == failed:
            return ""
    return "says that the same went well later, but no cited call with the same arguments did"


def _same_call(facts: CoveredContracts, failed: Contract, good: Contract) -> bool:
    one, other = facts.request_of(str(failed["contract_id"])), facts.request_of(str(good["contract_id"]))
    later = facts.numbers[str(good["contract_id"])] > facts.numbers[str(failed["contract_id"])]
    return (
        one is not None
        and other is not None
        and later
        and one["capability"] == other["capability"]
        and digest(one["payload"]) == digest(other["payload"])
    )


def _open(section: str, claim: Claim, facts: CoveredContracts) -> str:
    if section != "open_points" or not claim.text.endswith((NOT_ANSWERED, NO_RESPONSE)):
        return ""
    for identity in claim.contract_ids:
        request = facts.requests.get(identity)
        if identity in facts.answers:
            return f"is listed as open, but {facts.answers[identity]['contract_id']} answers it"
        acted = request is not None and (
            identity in facts.parents or facts.last_act.get(str(request["to_agent"]), 0) > facts.numbers[identity]
        )
        if acted and claim.text.endswith(NOT_ANSWERED):
            return f"says that it was not answered, but {request and request['to_agent']} acted on it"
    return ""


def _asks(section: str, claim: Claim, facts: CoveredContracts) -> str:
    """A statement in a REQUEST is not a result. An example, or text that an agent was told to say, is not a decision either."""
    requests = [facts.requests[identity] for identity in claim.contract_ids if identity in facts.requests]
    if (
        section not in ("decisions", "results")
        or not _SPOKEN.match(claim.text)
        or len(requests) != len(claim.contract_ids)
    ):
        return ""
    if section == "results" and requests:
        return "is listed as found, but a REQUEST states it"
    for quote in claim.quotes:
        if requests and not any(_states(request["payload"], quote) for request in requests):
            return f"quotes {quote[:60]!r}, which is an instruction or an example"
    return ""


def _states(payload: Any, quote: str) -> bool:
    said = contract_content.speech(payload)
    pieces = (
        [request_prompts.without_examples(said)] if said else contract_content.strings(request_prompts.spoken(payload))
    )
    return any(quote in piece for piece in pieces) and not request_prompts.instructs_to_say(quote)


def _order(section: str, claim: Claim, facts: CoveredContracts) -> str:
    """Quotations from one text must be in the order of that text."""
    if len(claim.contract_ids) != 1 or len(claim.quotes) < 2 or section == "literals":
        return ""
    contract = facts.requests.get(claim.contract_ids[0]) or facts.responses.get(claim.contract_ids[0])
    if contract and claim.text.startswith(shown_capability(contract)):
        return ""  # each argument of a call is a separate text
    for text in (
        contract_content.all_strings([contract["payload"], contract["result"], contract["error"]]) if contract else ()
    ):
        if all(quote in text for quote in claim.quotes) and not _in_order(claim.quotes, text):
            return "quotes in a different order than the contract"
    return ""


def _in_order(quotes: Iterable[str], text: str) -> bool:
    place = 0
    for quote in quotes:
        place = text.find(quote, place)
        if place < 0:
            return False
        place += 1
    return True


def _times(section: str, claim: Claim, facts: CoveredContracts) -> str:
    """`name ×3`: there must be at least that many calls of the capability."""
    found = _TIMES.match(claim.text)
    calls = facts.calls(claim)
    if found is None or section == "literals" or not calls or not found["head"].startswith(shown_capability(calls[0])):
        return ""
    there = facts.capabilities[line(calls[0]["capability"])]
    stated = int(found["times"])
    if section == "failures":
        there = sum(
            contract_content.failed(one) and facts.capability(one) == line(calls[0]["capability"])
            for one in facts.responses.values()
        )
    return f"counts {stated}; there are {there}" if stated > there else ""
