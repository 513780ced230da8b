"""Blocks that the local compressor makes in tests, and their check."""

from typing import Any

from memory_sessions import Contract, Session

from aorch.memory.block import BlockRequest, MemoryBlock
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.prompt import prompt_text
from aorch.memory.verify import verify_block


def block_of(contracts: list[Contract], **options: Any) -> MemoryBlock:
    """The block of `contracts`."""
    request = BlockRequest(block_id="mem_1", created_at="2026-06-01T00:00:00.000Z", **options)
    return compress_locally(iter(contracts), request)


def faults(block: MemoryBlock, contracts: list[Contract]) -> list[str]:
    """What `aorch memory verify` finds wrong in the block of all those contracts."""
    return verify_block(block, {contract["contract_id"]: contract for contract in contracts}.get, contracts)


def citation_faults(block: MemoryBlock, contracts: list[Contract]) -> list[str]:
    """The same for some of a block's contracts: only its citations and quotations are checked."""
    return verify_block(block, {contract["contract_id"]: contract for contract in contracts}.get)


def shown(session: Session, max_tokens: int = 512) -> str:
    """The prompt of the block of `session`, which must have no faults."""
    block = block_of(session.contracts, max_tokens=max_tokens)
    assert faults(block, session.contracts) == []
    return prompt_text([block], max_tokens)[0]


def many_steps(s: Session, count: int = 30) -> None:
    """Steps that say nothing of note, so that the session is too long to be shown in full."""
    for n in range(count):
        s.calls("bot", "store", "read_node", {"node": f"N-{n}"}, {"state": f"works as before, load {n} of 100"})
