"""Schemas of memory blocks."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from aorch.memory.compressor import DEFAULT_TOKENS, FEWEST_TOKENS, MOST_TOKENS
from aorch.server.schemas.fields import (
    BLOCK_ID,
    Body,
    BodyMoment,
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
BlockCursor = Annotated[str | None, Field(pattern=BLOCK_ID, description="`next` of the previous page.")]
ClaimId = Annotated[str, Field(description="`clm_` and 10 letters and digits.", examples=["clm_ab2cd3ef4g"])]
Claims = Annotated[list["ClaimForm"], Field(description="Empty if none was found.")]


class CompressBody(Body):
    """The session to compress, and the options."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_id": "session_001", "intent": "Testing echo and uppercase"}]}
    )

    session_id: Text = Field(min_length=1, description="The session to compress.")
    intent: Text | None = Field(None, description="What the memory will be used for. Matching claims are kept first.")
    via: Literal["auto", "local", "llm", "memagent"] = Field(
        "auto",
        description="The compressor. `auto`: the configured one, otherwise `local`."
        ' See "Compressors" (aorch help --docs compressors).',
    )
    max_tokens: Annotated[int, BeforeValidator(whole_number)] = Field(
        DEFAULT_TOKENS,
        ge=FEWEST_TOKENS,
        le=MOST_TOKENS,
        description="Maximum size of the block, at 4 characters per token.",
    )


class CompressManyBody(Body):
    """The sessions to compress, and the options."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sessions": ["session_001"], "max_tokens": 256}]})

    sessions: list[Text] | None = Field(None, description="The sessions to compress. Default: all with new contracts.")
    intent: Text | None = Field(None, description="What the memory will be used for. Matching claims are kept first.")
    via: Literal["auto", "local", "llm", "memagent"] = Field("auto", description="The compressor.")
    max_tokens: Annotated[int, BeforeValidator(whole_number)] = Field(
        DEFAULT_TOKENS, ge=FEWEST_TOKENS, le=MOST_TOKENS, description="Maximum size of a block."
    )
    idle_since: BodyMoment | None = Field(None, description="Skip sessions with contracts newer than this time.")
    min_contracts: Annotated[int, BeforeValidator(whole_number)] = Field(
        1, ge=1, description="Skip sessions with fewer new contracts."
    )
    min_first: Annotated[int, BeforeValidator(whole_number)] = Field(
        1, ge=1, description="Skip sessions without a block that have fewer contracts."
    )
    preview: bool = Field(False, description="Store nothing.")


class VerifyBody(Body):
    """The memory to check."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"references": ["session_001"]}]})

    references: list[Text] | None = Field(None, description="Sessions, or IDs of memory blocks. Default: all blocks.")


class FaultForm(Body):
    """A difference between a memory block and the ledger."""

    block_id: BlockId
    session_id: str
    fault: str


class PrunedCitation(Body):
    """A citation of a contract that was pruned, which is no fault."""

    block_id: BlockId
    session_id: str
    contract_id: ContractId
    state: Literal["pruned"]


class Verification(Body):
    """How memory blocks differ from the ledger."""

    blocks: int = Field(description="The number of blocks that were checked.")
    faults: list[FaultForm]
    erased_claims: int = Field(
        description="The number of claims that were removed because their contracts were erased."
    )
    pruned: list[PrunedCitation]


class MemorySessions(Body):
    """The sessions that have memory blocks."""

    sessions: list[str] = Field(description="Their IDs, in order.")


class PromptForm(Body):
    """Memory as text for a model's prompt."""

    session_id: str
    text: str
    cites: list[ContractId] = Field(description="The contracts that the text cites.")


class BlockDetail(Body):
    """One memory block."""

    block: "MemoryBlockForm"
    prompt: PromptForm = Field(description="The block as text of at most `max_tokens`.")


class PromptQuery(Query):
    """The size of a prompt."""

    max_tokens: Annotated[int, matching(r"[0-9]+\Z", "a whole number")] = Field(
        DEFAULT_TOKENS, ge=FEWEST_TOKENS, le=MOST_TOKENS, description="Maximum size of the text in tokens."
    )


class ClaimForm(Body):
    """A statement in a memory block."""

    claim_id: ClaimId
    text: str = Field(description="A sentence. Text between « and » is quoted from a contract.")
    contract_ids: list[ContractId] = Field(description="The contracts that it comes from.")
    quotes: list[str] = Field([], description="Strings that these contracts contain literally.")
    importance: float = Field(0.5, ge=0, le=1)
    brief: str = Field("", description="A shorter wording, or empty.")
    number: int = Field(
        0, ge=0, description="Place of the first of these contracts in the block, from 1; 0 if unknown."
    )
    places: list[int] = Field(
        [], description="Places of the quotations in the text among the sentences of that contract, from 1."
    )


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


class ErasedClaimsForm(Body):
    """Claims that were removed because their contracts were erased."""

    claims: int
    contract_ids: list[str] = Field(description="The erased contracts that they cited.")


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
    pinned: Claims = Field(description="The claims that were pinned when the block was made, and still are.")
    notes: Claims = Field(description="The notes of people when the block was made.")
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
    erased: ErasedClaimsForm | None = Field(None, description="Claims about erased contracts; null if there were none.")
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


class MemoryPage(Body):
    """A page of memory blocks, newest first, of at most 8 MiB."""

    blocks: list[MemoryBlockForm]
    next: Next


class FoundClaim(Body):
    """A claim with its block. `section` is the list of the block that contains it, or `intent`."""

    block_id: BlockId
    session_id: str
    section: str
    claim_id: ClaimId
    text: str
    contract_ids: list[ContractId]
    quotes: list[str]


class ClaimPage(Body):
    """A page of claims."""

    claims: list[FoundClaim]
    next: Next


class ClaimReference(Body):
    """A claim."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"claim_id": "clm_ab2cd3ef4g"}]})

    claim_id: Text = Field(min_length=1, description="The ID of a claim.")


class NoteBody(Body):
    """A note about a session."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_id": "session_001", "text": "The greeting is final."}]}
    )

    session_id: Text = Field(min_length=1, description="The session.")
    text: Text = Field(description="The note, up to 500 characters, which are kept on one line.")


class CorrectionForm(Body):
    """A correction of memory. `contract_id` is the ID of its REQUEST."""

    contract_id: ContractId
    session_id: str
    action: Literal["pin", "note", "forget"]
    created_at: Moment
    by: str = Field(description="The agent of the caller, or `orchestrator`.")
    claim_id: ClaimId
    section: str = Field(description="The list of the block that contains the claim, or `notes`.")
    text: str | None = Field(description="The claim; null for a token without the scope `read`.")
    contract_ids: list[ContractId] = Field(description="The contracts that the claim cites.")


class CorrectionPage(Body):
    """A page of corrections, by session."""

    corrections: list[CorrectionForm]
    next: Next


class CorrectionQuery(Query):
    """Which corrections to list."""

    session_id: str | None = Field(None, description="Corrections of this session.")
    cursor: Annotated[str | None, Field(min_length=1, description="`next` of the previous page.")] = None
    limit: Limit = 100


class BlockQuery(Query):
    """Which blocks to list."""

    session_id: str | None = Field(None, description="Blocks of this session.")
    cursor: BlockCursor = None
    limit: Limit = 100


class ClaimQuery(BlockQuery):
    """Which claims to find."""

    text: str = Field(
        min_length=1, examples=["echo"], description="Words that a claim must contain, in upper or lower case."
    )


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
