"""Blocks made with the double of a model, and checks of them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llm_double import KEY, LlmDouble
from memory_sessions import Contract, operations

from aorch.config.settings import LlmConfig
from aorch.memory.block import BlockRequest, MemoryBlock
from aorch.memory.llm.llm_client import LlmClient
from aorch.memory.llm.llm_compressor import compress_with_llm
from aorch.memory.local.local_compressor import compress_locally

PROVIDERS = ("anthropic", "openai")
OPERATIONS = operations()
Configured = Callable[..., LlmConfig]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Configured:
    """The configuration of a double for a provider, with a key in the environment."""
    monkeypatch.setenv("TEST_LLM_KEY", KEY)

    def configure(double: LlmDouble, provider: str = "openai", **more: Any) -> LlmConfig:
        url = f"{double.url}/v1" if provider == "openai" else double.url
        given = {"model": "test-model-1", "key_env": "TEST_LLM_KEY", "timeout_s": 5.0, **more}
        return LlmConfig(provider=provider, url=url, **given)  # type: ignore[arg-type]

    return configure


def block_by(llm_config: LlmConfig, contracts: list[Contract], **options: Any) -> MemoryBlock:
    """A block of `contracts` made with that model."""

    async def run() -> MemoryBlock:
        async with LlmClient(llm_config) as llm:
            return await compress_with_llm(iter(contracts), llm, BlockRequest("mem_1", "t", **options))

    return asyncio.run(run())


def local(contracts: list[Contract], **options: Any) -> MemoryBlock:
    return compress_locally(contracts, BlockRequest(block_id="mem_1", created_at="t", **options))


def reason(block: MemoryBlock) -> str:
    """The `fallback_reason` in the JSON form of the block."""
    return str(block.as_dict()["compressor"].get("fallback_reason", ""))


def assert_stood_in(block: MemoryBlock, contracts: list[Contract], why: str) -> None:
    assert why in reason(block)
    assert block.compressor.name == "local"
    same = local(contracts)
    assert list(block.claims()) == list(same.claims())
    assert (block.summary, block.quality, block.size) == (same.summary, same.quality, same.size)
