"""What is read of the contracts of a session, in bounded memory: all findings that a block is made from."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aorch.memory import contract_content, safe_text
from aorch.memory.contract_content import Contract
from aorch.memory.local.call_kinds import FailureKind
from aorch.memory.local.calls import Call, CapabilityCalls, Copied, Ending, Failure, Recorded, Request
from aorch.memory.local.code_runs import CodeRuns
from aorch.memory.local.edits import Edits
from aorch.memory.local.exact_strings import ExactString
from aorch.memory.local.spoken_sentences import SpokenSentence, ends_of_sentence
from aorch.memory.parties import Parties

MOST_SEEN = 50_000


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
    parties: Parties = field(default_factory=Parties)
    turns: int = 0
    seen: set[tuple[str, str]] = field(default_factory=set)
    said: list[SpokenSentence] = field(default_factory=list)
    decided: list[SpokenSentence] = field(default_factory=list)
    heard: Counter[int] = field(default_factory=Counter)
    prompted: Counter[int] = field(default_factory=Counter)
    named: dict[str, ExactString] = field(default_factory=dict)
    reported: dict[str, SpokenSentence] = field(default_factory=dict)
    answer: tuple[str, str, str, int] | None = None
    edits: Edits = field(default_factory=Edits)
    end: Ending | None = None
    told: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    signal: tuple[str, int, str, str] | None = None
    idle: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    given: tuple[str, int, str, int, list[str]] | None = None
    copied: Copied | None = None
    runs: CodeRuns = field(default_factory=CodeRuns)
    outputs: dict[int, Call] = field(default_factory=dict)
    record: list[Recorded] | None = None
    record_room: int = 0
    room: int = 0
    answered_before: list[str] = field(default_factory=list)

    def keep_contract(self, contract: Contract, made: Request | Call) -> None:
        """Keep a contract as part of the record, or drop the record if it is too long."""
        if self.record is None:
            return
        content = [contract.get("payload"), contract.get("result"), contract.get("error")]
        length = contract_content.length(content)
        self.record_room -= length
        if self.record_room < 0 or (not 0 < length <= safe_text.ALL and _longest(content) > safe_text.ALL):
            self.record = None
        else:
            self.record.append(Recorded(contract, made))

    def recurs(self, sentence: str) -> bool:
        """Whether several prompts of agents for others have a sentence that begins or ends like this one: a template."""
        return bool(self.prompted) and any(self.prompted.get(end, 0) > 1 for end in ends_of_sentence(sentence))

    def waiting(self, contract_id: str) -> Request | None:
        """The REQUEST with that ID if it is unanswered and the agent that got its text has not acted since."""
        asked = self.open.get(contract_id)
        if asked is None or not asked.said:
            return asked
        acted = contract_id in self.acted_on or self.last_act.get(asked.agent, 0) > asked.number
        return None if acted else asked


def _longest(content: Any) -> int:
    return max((len(text) for text in contract_content.all_strings(content)), default=0)
