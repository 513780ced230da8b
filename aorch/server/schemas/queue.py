"""Schemas of the queue."""

from typing import Literal

from pydantic import Field

from aorch.server.schemas.fields import Body, ContractId, Limit, Moment, Query

State = Literal["queued", "scheduled", "running"]


class QueueGroup(Body):
    """The tasks with the same capability and priority."""

    capability: str
    priority: int = Field(description="1 is the most urgent, 5 the least.")
    queued: int = Field(description="Tasks that can start now.")
    scheduled: int = Field(description="Tasks that start later.")
    running: int
    oldest_at: Moment | None = Field(description="Since when the oldest queued task could have started.")


class QueueWorker(Body):
    """A process that runs queued tasks."""

    worker_id: str = Field(description="The ID of the process, as in `claimed_by` of the ledger.")
    running: int


class QueueTask(Body):
    """A task of the queue."""

    contract_id: ContractId
    state: State
    capability: str
    priority: int
    session_id: str
    agent_id: str | None = Field(description="The agent that runs the task, or that the caller requires.")
    waiting_since: Moment | None = Field(description="Since when a queued task could have started.")
    created_at: Moment
    not_before: Moment | None = Field(description="When a scheduled task starts at the earliest.")
    expires_at: Moment | None = Field(description="When the task fails if it has not started.")
    attempts: int = Field(description="How often the task was started.")
    worker_id: str | None = Field(description="The process that runs the task.")


class QueueForm(Body):
    """The queue."""

    queued: int
    scheduled: int
    running: int
    oldest_s: float | None = Field(description="For how many seconds the oldest queued task could have run already.")
    groups: list[QueueGroup]
    workers: list[QueueWorker]
    tasks: list[QueueTask]
    more: int = Field(description="The number of tasks that `tasks` does not contain.")


class QueueQuery(Query):
    """How much of the queue to show."""

    limit: Limit = 100
