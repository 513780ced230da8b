"""Queries of stored memory blocks: read them, show them to a model, search them, and verify them against the ledger."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import InvalidJSON, LedgerError, NotFound
from aorch.ledger.memory_blocks import BlockRow, Memory
from aorch.ledger.stored_corrections import NOTE, PIN, StoredCorrection
from aorch.memory.block import Claim, MemoryBlock, claim_id, from_dict, from_json, is_given
from aorch.memory.block_diff import Change, changes
from aorch.memory.corrections import Corrections, applying
from aorch.memory.prompt import Newer, prompt_text

MOST_REMEMBERED = 1000
"""Sessions whose corrections a reader of blocks keeps in memory."""
MOST_SEARCHED = 2000
"""Maximum number of memory blocks that one page of a search reads."""


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
            "claim_id": claim_id(self.claim),
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


def block_in(form: dict[str, Any]) -> MemoryBlock:
    """The block in its JSON form, with or without `beside`. Raises LedgerError if it is no valid block."""
    try:
        return from_dict({name: value for name, value in form.items() if name != "beside"})
    except (InvalidJSON, msgspec.ValidationError) as error:
        raise LedgerError(f"cannot read the memory block {form.get('block_id')}: {error}") from error


def corrections_of(ledger: LedgerLocation, session_id: str) -> Corrections:
    """The corrections that apply to a session."""
    with Memory(ledger) as memory:
        return _corrections(memory, session_id)


def _corrections(memory: Memory, session_id: str) -> Corrections:
    return Corrections(applying(memory.corrections(session_id)))


class BlockReader:
    """Decodes stored blocks as readers see them: without forgotten claims, and without pins and notes that were undone."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._corrections: dict[str, Corrections] = {}

    def corrections(self, session_id: str) -> Corrections:
        """The corrections that apply to a session."""
        if session_id not in self._corrections:
            if len(self._corrections) >= MOST_REMEMBERED:
                self._corrections.clear()
            self._corrections[session_id] = _corrections(self._memory, session_id)
        return self._corrections[session_id]

    def block(self, row: BlockRow) -> MemoryBlock:
        """The block in `row`. Raises LedgerError if the row contains no valid block."""
        return self.corrections(row.session_id).seen(decode_block(row))

    def form(self, row: BlockRow) -> dict[str, Any]:
        """The JSON form of the block in `row`, with `beside`, its companion data (or null)."""
        try:
            block = self.block(row)
        except LedgerError:  # another program wrote it, or all of it was erased
            return row.as_dict()
        return {**block.as_dict(), "beside": None if row.beside is None else jsonio.decode(row.beside)}


def block_forms(ledger: LedgerLocation, rows: Iterable[BlockRow]) -> list[dict[str, Any]]:
    """The JSON forms of the blocks in `rows`, as readers see them."""
    with Memory(ledger) as memory:
        reader = BlockReader(memory)
        return [reader.form(row) for row in rows]


def seen_blocks(ledger: LedgerLocation, rows: Iterable[BlockRow]) -> list[MemoryBlock]:
    """The blocks in `rows`, as readers see them. Raises LedgerError."""
    with Memory(ledger) as memory:
        reader = BlockReader(memory)
        return [reader.block(row) for row in rows]


def blocks_of(ledger: LedgerLocation, reference: str) -> list[BlockRow]:
    """The block with the ID `reference`, or all blocks of the session `reference`, oldest first.

    Empty if the session has no block yet. Raises NotFound if there is neither.
    """
    with Memory(ledger) as memory:
        if (row := memory.block(reference)) is not None:
            return [row]
        return _blocks_of_session(memory, reference, 0, None, "session or memory block")


def blocks_up_to(ledger: LedgerLocation, reference: str) -> list[BlockRow]:
    """All blocks of the session `reference`, oldest first, or the block with that ID and those before it. Raises NotFound."""
    rows = blocks_of(ledger, reference)
    if len(rows) != 1 or rows[0].block_id != reference:
        return rows
    return [row for row in blocks_of_session(ledger, rows[0].session_id) if row.last_position <= rows[0].last_position]


def blocks_of_session(
    ledger: LedgerLocation, session_id: str, *, after: int = 0, limit: int | None = None
) -> list[BlockRow]:
    """The blocks of a session, oldest first: those after a position, up to `limit` (None: all). Raises NotFound."""
    with Memory(ledger) as memory:
        return _blocks_of_session(memory, session_id, after, limit, "session")


def _blocks_of_session(memory: Memory, session_id: str, after: int, limit: int | None, what: str) -> list[BlockRow]:
    rows = memory.of(session_id, after=after, limit=limit)
    if not rows and not memory.knows(session_id):
        raise memory_not_found(what, session_id)
    return rows


def check_session(ledger: LedgerLocation, session_id: str | None) -> None:
    """Raise NotFound if the session has neither contracts nor blocks. None, for all sessions, is always right."""
    if session_id is not None:
        blocks_of_session(ledger, session_id, limit=1)


