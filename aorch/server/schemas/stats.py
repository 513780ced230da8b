"""Schemas of statistics."""

from typing import Annotated, Literal

from pydantic import Field

from aorch.govern.statistics import MOST_GROUPS
from aorch.server.schemas.fields import Body, ContractId, Moment, Query, QueryMoment, matching

By = Literal["capability", "agent", "session", "caller", "error", "minute", "hour", "day"]
Sort = Literal["count", "failed", "p50", "p95", "max", "wait", "cost"]
Milliseconds = Annotated[float | None, Field(description="In milliseconds; null if no exchange has this figure.")]
Tokens = Annotated[int | None, Field(description="null if no model reported it.")]


class StatsGroup(Body):
    """The figures of the exchanges that have the same key. `failed` includes `rejected` and `interrupted`."""

    key: str | None = Field(
        description="The capability, agent, session or caller; the beginning of the period; or the error, with `<n>` for"
        " numbers and `<id>` for IDs. null if no agent was chosen, and for the total."
    )
    count: int
    completed: int
    failed: int
    rejected: int = Field(description="Failed before an agent was called.")
    interrupted: int = Field(description="The process that ran the task died.")
    cancelled: int
    open: int = Field(description="Queued or running.")
    p50_ms: Milliseconds = Field(
        description="The median duration of tasks that an agent executed, without the time in the queue."
    )
    p95_ms: Milliseconds
    max_ms: Milliseconds
    wait_p50_ms: Milliseconds = Field(description="The median wait of queued tasks until an agent executed them.")
    wait_p95_ms: Milliseconds
    wait_max_ms: Milliseconds
    tokens_in: Tokens = Field(description="Tokens of prompts, including cached ones; null if no model reported them.")
    tokens_out: Tokens
    tokens_cached: Tokens
    cost: float | None = Field(
        description="The cost of the exchanges whose tokens and price are known, by the table `[prices]`; null if there is none."
    )
    unpriced: int = Field(description="The number of exchanges that used a model and are not part of `cost`.")
    last_error: str | None = Field(description="The error of the newest failed exchange.")
    last_error_at: Moment | None = Field(description="When that exchange was created.")
    last_error_id: ContractId | None = Field(description="The REQUEST of that exchange.")


class Stats(Body):
    """Statistics of the exchanges created from `since` until `until`."""

    by: By
    since: Moment
    until: Moment
    groups: list[StatsGroup] = Field(description="In the order of `sort`.")
    more: int = Field(description="The number of groups that were left out: the last ones, or the oldest periods.")
    total: StatsGroup = Field(description="All exchanges, also those of groups that were left out.")


class StatsQuery(Query):
    """How to group exchanges, and which ones count. All filters must match."""

    by: By = Field("capability", description="The property by which exchanges are grouped; `error`: only failed ones.")
    sort: Sort | None = Field(
        None,
        description="The figure by which groups are sorted, the largest first; `wait`: the 95th percentile of waits. Default:"
        " `count`, and periods in order.",
    )
    since: QueryMoment | None = Field(
        None, description="Exchanges created at or after this time or day (UTC). Default: 24 hours ago."
    )
    until: QueryMoment | None = Field(None, description="Exchanges created before this time or day (UTC).")
    session_id: str | None = Field(None, description="Exchanges of this session.")
    agent: str | None = Field(None, description="Exchanges for which this agent was chosen or called.")
    capability: str | None = Field(None, description="Exchanges of this capability.")
    limit: Annotated[
        int,
        Field(ge=1, le=MOST_GROUPS, description="Maximum number of groups."),
        matching(r"[0-9]+\Z", "a whole number"),
    ] = 100
