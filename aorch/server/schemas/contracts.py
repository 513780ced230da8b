"""Schemas of contracts."""

from typing import Any, Literal

from pydantic import Field

from aorch.server.schemas.fields import (
    Body,
    ContractId,
    ContractStatus,
    ContractType,
    Cursor,
    Flag,
    Json,
    Limit,
    Moment,
    Next,
    Query,
    QueryMoment,
    Text,
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
    total: int | None = Field(
        description="The number of matching contracts on all pages; null if the query asked for `total=false`."
    )
    last: str | None = Field(description="The cursor of the last contract on this page; null if there is none.")
    newest: str = Field(description="The cursor of the newest contract in the ledger when this page was read.")
    next: Next


class FoundContract(Body):
    """The contract that a part of an ID names."""

    contract: ContractForm
    cursor: str = Field(description="Its cursor in GET /v1/contracts.")


class WholeExchangeForm(Body):
    """A REQUEST, its RESPONSE, its attempts, and the exchanges that its agent delegated."""

    request: ContractForm | None = Field(description="null for a RESPONSE whose REQUEST is not in the ledger.")
    response: ContractForm | None = Field(description="null while the task is open.")
    attempts: list[AttemptForm] = Field(description="The calls of agents for the REQUEST; empty if one was enough.")
    children: list["WholeExchangeForm"] = Field(description="Oldest first.")


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
    changed_since: QueryMoment | None = Field(
        None, description="Like `since`, and also older REQUESTs that are open or have ended since."
    )
    text: str | None = Field(
        None, min_length=1, description="Contracts with all these words in payload, result or error."
    )
    order: Literal["asc", "desc"] = Field("asc", description="Oldest first, or newest first.")
    total: Flag = Field(
        True, description="Whether to count all matching contracts, which takes time in a large ledger."
    )
    cursor: Cursor = None
    limit: Limit = 1000


class EraseQuery(Query):
    """Why the content is erased."""

    reason: Text = Field("", max_length=1000, description="Recorded with the erasure, and shown with the contracts.")


class CopiesForm(Body):
    """The copies outside the ledger that aorch knows of and cannot erase."""

    trace: list[ContractId] = Field(description="Contracts that Trace has received.")
    trace_maybe: list[ContractId] = Field(description="Contracts that Trace may have received.")
    memagent: list[str] = Field(description="Sessions of MemAgent with notes about these contracts.")
    webhooks: list[str] = Field(description="Hosts that receive webhooks with the result.")
    files: list[str] = Field(
        description="Older ledgers that `aorch ledger restore` has kept, and unfinished copies of interrupted backups and "
        "restores, which may contain them."
    )


class ErasureAnswer(Body):
    """An erasure."""

    erasure_id: str | None = Field(description="`era_` and a ULID; null if the content was erased before.")
    exchanges: int
    contracts: int = Field(description="The number of contracts whose content was erased.")
    memory_blocks: int = Field(description="The number of memory blocks that lost claims.")
    cleaned: bool = Field(
        description="Whether the old bytes are gone from the ledger's files. `false`: another process still reads them. "
        "Send the request again later."
    )
    elsewhere: CopiesForm
