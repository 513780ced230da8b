"""Schemas of exchanges."""

from typing import Any

from pydantic import Field

from aorch.server.schemas.contracts import AttemptForm, ContractForm
from aorch.server.schemas.fields import (
    Body,
    ContractId,
    ContractStatus,
    Cursor,
    Flag,
    Limit,
    Moment,
    Next,
    Query,
    QueryMoment,
)
from aorch.server.schemas.sessions import TreeForm


class ErasureMarkForm(Body):
    """Who erased the content of an exchange, when and why."""

    at: Moment
    by: str = Field(description="The user, or the name of the token.")
    reason: str
    erasure_id: str


class ExchangeForm(Body):
    """A REQUEST together with the RESPONSE that answers it, and without its payload."""

    request_id: ContractId
    response_id: ContractId | None = Field(description="null while the task is open.")
    session_id: str
    parent_id: ContractId | None = Field(description="The REQUEST whose agent made this call.")
    capability: str
    from_agent: str
    caller: str = Field(description="The name of the caller's token; without a token, `from_agent`.")
    agent_id: str | None = Field(description="The agent of the last attempt; null if no agent was chosen yet.")
    status: ContractStatus = Field(description="The status of the REQUEST; `interrupted` if its process died.")
    created_at: Moment
    completed_at: Moment | None
    duration_ms: float | None = Field(
        description="The time between `created_at` and `completed_at`, without the time in the queue."
    )
    attempts: int = Field(description="The number of calls of agents; 0 if none was called.")
    result: Any
    error: str | None
    code: str | None = Field(description="The code of the error.")
    erased: ErasureMarkForm | None = Field(description="Who erased its content, when and why; null if nobody did.")


class ExchangePage(Body):
    """A page of exchanges, of at most 8 MiB."""

    exchanges: list[ExchangeForm]
    last: str | None = Field(description="The cursor of the last exchange on this page; null if there is none.")
    next: Next


class ExchangeDetail(Body):
    """An exchange in full."""

    exchange: ExchangeForm
    request: ContractForm
    response: ContractForm | None = Field(description="null while the task is open.")
    attempts: list[AttemptForm] = Field(description="The calls of agents for the REQUEST; empty if one was enough.")
    children: list[TreeForm] = Field(description="The first REQUESTs that its agent delegated, oldest first.")
    omitted: dict[str, int] = Field(description="The number of the others, by status.")


class ExchangeQuery(Query):
    """Filters of exchanges. All of them must match."""

    session_id: str | None = Field(None, description="Exchanges of this session.")
    agent: str | None = Field(None, description="Exchanges for which this agent was chosen or called.")
    capability: str | None = Field(None, description="Exchanges of this capability.")
    status: ContractStatus | None = Field(None, description="Exchanges with this status.")
    failed: Flag = Field(False, description="Only exchanges with the status `failed` or `interrupted`.")
    since: QueryMoment | None = Field(None, description="Exchanges created at or after this time or day (UTC).")
    until: QueryMoment | None = Field(None, description="Exchanges created before this time or day (UTC).")
    text: str | None = Field(
        None,
        min_length=1,
        description="Exchanges whose REQUEST or RESPONSE has all these words in payload, result or error.",
    )
    error: str | None = Field(
        None, min_length=1, description="Exchanges whose error contains this text, in upper or lower case."
    )
    caller: str | None = Field(
        None, description="Exchanges of this caller: the name or ID of a token, or an agent in `from_agent`."
    )
    ids: str | None = Field(
        None,
        min_length=1,
        description="Only exchanges of these REQUESTs: their IDs, separated by commas, at most 1000.",
    )
    cursor: Cursor = None
    limit: Limit = 100
