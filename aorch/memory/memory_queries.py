"""What is remembered: blocks read back, shown to a model, searched, and held against the contracts that they cite."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aorch.errors import InvalidJSON, LedgerError, NotFound
from aorch.ledger.memory_blocks import BlockRow, Memory
from aorch.memory import Claim, MemoryBlock, prompt, verify
from aorch.memory.block import from_json, is_given


@dataclass(frozen=True, slots=True)
class Found:
    """A claim (or what a block was wanted for) in which all words of a search stand."""

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


def opened(row: BlockRow) -> MemoryBlock:
    """The block that `row` holds. Raises LedgerError where it holds none."""
    try:
        return from_json(row.block)
    except (InvalidJSON, msgspec.ValidationError) as error:
        raise LedgerError(f"the memory block {row.block_id} cannot be read: {error}") from error


def blocks_of(ledger: Path, reference: str) -> list[BlockRow]:
    """The block of that id, or all blocks of the session of that name, oldest first.

    Empty where the session was not compressed yet. Raises NotFound where there is neither.
    """
    with Memory(ledger) as memory:
        if (row := memory.block(reference)) is not None:
            return [row]
        return _known(memory, reference, 0, -1, "session or memory block")


def known(ledger: Path, session_id: str, *, after: int = 0, limit: int = -1) -> list[BlockRow]:
    """The blocks of a session, oldest first: those after a position, up to `limit` (below 0: all). Raises NotFound."""
    with Memory(ledger) as memory:
        return _known(memory, session_id, after, limit, "session")


def _known(memory: Memory, session_id: str, after: int, limit: int, what: str) -> list[BlockRow]:
    rows = memory.of(session_id, after=after, limit=limit)
    if not rows and not memory.knows(session_id):
        raise NotFound(f"no {what} is called {session_id!r}", "See `aorch memory list`.")
    return rows


def as_prompt(ledger: Path, session_id: str, rows: list[BlockRow], max_tokens: int) -> dict[str, Any]:
    """`text` of a session's blocks to be put before a model, within `max_tokens`, and the contract ids that it `cites`.

    The text says how many newer contracts of the session it does not cover.
    """
    with Memory(ledger) as memory:
        newer = memory.newer(session_id, rows[-1].last_position) if rows else 0
    text, cites = prompt([opened(row) for row in rows], max_tokens, newer)
    return {"session_id": session_id, "text": text, "cites": list(cites)}


def search(ledger: Path, words: str, session_id: str | None = None) -> Iterator[Found]:
    """Claims in which all of `words` stand, in capitals or not: the newest blocks first."""
    wanted = words.casefold().split()
    before: str | None = None
    with Memory(ledger) as memory:
        while wanted and (rows := memory.newest(session_id, before=before)):
            before = rows[-1].block_id
            for row in rows:
                yield from _matching(opened(row), wanted)


def _matching(block: MemoryBlock, wanted: list[str]) -> Iterator[Found]:
    ends = (block.covered.first_contract_id, block.covered.last_contract_id)
    texts = list(block.claims())  # which hold what the summary says, but for its counts
    if is_given(block):
        texts.insert(0, ("intent", Claim(block.intent, ends)))
    for section, claim in texts:
        said = "\n".join((claim.text, *claim.quotes)).casefold()
        if all(word in said for word in wanted):
            yield Found(block.block_id, block.session_id, section, claim)


def faults(ledger: Path, row: BlockRow) -> list[str]:
    """What does not hold in a block, a sentence each: every citation must lead to a contract of the session in which what
    is quoted stands, and the block's counts and what it calls its contracts must be so.
    """
    try:
        block = opened(row)
    except LedgerError as error:
        return [str(error)]
    strangers: dict[str, str] = {}
    with Memory(ledger) as memory:

        def contract_of(contract_id: str) -> dict[str, Any] | None:
            contract = memory.contract(contract_id)
            if contract is not None and contract["session_id"] != row.session_id:
                strangers[contract_id] = contract["session_id"]
            return contract

        covered = block.covered
        contracts = memory.between(row.session_id, covered.first_contract_id, covered.last_contract_id)
        asked_before = memory.asked_before(row.session_id, covered.first_contract_id)
        found = verify(block, contract_of, contracts, asked_before)
        there = memory.count(row.session_id, covered.first_contract_id, covered.last_contract_id)
    found += [f"cites {contract_id}, which is of the session {other!r}" for contract_id, other in strangers.items()]
    if there != covered.count:
        found.append(f"says that it covers {covered.count} contracts; from its first to its last there are {there}")
    if (block.block_id, block.session_id) != (row.block_id, row.session_id):
        found.append(f"calls itself {block.block_id} of the session {block.session_id!r}")
    return found


def verified(ledger: Path, references: list[str] | None) -> Iterator[tuple[BlockRow, list[str]]]:
    """Each block of these sessions (or that are these blocks; None: of all), oldest first, with what does not hold in it.

    Raises NotFound and LedgerError.
    """
    if references is None:
        with Memory(ledger) as memory:
            references = memory.sessions()
    for reference in references:
        for row in blocks_of(ledger, reference):
            yield row, faults(ledger, row)


def every_session(ledger: Path, session_id: str | None = None) -> Iterator[tuple[str, list[BlockRow]]]:
    """Each session that has blocks (or that one), in the order of their ids, with its blocks, oldest first."""
    with Memory(ledger) as memory:
        for name in memory.sessions() if session_id is None else [session_id]:
            yield name, memory.of(name)
