"""The llm compressor: a model writes claims about a session, and aorch checks each of them against the contracts.

A session that is longer than the model's window is read in several windows, always from the contracts: a summary is never
summarised again. The local compressor adds important findings that the model left out, and makes the block if the model fails.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from aorch.errors import ServiceUnreachable
from aorch.memory.block import BlockRequest, Compressor, MemoryBlock
from aorch.memory.llm.claim_proof import CheckedClaims, check_claims
from aorch.memory.llm.excerpts import Excerpt, Excerpts
from aorch.memory.llm.llm_block import block_of_claims
from aorch.memory.llm.llm_client import LlmClient
from aorch.memory.llm.llm_prompt import MOST_OUTPUT_TOKENS, OVERHEAD_TOKENS, SCHEMA, SYSTEM, question
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.parties import Parties

NAME, VERSION = "llm", "1"

_AT_ONCE = 4
"""Number of windows that are sent to the model at once."""


async def compress_with_llm(
    contracts: Iterable[Mapping[str, Any]], llm: LlmClient, request: BlockRequest
) -> MemoryBlock:
    """The memory block of `contracts`, which belong to one session and come oldest first. They are read once, in a thread.

    If the model fails, this is the local compressor's block with a `fallback_reason`. `quality` is the share of the local
    compressor's findings that the block contains, times the share of the model's claims that passed the checks.
    """
    config = llm.config
    excerpts = Excerpts(config.max_input_tokens - OVERHEAD_TOKENS, config.max_requests, Parties(request.asked_before))
    # in a thread: ten thousand contracts take a second
    local = await asyncio.to_thread(compress_locally, excerpts.recorded(contracts), request)
    windows = excerpts.windows()
    if excerpts.too_many or len(windows) > config.max_requests:
        return _fallback(
            local,
            f"the session is longer than {config.max_requests} requests of {config.max_input_tokens} tokens "
            "(`max_requests` and `max_input_tokens` in [llm])",
        )
    if not windows:
        return local
    try:
        checked = await _ask_model(llm, windows, request)
    except ServiceUnreachable as error:
        return _fallback(local, str(error))
    if not checked.claims:
        return _fallback(local, f"no claim of {config.model} passed the checks")
    model = Compressor(NAME, VERSION, config.model)
    return await asyncio.to_thread(block_of_claims, local, model, checked, excerpts.listed, request.max_tokens)


def _fallback(local: MemoryBlock, reason: str) -> MemoryBlock:
    return replace(local, compressor=Compressor(local.compressor.name, local.compressor.version, "", reason))


async def _ask_model(llm: LlmClient, windows: Sequence[Sequence[Excerpt]], request: BlockRequest) -> CheckedClaims:
    """The checked claims of all windows. Raises ServiceUnreachable as soon as one window fails."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(window: Sequence[Excerpt]) -> dict[str, Any]:
        async with slots:
            asked = question(window, request.intent, request.forgotten)
            return await llm.ask(SYSTEM, asked, SCHEMA, MOST_OUTPUT_TOKENS)

    tasks = [asyncio.ensure_future(ask(window)) for window in windows]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    checked = CheckedClaims()
    for answer, window in zip(answers, windows, strict=True):
        await asyncio.to_thread(check_claims, answer, window, checked)
    return checked
