"""The shapes of the routes of memory. See bodies.py."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from aorch.memory.compressor import DEFAULT_TOKENS, FEWEST_TOKENS, MOST_TOKENS
from aorch.server.schemas.bodies import Body, ContractId, Json, Limit, Moment, Query, Text, _like, _whole

BlockId = Annotated[str, Field(description="`mem_` and a ULID.", examples=["mem_01KFV7EE0W1V1FJ7BTS47TG9Y2"])]
Claims = Annotated[list["ClaimForm"], Field(description="Empty where there is nothing.")]


class CompressBody(Body):
    """Which session is to be compressed, and how."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_id": "session_001", "intent": "Testing echo and uppercase"}]}
    )

    session_id: Text = Field(min_length=1, description="The session.")
    intent: Text | None = Field(None, description="What the memory is wanted for: kept first.")
    via: Literal["auto", "local", "llm", "memagent"] = Field(
        "auto", description="What compresses; `auto` takes what is configured, else `local` (see docs/compressors.md)."
    )
    max_tokens: Annotated[int, BeforeValidator(_whole)] = Field(
        DEFAULT_TOKENS, ge=FEWEST_TOKENS, le=MOST_TOKENS, description="How long it may be, 4 characters a token."
    )


class ClaimForm(Body):
    """A statement of a block."""

    text: str = Field(description="A sentence on one line; what stands between « and » is quoted.")
    contract_ids: list[ContractId] = Field(description="Where it comes from.")
    quotes: list[str] = Field([], description="Strings that stand exactly so in those contracts.")
    importance: float = Field(0.5, ge=0, le=1)
    brief: str = Field("", description="A shorter wording, or empty.")


class CoveredForm(Body):
    """The contracts that a block was made from."""

    count: int
    first_contract_id: str
    last_contract_id: str
    first_created_at: Moment
    last_created_at: Moment


class SizeForm(Body):
    """Tokens before and after."""

    tokens_before: int
    tokens_after: int
    counted: str = Field(description="How.")
    ratio: float = Field(description="Before / after.")


class CompressorForm(Body):
    """What made a block."""

    name: str = Field(description="`local` or `llm`.")
    version: str
    model: str = Field(description="Empty where none was asked.")
    fallback_reason: str = Field(description="Why it was the local compressor where another was asked for.")


class LeftOutForm(Body):
    """Claims of a kind that were found and not kept."""

    count: int
    contract_ids: list[str] = Field(description="Some of the contracts that they stand in.")


class MemoryBlockForm(Body):
    """The memory of a run of contracts of one session."""

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
    agents: dict[str, int] = Field(description="Contracts of each.")
    capabilities: dict[str, int] = Field(description="REQUESTs of each.")
    covered: CoveredForm
    size: SizeForm
    compressor: CompressorForm
    quality: float = Field(ge=0, le=1, description="Of what was found, the share that is kept and holds.")
    left_out: dict[str, LeftOutForm] = Field(description="What was found and stands in no form in the block.")
    answered_before: list[str] = Field(description="REQUESTs of earlier contracts that were answered in these.")
    ends: dict[str, int] | None = Field(None, description="RESPONSEs by status; not in blocks of older versions.")
    beside: Json | None = Field(description="MemAgent's answer and what it was sent, where it was asked.")


class CompressAnswer(Body):
    """What came of it."""

    status: Literal["ok", "error"]
    session_id: str
    compressed: int = Field(description="How many contracts the new block covers; 0 where nothing was new.")
    memory_block: MemoryBlockForm | None = Field(description="The new block; null where nothing was new.")
    error: str | None


class SessionMemory(Body):
    """The memory of a session: `blocks` and `next`, or with `as=prompt` `text` and `cites`."""

    session_id: str
    blocks: list[MemoryBlockForm] = Field([], description="Oldest first.")
    next: str | None = Field(None, description="The `cursor` of the next page; null on the last.")
    text: str = Field("", description="To be put before a model.")
    cites: list[ContractId] = Field([], description="The contracts that the text cites.")


class MemoryQuery(Query):
    """How the memory is to be shown."""

    form: Literal["blocks", "prompt"] = Field(
        "blocks", alias="as", description="Blocks, or text to be put before a model."
    )
    max_tokens: Annotated[int, _like(r"[0-9]+\Z", "a whole number")] = Field(
        DEFAULT_TOKENS, ge=FEWEST_TOKENS, le=MOST_TOKENS, description="How long the text may be."
    )
    cursor: str | None = Field(None, pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")
    limit: Limit = 100
