"""Schemas of memory blocks."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from aorch.memory.compressor import DEFAULT_TOKENS, FEWEST_TOKENS, MOST_TOKENS
from aorch.server.schemas.fields import (
    Body,
    ContractId,
    Cursor,
    Json,
    Limit,
    Moment,
    Next,
    Query,
    Text,
    matching,
    whole_number,
)

BlockId = Annotated[str, Field(description="`mem_` and a ULID.", examples=["mem_01KFV7EE0W1V1FJ7BTS47TG9Y2"])]
Claims = Annotated[list["ClaimForm"], Field(description="Empty if none was found.")]


class CompressBody(Body):
    """The session to compress, and the options."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_id": "session_001", "intent": "Testing echo and uppercase"}]}
    )

    session_id: Text = Field(min_length=1, description="The session to compress.")
    intent: Text | None = Field(None, description="What the memory will be used for. Matching claims are kept first.")
    via: Literal["auto", "local", "llm", "memagent"] = Field(
        "auto", description="The compressor. `auto`: the configured one, otherwise `local` (see docs/compressors.md)."
    )
    max_tokens: Annotated[int, BeforeValidator(whole_number)] = Field(
        DEFAULT_TOKENS,
        ge=FEWEST_TOKENS,
        le=MOST_TOKENS,
        description="Maximum size of the block, at 4 characters per token.",
    )


class ClaimForm(Body):
    """A statement in a memory block."""

    text: str = Field(description="A sentence. Text between « and » is quoted from a contract.")
    contract_ids: list[ContractId] = Field(description="The contracts that it comes from.")
    quotes: list[str] = Field([], description="Strings that these contracts contain literally.")
    importance: float = Field(0.5, ge=0, le=1)
    brief: str = Field("", description="A shorter wording, or empty.")


class CoveredForm(Body):
    """The contracts that a block covers."""

    count: int
    first_contract_id: str
    last_contract_id: str
    first_created_at: Moment
    last_created_at: Moment


class SizeForm(Body):
    """The size in tokens before and after compression."""

    tokens_before: int
    tokens_after: int
    counted: str = Field(description="How tokens were counted.")
    ratio: float = Field(description="`tokens_before` / `tokens_after`.")


class CompressorForm(Body):
    """The compressor that created a block."""

    name: str = Field(description="`local` or `llm`.")
    version: str
    model: str = Field(description="The model; empty if none was used.")
    fallback_reason: str = Field(description="Why the local compressor replaced the chosen one; empty if it did not.")


class LeftOutForm(Body):
    """Claims of one kind that were found but not kept."""

    count: int
    contract_ids: list[str] = Field(description="Some of the contracts that contain them.")


class MemoryBlockForm(Body):
    """The compressed memory of consecutive contracts of one session."""

    block_id: BlockId
    session_id: str
    created_at: Moment
    intent: str
    summary: str
    aims: Claims
    decisions: Claims
    failures: Claims
    results: Claims
    preferences: Claims
    open_points: Claims
    literals: Claims
    agents: dict[str, int] = Field(description="The number of contracts of each agent.")
    capabilities: dict[str, int] = Field(description="The number of REQUESTs of each capability.")
    covered: CoveredForm
    size: SizeForm
    compressor: CompressorForm
    quality: float = Field(ge=0, le=1, description="The share of the findings that the block contains.")
    left_out: dict[str, LeftOutForm] = Field(description="Claims that were found but are not in the block, by kind.")
    answered_before: list[str] = Field(description="REQUESTs of earlier blocks whose RESPONSE is in this one.")
    ends: dict[str, int] | None = Field(
        None, description="The number of RESPONSEs by status; null in blocks of older versions."
    )
    beside: Json | None = Field(description="MemAgent's request and response, if it was used.")


class CompressAnswer(Body):
    """The result of a compression."""

    status: Literal["ok", "error"]
    session_id: str
    compressed: int = Field(description="The number of contracts in the new block; 0 if nothing was new.")
    memory_block: MemoryBlockForm | None = Field(description="The new block; null if nothing was new.")
    error: str | None


class SessionMemory(Body):
    """The memory of a session: `blocks` and `next`; with `as=prompt`, `text` and `cites`."""

    session_id: str
    blocks: list[MemoryBlockForm] = Field([], description="Oldest first.")
    next: Next = None
    text: str = Field("", description="The memory as text for a model's prompt.")
    cites: list[ContractId] = Field([], description="The contracts that the text cites.")


class MemoryQuery(Query):
    """The form of the memory."""

    form: Literal["blocks", "prompt"] = Field(
        "blocks", alias="as", description="Return blocks, or text for a model's prompt."
    )
    max_tokens: Annotated[int, matching(r"[0-9]+\Z", "a whole number")] = Field(
        DEFAULT_TOKENS, ge=FEWEST_TOKENS, le=MOST_TOKENS, description="Maximum size of the text in tokens."
    )
    cursor: Cursor = None
    limit: Limit = 100
