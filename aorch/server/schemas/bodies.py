"""The shapes of bodies and queries (JSON in and out). They check what comes in, and the OpenAPI document is made of them."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from aorch.engine.task import LONGEST_SESSION_ID
from aorch.ledger import priorities

Json = dict[str, Any]
Moment = Annotated[datetime, Field(examples=["2026-01-25T18:18:50.850Z"])]
ContractId = Annotated[str, Field(description="A ULID.", examples=["01K8VF9XK83SYH1HAX57ZGJDYS"])]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Without U+0000, which PostgreSQL has no room for."""
ContractType = Literal["REQUEST", "RESPONSE"]
ContractStatus = Literal["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"]


def _like(pattern: str, form: str) -> BeforeValidator:
    """Refuse a text of another form before pydantic is generous with it (1_000 as a number, 0.5 as a time)."""

    def check(value: object) -> object:
        if isinstance(value, str) and not re.match(pattern, value):
            raise PydanticCustomError("form", "Input should be {form}", {"form": form})
        return value

    return BeforeValidator(check)


def _whole(value: object) -> object:
    """3.0 is a whole number to JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_utc(moment: datetime) -> datetime:
    """`moment` in UTC. RFC 3339 allows hours before the year 1 and after 9999 there: these become the first or last moment."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return (datetime.min if moment.year == 1 else datetime.max).replace(tzinfo=UTC)


