"""A memory block: the claims that summarise a run of contracts of one session, each with the contracts that it comes from.

A growing session gets additional blocks for its new contracts. Blocks are never made from other blocks.
"""

import hashlib
from base64 import b32encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from aorch import jsonio
from aorch.memory import safe_text

SECTIONS = ("aims", "decisions", "failures", "results", "preferences", "open_points", "literals")
"""The kinds of claims that compressors write: the names of the lists of a block."""
BY_PEOPLE = ("pinned", "notes")
"""The lists that people write, which every block of a session repeats (corrections.py)."""
CLAIM_PREFIX = "clm_"
LOCAL = ("local", "4")
"""The name and the version of the local compressor."""
MOST_COUNTED = 50
"""Maximum number of agents and of capabilities in the counts of a block: the most used ones."""
NOT_ANSWERED, NO_RESPONSE, WENT_WELL = "not answered", "no response", "the same went well later"
"""Phrases about calls in the text of claims. verify.py compares each of them with the contracts."""
DIFFERENT, FIRST_TIME, LAST_TIME = "with different arguments,", "first", "the last time"
"""What stands before the arguments of the first and of the last of several calls that failed in the same way."""
ANSWERED, WITH_WORDS = "answered", "with the words of"
"""Phrases about an answer that has the words of another agent, which verify.py compares with the contracts."""
TO = " → "
"""What stands between who says something and the capability that it is for."""
RESULT_OF = "only the result of"
"""What is said of an answer that has only the output of a call."""
CONCLUDED = "concluded"
"""What is said of the conclusion that the last answer of a session does not have."""
REPORTED = "reported an error"
"""Phrase about the text of an agent that names an error, which verify.py compares with the contract."""
NAMED_ERROR = "error: "
"""What stands before the error that the output of a completed call names, which verify.py compares with the contract."""
NOTHING = ("failed", "cancelled", "interrupted")
"""The statuses of RESPONSEs without a result."""


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """The options of a compressor. `intent` is what the memory is needed for: matching content is kept first. The block as
    a prompt fits in `max_tokens`. `session_id` is needed only if there may be no contracts. `asked_before` are the agents
    that earlier contracts of the session called: requests of these agents are not aims of the session. `forgotten`: statements
    that the block should not contain.
    """

    block_id: str
    created_at: str
    session_id: str = ""
    intent: str | None = None
    max_tokens: int = 512
    asked_before: Iterable[str] = ()
    forgotten: Iterable[str] = ()


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """One statement of a block.

    `text` is a sentence on one line, without control characters. Each of `quotes` is an exact string in one of the contracts
    with `contract_ids`. `importance` is between 0 and 1. `brief` is a shorter text of the same statement, or empty. `number` is
    the place of the first cited contract among those that the block covers, from 1, so that a prompt can show claims in the
    order of the work; 0 if unknown. `places` are those of the quotations in `text` among the sentences of this contract, from 1.
    """

    text: str
    contract_ids: tuple[str, ...]
    quotes: tuple[str, ...] = ()
    importance: float = 0.5
    brief: str = ""
    number: int = 0
    places: tuple[int, ...] = ()


def quotes_after(claim: Claim, phrase: str) -> bool:
    """Whether the first quotation of a claim stands after that phrase, such as REPORTED or CONCLUDED."""
    return claim.text.partition("«")[0].endswith(f" {phrase}: ")


def cites_end(claim: Claim, last_id: str) -> bool:
    """Whether a claim is about the last contract of a block. Of equal calls, it cites the first one and then the last."""
    return last_id in claim.contract_ids[:2]


def claim_id(claim: Claim) -> str:
    """The ID of a claim: CLAIM_PREFIX and 10 letters or digits that follow from its text and its citations."""
    content = "\0".join((claim.text, *claim.contract_ids)).encode()
    return f"{CLAIM_PREFIX}{b32encode(hashlib.sha256(content).digest()[:10])[:10].decode().lower()}"


class Covered(msgspec.Struct, frozen=True):
    """The run of contracts that a block was made from. The IDs and times are empty if there were no contracts."""

    count: int
    first_contract_id: str
    last_contract_id: str
    first_created_at: str
    last_created_at: str


class Size(msgspec.Struct, frozen=True):
    """Tokens of the contracts as compact JSON, and of the block as a prompt. `ratio` is before / after."""

    tokens_before: int
    tokens_after: int
    counted: str
    ratio: float


