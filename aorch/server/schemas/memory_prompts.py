"""Schemas of prompts about several sessions, and of the changes of a memory block."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from aorch.memory.compressor import DEFAULT_TOKENS, FEWEST_TOKENS, MOST_TOKENS
from aorch.server.schemas.fields import Body, ContractId, Text, whole_number
from aorch.server.schemas.memory import BlockId, ClaimId, PromptQuery


class SharedPromptBody(Body):
    """What a prompt is about."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sessions": ["session_001"], "max_tokens": 256}]})

    sessions: list[Text] | None = Field(
        None, max_length=1000, description="Sessions. Default: all with `about`, otherwise none."
    )
    about: Text | None = Field(None, min_length=1, description="The text to which claims must be relevant.")
    max_tokens: Annotated[int, BeforeValidator(whole_number)] = Field(
        DEFAULT_TOKENS, ge=FEWEST_TOKENS, le=MOST_TOKENS, description="Maximum size of the text in tokens."
    )


class SharedPrompt(Body):
    """A text for a model's prompt."""

    session_ids: list[str] = Field(description="The sessions in the text.")
    left_out: list[str] = Field(description="The sessions for which there was no room.")
    text: str = Field(description="Empty if no claim was found.")
    cites: list[ContractId] = Field(description="The contracts that the text cites.")


class ChangesQuery(PromptQuery):
    """The block to compare with those before it."""

    reference: str = Field(
        min_length=1, examples=["session_001"], description="A session, or the ID of a memory block."
    )


class ChangeForm(Body):
    """A claim that a block adds to a prompt, drops from it or rewords."""

    change: Literal["added", "dropped", "reworded"]
    section: str
    claim_id: ClaimId
    before: str | None
    after: str | None
    reason: str | None = Field(description="Why the claim is dropped.")
    contract_ids: list[ContractId]


class BlockChanges(Body):
    """What a memory block changes in a prompt of at most `max_tokens`."""

    session_id: str
    block_id: BlockId | None
    max_tokens: int
    changes: list[ChangeForm]
