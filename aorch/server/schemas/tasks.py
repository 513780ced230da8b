"""Schemas of tasks: executed now, or queued."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from aorch.engine.task import LONGEST_SESSION_ID
from aorch.ledger import priorities
from aorch.server.schemas.fields import (
    HTTP_URL,
    Body,
    BodyMoment,
    ContractId,
    ContractStatus,
    Json,
    Labels,
    Moment,
    Query,
    Text,
    whole_number,
)


class TaskFields(Body):
    """The fields of every task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"session_id": "session_001", "capability": "echo", "parameters": {"text": "Hello, world!"}}]
        }
    )

    capability: Text = Field(min_length=1, description="The capability to call.")
    session_id: Text | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_SESSION_ID,
        description="The session that the task belongs to. Default: a new session.",
    )
    parameters: Json = Field(default_factory=dict, description="The capability's parameters.")
    context: Json = Field(default_factory=dict, description="Extra context for the agent.")
    agent_id: Text | None = Field(None, description="Call this agent only. Default: any agent with the capability.")
    require: Labels = Field(
        default_factory=dict,
        description='Labels that the agent must have, such as `{"gpu": "yes"}`; `version` is one of them.',
    )
    from_agent: Text | None = Field(None, description="The agent that sends the task (default: `orchestrator`).")
    parent_id: Text | None = Field(None, description="The REQUEST on whose behalf the task is sent.")
    timeout_s: float | None = Field(
        None,
        gt=0,
        description="Fail the task after this many seconds. Default: the agent's timeout.",
        allow_inf_nan=False,
    )


class OrchestrateBody(TaskFields):
    """A task to execute now."""

    session_id: Text = Field(
        min_length=1, max_length=LONGEST_SESSION_ID, description="The session that the task belongs to."
    )


class TaskBody(TaskFields):
    """A task for the queue."""

    priority: Annotated[int, BeforeValidator(whole_number)] = Field(
        priorities.DEFAULT, ge=priorities.HIGHEST, le=priorities.LOWEST, description="From 1 (first) to 5 (last)."
    )
    not_before: BodyMoment | None = Field(None, description="Do not start the task before this time.")
    expires_at: BodyMoment | None = Field(
        None, description="Fail the task as `expired` if it has not started by this time."
    )
    webhook: Text | None = Field(
        None,
        max_length=2048,
        pattern=HTTP_URL,
        description='The URL that receives the result as a signed POST. See "The queue" (aorch help --docs queue).',
    )


class TaskQuery(Query):
    """How long to wait for a task."""

    wait_s: float | None = Field(
        None, ge=0, le=60, description="Wait up to this many seconds for the task to finish. Default: do not wait."
    )


class OrchestrateAnswer(Body):
    """The result of a task that an agent executed, successfully or not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "data": {"message": "Echo: Hello, world!"},
                    "error": None,
                    "contract_id": "01K8VF9XK83SYH1HAX57ZGJDYS",
                    "agent_id": "agent_example_001",
                    "session_id": "session_001",
                    "timestamp": "2026-01-25T18:18:50.850Z",
                }
            ]
        }
    )

    success: bool
    data: Any = Field(None, description="The agent's result. After a failure: a program's output, or null.")
    error: str | None = Field(description="The reason of a failure; null after success.")
    contract_id: ContractId
    agent_id: str | None
    session_id: str
    timestamp: Moment
    exit_code: int | None = Field(None, description="The program's exit code; 128 + N if signal N ended it.")
    stderr: str | None = Field(None, description="The end of the program's standard error.")
    stdout: str | None = Field(None, description="After a failure: the program's output, if that is almost JSON.")
    code: str | None = Field(None, description="After a failure: the code of the error.")
    hint: str | None = Field(None, description="After a failure: what to do next.")
    reused: list[str] | None = Field(
        None, description="The contracts whose results a resumed pipeline used again; absent for every other task."
    )


class PlanForm(Body):
    """How a task would be executed."""

    agent_id: str
    kind: str
    routing: Json = Field(description="Why that agent would be chosen, as the metadata of the REQUEST would say.")
    why: str = Field(description="The same as a sentence.")
    preview: dict[str, str] = Field(description="What the agent would run or send, as labelled texts.")


class TaskForm(Body):
    """A queued task. `answer` is its result, once it is finished."""

    contract_id: ContractId
    session_id: str
    capability: str
    status: ContractStatus
    created_at: Moment
    completed_at: Moment | None
    progress: Any = Field(description="What the agent reported last while it works; otherwise null.")
    answer: OrchestrateAnswer | None
