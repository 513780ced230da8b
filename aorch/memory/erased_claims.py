"""Removes from a memory block what it says about erased contracts."""

import re
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec.structs import replace

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.memory_blocks import BlockRow
from aorch.memory.block import BY_PEOPLE, SECTIONS, Claim, ErasedClaims, MemoryBlock, counted, from_json, with_claims
from aorch.memory.prompt import resized

_ANSWERED = ("answer", "notes")
"""What the companion data says about the content of contracts: MemAgent's answer, and the hashes of notes."""


def without_erased(row: BlockRow, erased: frozenset[str], pattern: "re.Pattern[str] | None" = None) -> BlockRow | None:
    """`row` without the claims that cite erased contracts (ids), without its intent and summary if they match `pattern`, and
    without MemAgent's answer, which may repeat any contract of its session. None if nothing changes.

    A block that cannot be read loses all its content.
    """
    beside = _without_answer(row.beside)
    try:
        block = from_json(row.block)
    except (InvalidJSON, msgspec.ValidationError):
        return row._replace(block="{}", beside=beside)
    sections = {section: _kept(getattr(block, section), erased) for section in (*SECTIONS, *BY_PEOPLE)}
    removed = [claim for section, claim in block.claims() if claim not in sections[section]]
    new = _without(block, sections, removed, erased) if removed else block
    if pattern is not None:
        new = _without_words(new, pattern)
    if new == block:
        return None if beside == row.beside else row._replace(beside=beside)
    return row._replace(block=jsonio.encode(resized(new, new.size.tokens_after).as_dict()), beside=beside)


def _kept(claims: tuple[Claim, ...], erased: Collection[str]) -> tuple[Claim, ...]:
    return tuple(claim for claim in claims if not any(identity in erased for identity in claim.contract_ids))


def _without(
    block: MemoryBlock, sections: dict[str, tuple[Claim, ...]], removed: list[Claim], erased: Collection[str]
) -> MemoryBlock:
    before = block.erased or ErasedClaims(0, ())
    ids = dict.fromkeys((*before.contract_ids, *(i for each in removed for i in each.contract_ids if i in erased)))
    return replace(with_claims(block, sections), erased=ErasedClaims(before.claims + len(removed), tuple(ids)))


def _without_words(block: MemoryBlock, pattern: "re.Pattern[str]") -> MemoryBlock:
    counts = ". ".join(counted(block.covered.count, block.capabilities, block.ends))
    summaries = (block.summary, counts, "")
    return replace(
        block,
        intent="" if pattern.search(block.intent) else block.intent,
        summary=next(each for each in summaries if not each or not pattern.search(each)),
    )


def _without_answer(beside: str | None) -> str | None:
    if beside is None:
        return None
    form: Any = jsonio.decode(beside)
    if not isinstance(form, dict) or not any(form.get(name) for name in _ANSWERED):
        return beside
    return jsonio.encode({**form, "answer": None, "notes": [], "error": "erased"})