QueryMoment = Annotated[
    datetime,
    _like(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a time, such as 2026-01-31T09:00:00Z, or a day"),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}),
]
"""A time, or a day; without a zone UTC."""
LaterMoment = Annotated[
    datetime,
    _like(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", "a moment, such as 2026-01-31T09:00:00Z"),
    AfterValidator(_in_utc),
    Field(strict=False, examples=["2026-01-31T09:00:00.000Z"]),
]
"""A moment in a body; without a zone UTC."""
Limit = Annotated[int, Field(ge=1, le=1000, description="How many a page."), _like(r"[0-9]+\Z", "a whole number")]


class Body(BaseModel):
    """What all bodies have in common: texts are texts (3 is not "3"), and a field that is not known is passed over."""

    model_config = ConfigDict(strict=True, ser_json_inf_nan="null")


class Query(BaseModel):
    """What all queries have in common: a name that is not known is refused, since without its filter the answer is another."""

    model_config = ConfigDict(extra="forbid")


class AnyTask(Body):
    """A task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"session_id": "session_001", "capability": "echo", "parameters": {"text": "Hello, world!"}}]
        }
    )

    capability: Text = Field(min_length=1, description="What is to be done.")
    session_id: Text | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_SESSION_ID,
        description="The line of work; a new one when it is not given.",
    )
    parameters: Json = Field(default_factory=dict, description="The capability's parameters.")
    context: Json = Field(default_factory=dict, description="What the agent should know besides.")
    agent_id: Text | None = Field(None, description="Insist on this agent.")
    from_agent: Text | None = Field(None, description="Who asks; `orchestrator` when it is not given.")
    parent_id: Text | None = Field(None, description="The REQUEST on whose behalf this is asked.")
    timeout_s: float | None = Field(None, gt=0, description="Give up after so many seconds.", allow_inf_nan=False)


class OrchestrateBody(AnyTask):
    """A task that is done now."""

    session_id: Text = Field(min_length=1, max_length=LONGEST_SESSION_ID, description="The line of work.")


class TaskBody(AnyTask):
    """A task for the queue."""

    priority: Annotated[int, BeforeValidator(_whole)] = Field(
        priorities.DEFAULT, ge=priorities.HIGHEST, le=priorities.LOWEST, description="From 1, which goes first, to 5."
    )
    not_before: LaterMoment | None = Field(None, description="Not to be begun before this moment.")
    expires_at: LaterMoment | None = Field(
        None, description="Not to be begun from this moment on; then it fails as `expired`."
    )
    webhook: Text | None = Field(
        None,
        max_length=2048,
        pattern=r"^https?://[^\x00-\x20]+$",
        description="Where to POST the answer to, signed (see docs/queue.md).",
    )


class TaskQuery(Query):
    """How long to wait for a task."""

    wait_s: float | None = Field(None, ge=0, le=60, description="Answer once it is done, or after so many seconds.")


class OrchestrateAnswer(Body):
    """What came of a task that reached an agent, its own failure among that."""

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
    data: Any = Field(None, description="The agent's data. After a failure: what a program printed, else null.")
    error: str | None = Field(description="Why it failed; null after success.")
    contract_id: ContractId
    agent_id: str | None
    session_id: str
    timestamp: Moment
    exit_code: int | None = Field(None, description="The program's exit code; 128 + N if signal N ended it.")
    stderr: str | None = Field(None, description="The end of what the program wrote on standard error.")


class TaskForm(Body):
    """How a task stands; `answer` once it is answered."""

    contract_id: ContractId
    session_id: str
    capability: str
    status: ContractStatus
    created_at: Moment
    completed_at: Moment | None
    answer: OrchestrateAnswer | None


class Problem(Body):
    """A refusal (RFC 9457), which says `success` and `error` as well."""

    type: str = Field(examples=["urn:aorch:error:no_agent"])
    title: str = Field(description="What kind of refusal this is.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was refused, and why.")
    code: str = Field(description="The kind, stable.", examples=["no_agent"])
    hint: str | None = Field(None, description="The next step.")
    success: Literal[False] = False
    error: str = Field(description="The same as `detail`.")
    contract_id: ContractId | None = Field(None, description="The REQUEST, where one was written.")
    agent_id: str | None = None
    session_id: str | None = None


class CapabilityForm(Body):
    """A named skill."""

    name: str
    description: str
    parameters: Json = Field(description="JSON Schema, or the loose form: name to type.")
    idempotent: bool = Field(description="Whether doing it twice comes to the same as once.")


class AgentForm(Body):
    """An agent, with what it did in this process."""

    agent_id: str
    name: str
    description: str
    kind: str
    version: str
    endpoint: str | None = Field(description="What is called; null for code in this process.")
    env: list[str] = Field(
        description="Names of the environment variables that its program is given; never their values."
    )
    status: Literal["available", "busy", "offline", "error"]
    problem: str | None = Field(description="Why it cannot take a task now.")
    capabilities: list[CapabilityForm]
    tasks_completed: int
    tasks_failed: int
    registered_at: Moment
    last_heartbeat: Moment = Field(description="When it last answered; else when it was registered.")


class AgentList(Body):
    """All agents."""

    agents: list[AgentForm]
    total: int


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
    result: Any = Field(description="What the agent answered; a completed REQUEST shows the result of its RESPONSE.")
    error: str | None
    metadata: Json
    request_id: ContractId | None
    parent_id: ContractId | None


class ContractDetail(ContractForm):
    """A contract, with the other half of its exchange."""

    counterpart: ContractForm | None


class ContractPage(Body):
    """Contracts, with the way to the next page (in the header `Link` as well). A page ends at 8 MiB."""

    session_id: str | None = Field(description="The session that was asked for; null if all were.")
    contracts: list[ContractForm]
    total: int = Field(description="How many there are in all, on whatever page.")
    next: str | None = Field(description="The `cursor` of the next page; null on the last.")


class ContractQuery(Query):
    """Which contracts."""

    session_id: str | None = Field(None, description="Of this session.")
    agent: str | None = Field(None, description="From or to this agent.")
    from_agent: str | None = Field(None, description="From this agent.")
    to_agent: str | None = Field(None, description="To this agent.")
    type: ContractType | None = Field(None, description="Only what was asked, or only the answers.")
    capability: str | None = Field(None, description="For this capability.")
    status: ContractStatus | None = Field(None, description="In this status.")
    since: QueryMoment | None = Field(None, description="Not older than this moment, or day; without a zone UTC.")
    until: QueryMoment | None = Field(None, description="Older than this moment, or day; without a zone UTC.")
    text: str | None = Field(None, min_length=1, description="With all these words in payload, result or error.")
    order: Literal["asc", "desc"] = Field("asc", description="Oldest first, or newest first.")
    cursor: str | None = Field(None, pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")
    limit: Limit = 1000


class SessionForm(Body):
    """A session that has contracts."""

    session_id: str
    contracts: int
    first_at: Moment
    last_at: Moment


class SessionPage(Body):
    """Sessions, in the order of their ids."""

    sessions: list[SessionForm]
    next: str | None = Field(description="The `cursor` of the next page; null on the last.")


class SessionQuery(Query):
    """Which sessions."""

    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: Limit = 100


class LoopDown(Body):
    """A background loop that failed and has not run since; it is started again until it does."""

    loop: Literal["queue", "recovery", "webhooks", "trace", "events", "tokens"]
    since: Moment


class Health(Body):
    """That the service answers, and its ledger too; `degraded` if one of its background loops is down."""

    status: Literal["healthy", "degraded"]
    down: list[LoopDown] = Field(description="The background loops that are down. The log has the reasons.")
    service: Literal["aorch"]
    version: str
    timestamp: Moment


class Index(Body):
    """What there is."""

    service: Literal["aorch"]
    version: str
    endpoints: list[str]


class AgentCounts(Body):
    """Agents, counted."""

    total: int
    by_status: dict[str, int]
    registered: list[AgentForm]


class ContractCounts(Body):
    """Contracts, counted."""

    total_sessions: int
    total_contracts: int
    by_status: dict[str, int]


class Integrations(Body):
    """Whether the services listen."""

    memagent: bool
    trace: bool
    all_healthy: bool = Field(description="Whether all that are configured listen.")
    details: Json = Field(description="Of each service, its address, and of Trace the deliveries.")


class Status(Body):
    """The status of everything."""

    orchestrator: Literal["healthy", "degraded"] = Field(description="`degraded` if a background loop is down.")
    ledger: str
    configuration: str | None
    agents: AgentCounts
    contracts: ContractCounts
    integrations: Integrations
