"""A memory block: what a session's contracts came to, each claim of it with the contracts that it comes from.

A block covers a run of contracts. A session that grows gets further blocks for what is new; none is made from another.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from aorch import jsonio
from aorch.memory import safe_text

SECTIONS = ("aims", "decisions", "failures", "results", "preferences", "open_points", "literals")
"""The kinds of claims, as they are named in a block."""
LOCAL = ("local", "2")
"""The name and the version of the local compressor."""
MOST_COUNTED = 50
"""How many agents and capabilities a block counts: the most used."""
NOT_ANSWERED, NO_RESPONSE, WENT_WELL = "not answered", "no response", "the same went well later"
"""What claims say of calls besides what was asked and given; verify.py holds each against the contracts."""
NOTHING = ("failed", "cancelled", "interrupted")
"""The statuses of RESPONSEs that say that nothing came of it."""


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """What to make a block of contracts for, and how.

    `intent` is what the memory is needed for: matching content is kept first. The block as a prompt fits in `max_tokens`.
    `session_id` is needed only if there may be no contracts. `asked_before` are the agents that earlier contracts of the
    session called: what these agents ask for is not an aim of the session.
    """

    block_id: str
    created_at: str
    session_id: str = ""
    intent: str | None = None
    max_tokens: int = 512
    asked_before: Iterable[str] = ()


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """One statement of a block.

    `text` is a sentence on one line, without control characters. Each of `quotes` stands exactly so in one of the
    contracts that `contract_ids` names. `importance` is between 0 and 1. `brief` is a shorter wording of the same, or empty.
    """

    text: str
    contract_ids: tuple[str, ...]
    quotes: tuple[str, ...] = ()
    importance: float = 0.5
    brief: str = ""


class Covered(msgspec.Struct, frozen=True):
    """The run of contracts that a block was made from; the ids are empty where there was none."""

    count: int
    first_contract_id: str
    last_contract_id: str
    first_created_at: str
    last_created_at: str


class Size(msgspec.Struct, frozen=True):
    """Tokens of the contracts as compact JSON, and of the block as text for a model; `ratio` is before / after."""

    tokens_before: int
    tokens_after: int
    counted: str
    ratio: float


class Compressor(msgspec.Struct, frozen=True):
    """What made a block. `model` is empty where no model was asked.

    `fallback_reason` says why it was the local compressor where another was asked for.
    """

    name: str
    version: str
    model: str = ""
    fallback_reason: str = ""


class LeftOut(msgspec.Struct, frozen=True):
    """What was found of one section and stands in no claim: how many, and some of the contracts that they stand in."""

    count: int
    contract_ids: tuple[str, ...] = ()


class MemoryBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a run of contracts of one session.

    `agents` and `capabilities` count contracts and requests. `quality` is between 0 and 1: of what was found, the share that
    stands in the block in some form, as the mean over the sections in which anything was found; it is 1 only where
    `left_out` is empty.
    `answered_before` names REQUESTs of earlier contracts that were answered in these: what earlier blocks hold open.
    `ends` counts the RESPONSEs by their status (None in blocks of older versions).
    """

    block_id: str
    session_id: str
    created_at: str
    intent: str
    summary: str
    aims: tuple[Claim, ...] = ()
    decisions: tuple[Claim, ...] = ()
    failures: tuple[Claim, ...] = ()
    results: tuple[Claim, ...] = ()
    preferences: tuple[Claim, ...] = ()
    open_points: tuple[Claim, ...] = ()
    literals: tuple[Claim, ...] = ()
    agents: dict[str, int]
    capabilities: dict[str, int]
    covered: Covered
    size: Size
    compressor: Compressor
    quality: float
    left_out: dict[str, LeftOut]
    answered_before: tuple[str, ...] = ()
    ends: dict[str, int] | None = None

    def claims(self) -> Iterator[tuple[str, Claim]]:
        """Each claim with the name of its section."""
        for section in SECTIONS:
            for claim in getattr(self, section):
                yield section, claim

    def as_dict(self) -> dict[str, Any]:
        """The block's JSON form."""
        form: dict[str, Any] = msgspec.to_builtins(self)
        return form


def intent_of(aims: Sequence[Claim]) -> str:
    """What a session was about, in its own words: its first aim, without the marks of quotation."""
    return words_of(aims[0]) if aims else ""


def words_of(aim: Claim) -> str:
    """An aim without the marks of quotation."""
    return " ".join(aim.quotes) if aim.text.startswith("«") else aim.text


def is_given(block: MemoryBlock) -> bool:
    """Whether a caller said what the block was wanted for, rather than its contracts."""
    return bool(block.intent) and block.intent not in map(words_of, block.aims)


def counted(count: int, capabilities: Mapping[str, int], ends: Mapping[str, int] | None) -> list[str]:
    """The counts with which a summary begins: contracts, requests of the most used capabilities, and what came to nothing."""
    used = ", ".join(f"{safe_text.shown(name)} ×{number}" for name, number in list(capabilities.items())[:5])
    parts = [f"{count} contracts: {used}" if used else f"{count} contracts"]
    return parts + [f"{(ends or {})[status]} {status}" for status in NOTHING if (ends or {}).get(status)]


def from_dict(form: Any) -> MemoryBlock:
    """The block whose JSON form this is. Raises msgspec.ValidationError where it is none."""
    return msgspec.convert(form, MemoryBlock)


def from_json(text: str) -> MemoryBlock:
    """The block that `text` holds. Raises InvalidJSON, or msgspec.ValidationError where it is something else."""
    return from_dict(jsonio.decode(text))
