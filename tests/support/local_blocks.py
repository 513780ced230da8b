"""Blocks that the local compressor makes in tests, and their check."""

from typing import Any

from memory_sessions import Contract

from aorch.memory.block import BlockRequest, MemoryBlock
from aorch.memory.local.local_compressor import compress_locally
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
