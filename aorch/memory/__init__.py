"""A session's memory: contracts in, a block whose every claim cites them out, and text for a model from blocks.

Pure: no I/O and no ledger; a contract is the dict of its JSON form.

    local.compress    gathering → candidates → packing: what was found, worded as claims, chosen to fit
    prompt.prompt     blocks as text within a budget of tokens
    verify.verify     whether citations lead somewhere and quotations stand there
    block             the shape of it all, and its JSON

A growing session: compress the contracts after `covered.last_contract_id` of its newest block, and give `prompt` all blocks.
"""

from aorch.memory.block import Claim, MemoryBlock
from aorch.memory.local.local_compressor import compress
from aorch.memory.prompt import prompt
from aorch.memory.verify import verify

__all__ = ["Claim", "MemoryBlock", "compress", "prompt", "verify"]