def memory_not_found(what: str, name: str) -> NotFound:
    """The error for a `what` (a session, or a memory block) that does not exist."""
    return NotFound(
        f"{what} {name!r} not found",
        "List the memory blocks with `aorch memory list`.",
        http_hint="GET /v1/sessions lists the sessions.",
    )


def as_prompt(ledger: LedgerLocation, session_id: str, rows: list[BlockRow], max_tokens: int) -> dict[str, Any]:
    """The blocks of a session as `text` for a model, within `max_tokens`, and `cites`, the contract IDs in the text.

    The text shows how many newer contracts of the session the blocks do not cover, and what the newest of them say unless
    another block covers them.
    """
    with Memory(ledger) as memory:
        corrections = _corrections(memory, session_id)
        newer = _newer(memory, ledger, rows[-1], corrections) if rows else Newer()
    blocks = corrections.for_prompt([decode_block(row) for row in rows])
    text, cites = prompt_text(blocks, max_tokens, newer)
    return {"session_id": session_id, "text": text, "cites": list(cites)}


def _newer(memory: Memory, ledger: LedgerLocation, last: BlockRow, corrections: Corrections) -> Newer:
    """The contracts of a session after that block."""
    count = memory.newer(last.session_id, last.last_position)
    if not count or memory.of(last.session_id, after=last.last_position, limit=1):
        return Newer(count)
    from aorch.memory.newer_contracts import newest_claims  # noqa: PLC0415  most sessions have no newer contracts

    items, answered = newest_claims(memory, ledger, last.session_id, last.last_position)
    return Newer(count, [item for item in items if not corrections.forgets(*item)], answered)


def newest_changes(ledger: LedgerLocation, rows: list[BlockRow], max_tokens: int) -> list[Change]:
    """What the last of these blocks of a session (oldest first, from the first one on) changes in a prompt."""
    corrections = corrections_of(ledger, rows[-1].session_id)
    blocks = [decode_block(row) for row in rows]
    before, after = (corrections.for_prompt(each) for each in (blocks[:-1], blocks))
    return changes(before, after, max_tokens)


def newest_changes_form(ledger: LedgerLocation, reference: str, max_tokens: int) -> dict[str, Any]:
    """What the newest block of a session, or the block with that ID, changes in a prompt. `block_id` is None without blocks.

    Raises NotFound.
    """
    rows = blocks_up_to(ledger, reference)
    if not rows:
        return {"session_id": reference, "block_id": None, "max_tokens": max_tokens, "changes": []}
    found, newest = newest_changes(ledger, rows, max_tokens), rows[-1]
    about = {"session_id": newest.session_id, "block_id": newest.block_id, "max_tokens": max_tokens}
    return {**about, "changes": [change.as_dict() for change in found]}


def search_claims(ledger: LedgerLocation, words: str, session_id: str | None = None) -> Iterator[ClaimMatch]:
    """Claims that contain all of `words`, in any case; claims of the newest blocks first."""
    for _, matches in _searched(ledger, words, session_id, None):
        yield from matches


def search_page(
    ledger: LedgerLocation, words: str, session_id: str | None, *, before: str | None, limit: int
) -> tuple[list[ClaimMatch], str | None]:
    """Such claims of blocks before that block's id (None: the newest), and the id of the last block searched if others follow.

    Stops after the block with which there are `limit` claims, and after MOST_SEARCHED blocks.
    """
    found: list[ClaimMatch] = []
    for number, (block_id, matches) in enumerate(_searched(ledger, words, session_id, before), 1):
        found += matches
        if len(found) >= limit or number == MOST_SEARCHED:
            return found, block_id
    return found, None


def _searched(
    ledger: LedgerLocation, words: str, session_id: str | None, before: str | None
) -> Iterator[tuple[str, Iterable[ClaimMatch]]]:
    """Each block before that one, the newest first, with its matching claims."""
    wanted = words.casefold().split()
    with Memory(ledger) as memory:
        reader, found = BlockReader(memory), set[str]()
        while wanted and (rows := memory.newest(session_id, before=before)):
            before = rows[-1].block_id
            for row in rows:
                yield row.block_id, _matches(reader.block(row), wanted, found)


def _matches(block: MemoryBlock, wanted: list[str], found: set[str]) -> Iterator[ClaimMatch]:
    """The matching claims of a block, without pins (they are in the block that they come from) and notes `found` before."""
    ends = (block.covered.first_contract_id, block.covered.last_contract_id)
    claims = list(block.claims())  # they contain the whole summary except its counts
    if is_given(block):
        claims.insert(0, ("intent", Claim(block.intent, ends)))
    for section, claim in claims:
        text = "\n".join((claim.text, *claim.quotes)).casefold()
        if section == "pinned" or (section == "notes" and claim_id(claim) in found):
            continue
        if all(word in text for word in wanted):
            found.update([claim_id(claim)] if section == "notes" else [])
            yield ClaimMatch(block.block_id, block.session_id, section, claim)


