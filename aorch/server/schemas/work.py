"""Schemas of workers over HTTP: leases, claims and reports."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from aorch.server.schemas.contracts import ContractForm
from aorch.server.schemas.fields import ULID, Body, BodyMoment, ContractId, Json, Labels, Moment, Query, Text

Cancelled = Annotated[
    dict[str, str], Field(description="The running tasks of this lease that were cancelled, each with who did it.")
]
DeliveryId = Annotated[str | None, Field(max_length=26, description="`delivery_id` of the last response with tasks.")]


class OfferedCapability(Body):
    """A named skill of an agent that the worker offers."""

    name: Text = Field(min_length=1, max_length=200)
    description: Text = Field("", max_length=4000)
    parameters: Json = Field(default_factory=dict, description="A JSON Schema, or an object of names and types.")
    idempotent: bool = Field(False, description="Whether executing a task twice has the same effect as once.")


class OfferedAgent(Body):
    """An agent of the worker."""

    agent_id: Text = Field(min_length=1, max_length=200)
    version: Text = ""
    labels: Labels = Field(default_factory=dict)
    capabilities: list[OfferedCapability] = Field(max_length=1000)


class LeaseBody(Body):
    """A worker and its agents."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "worker": "gpu-1",
                    "lease_s": 30.0,
                    "agents": [
                        {
                            "agent_id": "renderer",
                            "labels": {"gpu": "yes"},
                            "capabilities": [{"name": "render", "parameters": {"scene": "string"}, "idempotent": True}],
                        }
                    ],
                }
            ]
        }
    )

    worker: Text = Field(min_length=1, max_length=200, description="The name of the worker, for people.")
    lease_s: float = Field(
        30.0, ge=1, le=3600, allow_inf_nan=False, description="The lease ends this many seconds after its last renewal."
    )
    agents: list[OfferedAgent] = Field(max_length=1000, description="The agents that execute tasks there.")


class LeaseForm(Body):
    """The lease of a worker."""

    lease_id: str
    worker: str
    owner: str = Field(description="The ID of the token that opened it, or empty.")
    lease_s: float
    created_at: Moment
    ends_at: Moment = Field(description="When the lease ends unless it is renewed before.")
    max_body_bytes: int = Field(description="Maximum size of a report (serve.max_body_bytes).")


class LeaseList(Body):
    """The leases of all workers over HTTP."""

    leases: list[LeaseForm]
    total: int


class AgentCapacity(Body):
    """How many tasks an agent of the worker can start and runs now."""

    free: int = Field(ge=1, le=10_000)
    running: int = Field(0, ge=0)
    labels: Labels = Field(default_factory=dict, description="`version` is one of them.")


class CapabilityCapacity(Body):
    """How many tasks of a capability the worker can start now."""

    capability: Text = Field(min_length=1, max_length=200)
    free: int = Field(ge=1, le=10_000)
    agents: dict[Text, AgentCapacity] = Field(min_length=1, max_length=1000, description="By the ID of the agent.")


class ClaimBody(Body):
    """What the worker can start."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "capacities": [
                        {
                            "capability": "render",
                            "free": 2,
                            "agents": {"renderer": {"free": 2, "running": 0, "labels": {"gpu": "yes"}}},
                        }
                    ],
                    "limit": 2,
                    "wait_s": 20.0,
                }
            ]
        }
    )

    capacities: list[CapabilityCapacity] = Field(
        default_factory=list, max_length=1000, description="None: only wait for cancellations."
    )
    limit: int = Field(32, ge=0, le=1000, description="Maximum number of tasks.")
    wait_s: float = Field(
        20.0, ge=0, le=25, allow_inf_nan=False, description="Wait up to this many seconds for a task or a cancellation."
    )
    cancelled: list[str] = Field(
        default_factory=list, max_length=10_000, description="The cancelled tasks that the worker knows already."
    )


class ClaimedTask(Body):
    """A task to execute."""

    request: ContractForm
    attempts: int = Field(description="The number of calls of agents before the task was queued again.")


class DeliveryForm(Body):
    """Claimed tasks. The worker confirms the delivery with a renewal before it starts any of them."""

    delivery_id: str | None = Field(description="null without tasks.")
    tasks: list[ClaimedTask]
    cancelled: Cancelled


class RenewBody(Body):
    """What the worker has."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"delivery_id": "01KFV70HW83SYH1HAX57ZG0001", "running": ["01KFV70HW83SYH1HAX57ZG0002"]}]
        }
    )

    delivery_id: DeliveryId = None
    running: list[str] = Field(default_factory=list, max_length=10_000, description="The tasks that it runs.")


