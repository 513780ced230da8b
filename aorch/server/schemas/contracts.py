"""Schemas of contracts."""

from typing import Any, Literal

from pydantic import Field

from aorch.server.schemas.fields import (
    Body,
    ContractId,
    ContractStatus,
    ContractType,
    Cursor,
    Json,
    Limit,
    Moment,
    Next,
    Query,
    QueryMoment,
)


class ContractForm(Body):
    """One record of the ledger."""

    contract_id: ContractId
    session_id: str
    contract_type: ContractType
    from_agent: str
    to_agent: str | None
    capability: str
    payload: Any
    status: ContractStatus
    created_at: Moment
    completed_at: Moment | None
    result: Any = Field(description="The agent's result. A completed REQUEST shows the result of its RESPONSE.")
    error: str | None
    metadata: Json
    request_id: ContractId | None
    parent_id: ContractId | None


class AttemptForm(Body):
    """A call of an agent for a REQUEST that needed several."""

    number: int = Field(description="From 1.")
    agent_id: str
    started_at: str
    ended_at: str | None = Field(description="null while the agent works, and if its process died.")
    code: str | None = Field(description="The code of the error; null after success.")
    error: str | None


class ContractDetail(ContractForm):
    """A contract with the other contract of its exchange."""

    counterpart: ContractForm | None
    attempts: list[AttemptForm] = Field(description="The calls of agents for the REQUEST; empty if one was enough.")


class ContractPage(Body):
    """A page of contracts, of at most 8 MiB."""

    session_id: str | None = Field(description="The session in the query; null if there was none.")
    contracts: list[ContractForm]
    total: int = Field(description="The number of matching contracts on all pages.")
    next: Next


class ContractQuery(Query):
    """Filters of contracts. All of them must match."""

    session_id: str | None = Field(None, description="Contracts of this session.")
    agent: str | None = Field(None, description="Contracts from or to this agent.")
    from_agent: str | None = Field(None, description="Contracts from this agent.")
    to_agent: str | None = Field(None, description="Contracts to this agent.")
    type: ContractType | None = Field(None, description="Only REQUESTs, or only RESPONSEs.")
    capability: str | None = Field(None, description="Contracts of this capability.")
    status: ContractStatus | None = Field(None, description="Contracts with this status.")
    since: QueryMoment | None = Field(None, description="Contracts created at or after this time or day (UTC).")
    until: QueryMoment | None = Field(None, description="Contracts created before this time or day (UTC).")
    text: str | None = Field(
        None, min_length=1, description="Contracts with all these words in payload, result or error."
    )
    order: Literal["asc", "desc"] = Field("asc", description="Oldest first, or newest first.")
    cursor: Cursor = None
    limit: Limit = 1000