def verify_blocks(ledger: LedgerLocation, references: list[str] | None) -> Iterator[tuple[BlockRow, list[str]]]:
    """Each block of these sessions, or with these IDs (None: all blocks), oldest first, with its mismatches.

    Raises NotFound and LedgerError.
    """
    if references is None:
        with Memory(ledger) as memory:
            references = memory.sessions()
    for reference in references:
        for row in blocks_of(ledger, reference):
            yield row, mismatches(ledger, row)


def verification(ledger: LedgerLocation, references: list[str] | None) -> dict[str, Any]:
    """How the blocks of these sessions, or with these IDs (None: all), differ from the ledger: the number of `blocks`, their
    `faults`, the number of `erased_claims`, and the citations of `pruned` contracts. Raises NotFound and LedgerError.
    """
    blocks, erased = 0, 0
    faults: list[dict[str, str]] = []
    pruned: list[dict[str, str]] = []
    for row, found in verify_blocks(ledger, references):
        about = {"block_id": row.block_id, "session_id": row.session_id}
        pruned += [{**about, "contract_id": each, "state": "pruned"} for each in pruned_citations(ledger, row)]
        blocks, erased = blocks + 1, erased + erased_claims(row)
        faults += [{**about, "fault": fault} for fault in found]
    return {"blocks": blocks, "faults": faults, "erased_claims": erased, "pruned": pruned}


def erased_claims(row: BlockRow) -> int:
    """The number of claims that were removed from a block because their contracts were erased; 0 if it cannot be read."""
    try:
        erased = decode_block(row).erased
    except LedgerError:
        return 0
    return 0 if erased is None else erased.claims


def mismatches(ledger: LedgerLocation, row: BlockRow) -> list[str]:
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

        covered, pruned = block.covered, memory.pruned(row.session_id)
        if pruned:  # statements about several contracts cannot be checked without some of them
            found, actual = verify_block(block, contract_of, pruned=pruned), _count_with_pruned(memory, block, pruned)
        else:
            part = row.session_id, covered.first_contract_id, covered.last_contract_id
            found = verify_block(block, contract_of, memory.between(*part), memory.asked_before(*part))
            actual = memory.count(*part)
        found += _uncorrected(block, memory.corrections(row.session_id))
    found += [f"cites {contract_id} of another session, {other!r}" for contract_id, other in other_sessions.items()]
    if actual != covered.count:
        found.append(f"the block says that it covers {covered.count} contracts; from first to last there are {actual}")
    if (block.block_id, block.session_id) != (row.block_id, row.session_id):
        found.append(f"the block calls itself {block.block_id} of the session {block.session_id!r}")
    return found


def _uncorrected(block: MemoryBlock, corrections: list[StoredCorrection]) -> Iterator[str]:
    """The pins and notes of a block that nobody wrote (undone ones were written)."""
    noted = {one.contract_id for one in corrections if one.action == NOTE}
    pins = [one.payload.get("claim_id") for one in corrections if one.action == PIN]
    for claim in block.notes:
        if not noted.issuperset(claim.contract_ids):
            yield f"notes: {claim.text[:60]!r} cites {claim.contract_ids[0]}, which is no note of the session"
    for claim in block.pinned:
        if claim_id(claim) not in pins and None not in pins:  # of an erased pin, nothing is known
            yield f"pinned: {claim.text[:60]!r} was not pinned"


def _count_with_pruned(memory: Memory, block: MemoryBlock, pruned: dict[str, int]) -> int:
    """The number of contracts from the first to the last one of a block, those included that were pruned."""
    ends = (block.covered.first_contract_id, block.covered.last_contract_id)
    first, last = (pruned.get(each) or memory.position(each) for each in ends)
    if first is None or last is None:
        return 0
    gone = sum(first <= position <= last for position in pruned.values())
    return gone + memory.count_between(block.session_id, first - 1, last)


def pruned_citations(ledger: LedgerLocation, row: BlockRow) -> list[str]:
    """The contracts that a block cites and that were pruned, in order; empty if the block cannot be read."""
    try:
        claims = decode_block(row).claims()
    except LedgerError:
        return []
    with Memory(ledger) as memory:
        pruned = memory.pruned(row.session_id)
        cited = dict.fromkeys(contract_id for _, claim in claims for contract_id in claim.contract_ids)
        return [each for each in cited if each in pruned and memory.position(each) is None]


def blocks_by_session(ledger: LedgerLocation, session_id: str | None = None) -> Iterator[tuple[str, list[BlockRow]]]:
    """Each session that has blocks (or only `session_id`), ordered by ID, with its blocks, oldest first. Raises NotFound."""
    if session_id is not None:
        yield session_id, blocks_of_session(ledger, session_id)
        return
    with Memory(ledger) as memory:
        for name in memory.sessions():
            yield name, memory.of(name)
