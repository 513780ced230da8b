"""Queries of stored memory blocks: read them, show them to a model, search them, and verify them against the ledger."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aorch.errors import InvalidJSON, LedgerError, NotFound
from aorch.ledger.memory_blocks import BlockRow, Memory
from aorch.memory.block import Claim, MemoryBlock, from_json, is_given
from aorch.memory.prompt import prompt_text


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """A claim, or the intent of a block, that contains all words of a search."""

    block_id: str
    session_id: str
    section: str
    claim: Claim

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "block_id": self.block_id,
            "session_id": self.session_id,
            "section": self.section,
            "text": self.claim.text,
            "contract_ids": self.claim.contract_ids,
            "quotes": self.claim.quotes,
        }


def decode_block(row: BlockRow) -> MemoryBlock:
    """The block in `row`. Raises LedgerError if the row contains no valid block."""
    try:
        return from_json(row.block)
    except (InvalidJSON, msgspec.ValidationError) as error:
        raise LedgerError(f"cannot read the memory block {row.block_id}: {error}") from error


def blocks_of(ledger: Path, reference: str) -> list[BlockRow]:
    """The block with the ID `reference`, or all blocks of the session `reference`, oldest first.

    Empty if the session has no block yet. Raises NotFound if there is neither.
    """
    with Memory(ledger) as memory:
        if (row := memory.block(reference)) is not None:
            return [row]
        return _blocks_of_session(memory, reference, 0, None, "session or memory block")


def blocks_of_session(ledger: Path, session_id: str, *, after: int = 0, limit: int | None = None) -> list[BlockRow]:
    """The blocks of a session, oldest first: those after a position, up to `limit` (None: all). Raises NotFound."""
    with Memory(ledger) as memory:
        return _blocks_of_session(memory, session_id, after, limit, "session")


def _blocks_of_session(memory: Memory, session_id: str, after: int, limit: int | None, what: str) -> list[BlockRow]:
    rows = memory.of(session_id, after=after, limit=limit)
    if not rows and not memory.knows(session_id):
        raise NotFound(
            f"{what} {session_id!r} not found",
            "List the memory blocks with `aorch memory list`.",
            http_hint="GET /v1/sessions lists the sessions.",
        )
    return rows


def as_prompt(ledger: Path, session_id: str, rows: list[BlockRow], max_tokens: int) -> dict[str, Any]:
    """The blocks of a session as `text` for a model, within `max_tokens`, and `cites`, the contract IDs in the text.

    The text shows how many newer contracts of the session the blocks do not cover.
    """
    with Memory(ledger) as memory:
        newer = memory.newer(session_id, rows[-1].last_position) if rows else 0
    text, cites = prompt_text([decode_block(row) for row in rows], max_tokens, newer)
    return {"session_id": session_id, "text": text, "cites": list(cites)}


def search_claims(ledger: Path, words: str, session_id: str | None = None) -> Iterator[ClaimMatch]:
    """Claims that contain all of `words`, in any case; claims of the newest blocks first."""
    wanted = words.casefold().split()
    before: str | None = None
    with Memory(ledger) as memory:
        while wanted and (rows := memory.newest(session_id, before=before)):
            before = rows[-1].block_id
            for row in rows:
                yield from _matches(decode_block(row), wanted)


def _matches(block: MemoryBlock, wanted: list[str]) -> Iterator[ClaimMatch]:
    ends = (block.covered.first_contract_id, block.covered.last_contract_id)
    claims = list(block.claims())  # they contain the whole summary except its counts
    if is_given(block):
        claims.insert(0, ("intent", Claim(block.intent, ends)))
    for section, claim in claims:
        text = "\n".join((claim.text, *claim.quotes)).casefold()
        if all(word in text for word in wanted):
            yield ClaimMatch(block.block_id, block.session_id, section, claim)


def verify_blocks(ledger: Path, references: list[str] | None) -> Iterator[tuple[BlockRow, list[str]]]:
    """Each block of these sessions, or with these IDs (None: all blocks), oldest first, with its mismatches.

    Raises NotFound and LedgerError.
    """
    if references is None:
        with Memory(ledger) as memory:
            references = memory.sessions()
    for reference in references:
        for row in blocks_of(ledger, reference):
            yield row, mismatches(ledger, row)


def mismatches(ledger: Path, row: BlockRow) -> list[str]:
    """How a block differs from the ledger, one sentence each: in its citations, its quotations, its counts and its claims."""
    from aorch.memory.verify import verify_block  # noqa: PLC0415  only one of the commands needs it

    try:
        block = decode_block(row)
    except LedgerError as error:
        return [str(error)]
    other_sessions: dict[str, str] = {}
    with Memory(ledger) as memory:

        def contract_of(contract_id: str) -> dict[str, Any] | None:
            contract = memory.contract(contract_id)
            if contract is not None and contract["session_id"] != row.session_id:
                other_sessions[contract_id] = contract["session_id"]
            return contract

        covered = block.covered
        contracts = memory.between(row.session_id, covered.first_contract_id, covered.last_contract_id)
        asked_before = memory.asked_before(row.session_id, covered.first_contract_id)
        found = verify_block(block, contract_of, contracts, asked_before)
        actual = memory.count(row.session_id, covered.first_contract_id, covered.last_contract_id)
    found += [f"cites {contract_id} of another session, {other!r}" for contract_id, other in other_sessions.items()]
    if actual != covered.count:
        found.append(f"the block says that it covers {covered.count} contracts; from first to last there are {actual}")
    if (block.block_id, block.session_id) != (row.block_id, row.session_id):
        found.append(f"the block calls itself {block.block_id} of the session {block.session_id!r}")
    return found


def blocks_by_session(ledger: Path, session_id: str | None = None) -> Iterator[tuple[str, list[BlockRow]]]:
    """Each session that has blocks (or only `session_id`), ordered by ID, with its blocks, oldest first."""
    with Memory(ledger) as memory:
        for name in memory.sessions() if session_id is None else [session_id]:
            yield name, memory.of(name)