class Compressor(msgspec.Struct, frozen=True):
    """The compressor that made a block. `model` is empty if no model was used.

    `fallback_reason` is why the local compressor made the block instead of the requested one.
    """

    name: str
    version: str
    model: str = ""
    fallback_reason: str = ""


class LeftOut(msgspec.Struct, frozen=True):
    """Findings of one section that no claim contains: how many, and the IDs of some of their contracts."""

    count: int
    contract_ids: tuple[str, ...] = ()


class ErasedClaims(msgspec.Struct, frozen=True):
    """Claims that were removed from a block because the contracts that they cited were erased: how many, and the IDs of these
    contracts.
    """

    claims: int
    contract_ids: tuple[str, ...]


class MemoryBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a run of contracts of one session.

    `agents` counts the contracts of each agent, `capabilities` the REQUESTs of each capability, and `ends` the RESPONSEs of each
    status (None in blocks of older versions). `quality` is between 0 and 1: the share of the findings that the block contains in
    some form, as the mean of the sections with findings. It is 1 only if `left_out` is empty. `answered_before` lists REQUESTs of
    earlier contracts that these contracts answer, so that open points of earlier blocks are closed. `erased` is None if no claim
    was removed; otherwise the other figures are those of the block before the erasure, except for the size. `pinned` and `notes`
    are the corrections of people that applied when the block was made.
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
    pinned: tuple[Claim, ...] = ()
    notes: tuple[Claim, ...] = ()
    agents: dict[str, int]
    capabilities: dict[str, int]
    covered: Covered
    size: Size
    compressor: Compressor
    quality: float
    left_out: dict[str, LeftOut]
    answered_before: tuple[str, ...] = ()
    ends: dict[str, int] | None = None
    erased: ErasedClaims | None = None

    def claims(self) -> Iterator[tuple[str, Claim]]:
        """Each claim with the name of its section."""
        for section in (*BY_PEOPLE, *SECTIONS):
            for claim in getattr(self, section):
                yield section, claim

    def as_dict(self) -> dict[str, Any]:
        """The JSON form of the block. Each claim has its `claim_id` too."""
        form: dict[str, Any] = msgspec.to_builtins(self)
        for section in (*SECTIONS, *BY_PEOPLE):
            claims = zip(getattr(self, section), form[section], strict=True)
            form[section] = [{"claim_id": claim_id(claim), **fields} for claim, fields in claims]
        return form


def intent_of(aims: Sequence[Claim]) -> str:
    """The intent of a session, in its own words: its first aim, without quotation marks."""
    return words_of(aims[0]) if aims else ""


def words_of(aim: Claim) -> str:
    """The words of an aim, without quotation marks."""
    return safe_text.joined(aim.quotes) if aim.text.startswith("«") else aim.text


def is_given(block: MemoryBlock) -> bool:
    """Whether the caller gave the intent of the block (otherwise it comes from the contracts)."""
    return bool(block.intent) and block.intent not in map(words_of, block.aims)


def with_claims(block: MemoryBlock, sections: Mapping[str, tuple[Claim, ...]]) -> MemoryBlock:
    """`block` with these claims instead of its own in each of `sections`; intent and summary follow. Its size does not."""
    changed = replace(block, **sections)
    parts = counted(block.covered.count, block.capabilities, block.ends)
    for kind in ("aims", "decisions", "results"):
        if claims := getattr(changed, kind):
            parts.append(max(claims, key=lambda claim: claim.importance).text.rstrip(". "))
    return replace(
        changed, intent=block.intent if is_given(block) else intent_of(changed.aims), summary=". ".join(parts)
    )


def counted(count: int, capabilities: Mapping[str, int], ends: Mapping[str, int] | None) -> list[str]:
    """The counts with which a summary begins: contracts, REQUESTs of the most used capabilities, RESPONSEs without a result."""
    used = ", ".join(f"{safe_text.shown(name)} ×{number}" for name, number in list(capabilities.items())[:5])
    parts = [f"{count} contracts: {used}" if used else f"{count} contracts"]
    return parts + [f"{(ends or {})[status]} {status}" for status in NOTHING if (ends or {}).get(status)]


def from_dict(form: Any) -> MemoryBlock:
    """The block with this JSON form. Raises msgspec.ValidationError if it is not one."""
    return msgspec.convert(form, MemoryBlock)


def from_json(text: str) -> MemoryBlock:
    """The block in a JSON text. Raises InvalidJSON, or msgspec.ValidationError if the text contains no block."""
    return from_dict(jsonio.decode(text))
