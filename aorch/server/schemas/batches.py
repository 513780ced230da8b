"""Schemas of batches, and of the unfinished tasks of a session."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from aorch.engine.task import LONGEST_SESSION_ID
from aorch.ledger import priorities
from aorch.server.schemas.fields import ULID, Body, ContractId, Cursor, Json, Limit, Next, Query, Text, whole_number
from aorch.server.schemas.tasks import TaskFields

LONGEST_NAME = 4096
LineId = Annotated[int | Text, Field(description="The `id` of the line, or its number.")]
Priority = Annotated[int, BeforeValidator(whole_number)]


class BatchBody(Body):
    """A batch to start, or to continue."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nightly-import"}]})

    name: Text = Field(min_length=1, max_length=LONGEST_NAME, description="The name of the batch.")
    resume: bool = Field(False, description="Continue the latest run of that batch instead of starting a new one.")


class BatchForm(Body):
    """A run of a batch."""

    name: str
    generation: str = Field(description="The ID of the run (a ULID), which each of its lines names.")


class LineBody(TaskFields):
    """A line of a batch, to execute now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": "session_001",
                    "capability": "echo",
                    "parameters": {"text": "Hello!"},
                    "key": "1",
                    "line": 1,
                }
            ]
        }
    )

    session_id: Text = Field(
        min_length=1, max_length=LONGEST_SESSION_ID, description="The session that the task belongs to."
    )
    key: Text | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="By this key the line is found again in its batch. Null: the line cannot be resumed.",
    )
    line: LineId | None = None
    priority: Priority | None = Field(
        None, ge=priorities.HIGHEST, le=priorities.LOWEST, description="From 1 to 5; it is only recorded."
    )
    resume: bool = Field(
        False,
        description="Run the line again if no agent received it, or if it was cut off and its agents are idempotent.",
    )


class RetryBody(Body):
    """How to run a failed task again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"timeout_s": 60}]})

    last_try: Text | None = Field(
        None,
        pattern=ULID,
        description="The REQUEST that the caller knows as the last try. If another one has retried it, the status is 409.",
    )
    timeout_s: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Fail the task after this many seconds. Default: the agent's timeout.",
    )


class UnfinishedQuery(Query):
    """The position and size of a page of unfinished tasks."""

    cursor: Cursor = None
    limit: Limit = 100


class UnfinishedForm(Body):
    """A task of a caller that failed, was cancelled or was interrupted, and has not succeeded since."""

    contract_id: ContractId
    last_try: ContractId
    capability: str
    parameters: Json
    line: LineId
    priority: int
    size: int = Field(description="The number of characters of its parameters.")
    problem: dict[str, Any] | None = Field(description="Why the task cannot run again; otherwise null.")


class UnfinishedPage(Body):
    """A page of unfinished tasks."""

    session_id: str
    tasks: list[UnfinishedForm]
    next: Next