class RenewForm(Body):
    """The renewed lease."""

    ends_at: Moment
    confirmed: bool = Field(
        description="Whether the delivery is confirmed. If not, its tasks were delivered again: do not start them."
    )
    cancelled: Cancelled
    lost: list[ContractId] = Field(description="The running tasks that the lease does not have any more: stop them.")


class ResultBody(Body):
    """The outcome of a task. A repetition with the same `response_id` changes nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "response_id": "01KFV70HW83SYH1HAX57ZG0003",
                    "agent_id": "renderer",
                    "status": "completed",
                    "result": {"file": "harbour.png"},
                    "metadata": {"duration_ms": 812.5},
                }
            ]
        }
    )

    response_id: str = Field(pattern=ULID, description="A new ULID: the ID of the RESPONSE.")
    agent_id: Text | None = Field(None, description="The agent that answered; null if none was called.")
    status: Literal["completed", "failed", "cancelled"]
    result: Any = None
    error: Text | None = None
    metadata: Json = Field(default_factory=dict, description="`duration_ms`; after a failure `code`, `delivered`, …")


class ResultForm(Body):
    """The stored outcome."""

    contract_id: ContractId
    status: str = Field(description="The status of the REQUEST.")


class StepRefusal(Body):
    """Why no agent is called for a step."""

    response_id: str = Field(pattern=ULID, description="A new ULID: the ID of the RESPONSE.")
    error: Text
    metadata: Json = Field(default_factory=dict, description="`code`, `delivered`, …")


class StepBody(Body):
    """A task that a claimed task delegates to an agent of the same worker. A repetition changes nothing but `waits`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "contract_id": "01KFV70HW83SYH1HAX57ZG0004",
                    "from_agent": "poster",
                    "agent_id": "renderer",
                    "capability": "render",
                    "parameters": {"scene": "harbour"},
                    "metadata": {"step": "draw"},
                }
            ]
        }
    )

    contract_id: str = Field(pattern=ULID, description="A new ULID: the ID of the REQUEST.")
    from_agent: Text = Field(min_length=1, description="The agent that executes the claimed task.")
    agent_id: Text | None = Field(None, description="The agent that executes this one; null if none is called.")
    capability: Text = Field(min_length=1, max_length=200)
    parameters: Json = Field(default_factory=dict)
    metadata: Json = Field(
        default_factory=dict,
        description="`step`, `index` (of an item), `resumes` (the step of an earlier try), `context` and `routing`.",
    )
    waits: bool = Field(
        False, description="It waits for a slot of its agent. Send the same body without this when the agent is called."
    )
    refusal: StepRefusal | None = Field(None, description="The task failed without a call of an agent.")


class StepQuery(Query):
    """Whose steps."""

    from_agent: Text = Field(
        min_length=1, examples=["renderer"], description="The agent that executes the claimed task."
    )


class Step(Body):
    """A step of an earlier try."""

    contract_id: ContractId
    to_agent: str | None
    capability: str
    status: str
    running: bool = Field(description="It is queued or running.")
    erased: bool = Field(description="Its content was erased.")
    key: str = Field(
        description="Equal for equal tasks: the SHA-256 (hex) of the JSON of [step, index, capability], then of its parameters."
    )


class StepList(Body):
    """The steps of earlier tries of a task, the oldest first."""

    steps: list[Step]


class StepResult(Body):
    """The result of a step."""

    contract_id: ContractId
    result: Any


class ReleaseBody(Body):
    """Why the worker does not execute a task to its end."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"called": False}]})

    called: bool = Field(
        description="Whether an agent may have received it. If so, it is queued again only if its capability is idempotent; "
        "otherwise it ends as `interrupted`."
    )
    due_at: BodyMoment | None = Field(None, description="Queue it again for this time.")


class ReportedProgress(Body):
    """What an agent reported last."""

    contract_id: str
    progress: Any


class ReportedAttempt(Body):
    """A call of an agent for a task that needed several."""

    contract_id: str
    number: int = Field(ge=1)
    agent_id: Text
    started_at: BodyMoment
    ended_at: BodyMoment | None = None
    code: Text | None = None
    error: Text | None = None


class ProgressBody(Body):
    """Progress and attempts of running tasks."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"progress": [{"contract_id": "01KFV70HW83SYH1HAX57ZG0002", "progress": {"percent": 50}}]}]
        }
    )

    progress: list[ReportedProgress] = Field(default_factory=list, max_length=1000)
    attempts: list[ReportedAttempt] = Field(default_factory=list, max_length=1000)


class Noted(Body):
    """The report was stored for the tasks that the lease has."""

    stored: bool
