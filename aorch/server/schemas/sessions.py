"""Schemas of sessions."""

from typing import Annotated, Literal

from pydantic import Field

from aorch.ledger.tree import SHOWN
from aorch.server.schemas.fields import (
    Body,
    ContractId,
    ContractStatus,
    Cursor,
    Limit,
    Moment,
    Next,
    Query,
    matching,
)

MOST_CHILDREN = 100_000
"""Maximum number of children of each REQUEST in a tree."""


class SessionForm(Body):
    """A session with the number of its exchanges and contracts, and the times of the first and last contract."""

    session_id: str
    contracts: int
    exchanges: int
    failed: int = Field(description="The number of exchanges that failed or were interrupted.")
    open: int = Field(description="The number of exchanges that have not ended.")
    first_at: Moment
    last_at: Moment


class SessionDetail(SessionForm):
    """One session."""

    cursor: str = Field(description="Its cursor in GET /v1/sessions with `order=last_at`.")


class SessionPage(Body):
    """A page of sessions."""

    sessions: list[SessionForm]
    next: Next


class SessionQuery(Query):
    """The order, position and size of a page of sessions."""

    order: Literal["id", "last_at"] = Field("id", description="Sort by ID, or by last activity, the newest first.")
    cursor: str | None = Field(None, description="`next` of the previous page.")
    limit: Limit = 100


class TreeForm(Body):
    """A REQUEST with the REQUESTs that its agent delegated."""

    contract_id: ContractId
    parent_id: ContractId | None
    capability: str
    from_agent: str
    agent_id: str | None = Field(description="null if no agent was chosen yet.")
    status: ContractStatus
    created_at: Moment
    completed_at: Moment | None
    duration_ms: float | None = Field(description="How long the task ran, without its time in the queue.")
    error: str | None
    step: str | None = Field(description="The step of a pipeline.")
    index: int | None = Field(description="The item of that step.")
    resumes: ContractId | None = Field(description="The REQUEST that this one continues.")
    asked_for: bool = Field(False, description="Whether the tree was built for this REQUEST.")
    reused: int = Field(description="The number of contracts that a resumed pipeline reused.")
    omitted: dict[str, int] = Field(description="Further children, which are not listed here: their number by status.")
    children: list["TreeForm"] = Field(description="Oldest first.")


class ContractTree(Body):
    """The delegation tree around a REQUEST."""

    root: TreeForm = Field(
        description="The REQUEST at the top. Between it and the one that was asked for, the tree is a chain."
    )


class SessionTree(Body):
    """A page of the delegation trees of a session."""

    session_id: str
    roots: list[TreeForm] = Field(description="The REQUESTs that no REQUEST of this session delegated.")
    next: Next


class ChildrenQuery(Query):
    """The size of a tree."""

    children: Annotated[int, matching(r"[0-9]+\Z", "a whole number")] = Field(
        SHOWN, ge=1, le=MOST_CHILDREN, description="Maximum number of children of each REQUEST."
    )


class TreeQuery(ChildrenQuery):
    """The order, position and size of a page of trees."""

    order: Literal["asc", "desc"] = Field("asc", description="Oldest first, or newest first.")
    cursor: Cursor = None
    limit: Limit = 100
