"""An index of the contracts that a block covers, for the checks of verify.py."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.contract_metadata import erasure_mark
from aorch.memory import call_effects, contract_content, safe_text
from aorch.memory.block import Claim
from aorch.memory.local.call_kinds import FailureKind, digest, failure_kind
from aorch.memory.parties import Parties

Contract = Mapping[str, Any]


class CoveredContracts:
    """The covered contracts by ID, by answer and by count. `asked_before` are the agents that earlier contracts called."""

    def __init__(self, covered: Iterable[Contract], asked_before: Iterable[str]) -> None:
        self.count = 0
        self.agents: Counter[str] = Counter()
        self.capabilities: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.requests: dict[str, Contract] = {}
        self.responses: dict[str, Contract] = {}
        self.answers: dict[str, Contract] = {}
        self.numbers: dict[str, int] = {}
        self.inner: set[str] = set()
        self.parents: set[str] = set()
        self.last_act: dict[str, int] = {}
        self.failures: Counter[FailureKind] = Counter()
        self.failed_calls: Counter[tuple[FailureKind, int]] = Counter()
        self.erased = 0
        self.first: Contract = {}
        self.last: Contract = {}
        parties = Parties(asked_before)
        for contract in covered:
            self._take(contract, parties)

    def _take(self, contract: Contract, parties: Parties) -> None:
        self.count += 1
        self.erased += erasure_mark(contract.get("metadata") or {}) is not None
        self.first = self.first or _outline(contract)
        self.last = _outline(contract)
        identity, agent = str(contract["contract_id"]), str(contract["from_agent"])
        self.numbers[identity] = self.last_act[agent] = self.count
        self.agents[line(agent)] += 1
        if contract["contract_type"] == "REQUEST":
            self.capabilities[line(contract["capability"])] += 1
            self.requests[identity] = contract
            if not parties.add_request(agent, str(contract["to_agent"] or ""), has_parent=bool(contract["parent_id"])):
                self.inner.add(identity)
            self.parents.add(str(contract["parent_id"]))
        else:
            self.ends[str(contract["status"])] += 1
            self.responses[identity] = contract
            self.answers[str(contract["request_id"])] = contract
            if contract_content.failed(contract):
                kind = self.failure_kind(contract)
                self.failures[kind] += 1
                self.failed_calls[kind, self.digest(contract)] += 1

    def request_of(self, identity: str) -> Contract | None:
        """The REQUEST with that ID, or the one that the RESPONSE with that ID answers."""
        response = self.responses.get(identity)
        return self.requests.get(str(response["request_id"]) if response else identity)

    def calls(self, claim: Claim) -> list[Contract]:
        """The REQUESTs that a claim cites directly or through their RESPONSEs, each once."""
        found = {str(one["contract_id"]): one for identity in claim.contract_ids if (one := self.request_of(identity))}
        return list(found.values())

    def capability(self, response: Contract) -> str:
        """The capability of the REQUEST that a RESPONSE answers; its own if the REQUEST is not covered."""
        return line((self.request_of(str(response["contract_id"])) or response)["capability"])

    def digest(self, response: Contract) -> int:
        """A number for the arguments of the call that a RESPONSE ends."""
        asked = self.request_of(str(response["contract_id"]))
        return digest(asked["payload"]) if asked else hash(response["contract_id"])

    def failure_kind(self, response: Contract) -> FailureKind:
        """The key under which equal failures are counted."""
        return failure_kind(self.capability(response), response)[0]


def line(value: Any) -> str:
    """A name as in a block, before `safe_text.shown`."""
    return safe_text.first_line(str(value or ""))[:80]


def shown_capability(request: Contract) -> str:
    """The capability of a REQUEST as it appears in a claim."""
    return safe_text.shown(line(request["capability"]))


def changes(request: Contract) -> bool | None:
    """Whether that call changes something (True), only reads (False), or cannot be classified (None)."""
    payload = request["payload"]
    said = contract_content.speech(payload)
    return call_effects.changes(line(request["capability"]), *(() if said else call_effects.command(payload)))


def strings_of(contract: Contract) -> Iterator[str]:
    """Every string in a contract, including keys, and its compact JSON."""
    yield from contract_content.all_strings(contract)
    try:
        yield jsonio.encode(contract)
    except InvalidJSON:  # nested too deeply for the encoder; its strings were returned above
        return


def _outline(contract: Contract) -> Contract:
    return {name: str(contract[name] or "") for name in ("contract_id", "created_at")}
