"""Schemas of agents."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from aorch.server.schemas.fields import HTTP_URL, Body, Json, Labels, Moment, Text


class CapabilityForm(Body):
    """A named skill of an agent."""

    name: str
    description: str
    parameters: Json = Field(description="A JSON Schema, or an object of names and types.")
    idempotent: bool = Field(description="Whether executing a task twice has the same effect as once.")


class BreakerForm(Body):
    """The circuit breaker of an endpoint, as this process counts. See "Agents" (aorch help --docs agents)."""

    unanswered: int = Field(description="How many of its last tasks in a row were not answered.")
    open_until: Moment | None = Field(
        description="Until when it gets no task; after that, the next task decides. null while it gets tasks."
    )


class AgentForm(Body):
    """An agent, with the tasks that it has executed in this process."""

    agent_id: str
    name: str
    description: str
    kind: str
    version: str
    endpoint: str | None = Field(description="The program or URL that is called; null for code in this process.")
    env: list[str] = Field(
        description="The names of the environment variables that its program gets, not their values."
    )
    status: Literal["available", "busy", "offline", "error", "draining"]
    problem: str | None = Field(description="Why the agent cannot execute tasks now.")
    changes: list[str] = Field(
        description="What has changed on its MCP server since its tools were written to aorch.lock or to its registration."
    )
    since: Moment = Field(description="The time when this process first saw the status.")
    capabilities: list[CapabilityForm]
    tasks_completed: int
    tasks_failed: int
    registered_at: Moment
    last_heartbeat: Moment = Field(description="The time of its last answer, or of its registration.")
    owner: str | None = Field(
        description="The ID of the token that registered it, or empty; null for a configured agent."
    )
    lease_ends_at: Moment | None = Field(
        description="The time when its registration ends, unless it sends a heartbeat before; null if it does not end."
    )
    breaker: BreakerForm | None = Field(description="null for an agent without one, such as a program.")
    labels: dict[str, str] = Field(
        description='Labels that callers can require. See "Routing, attempts and time limits" (aorch help --docs routing).'
    )
    concurrency: int | None = Field(description="The number of tasks that it runs at once; null: any number.")
    rate_per_min: float | None = Field(description="How often it is called in a minute; null: any number of times.")


class AgentList(Body):
    """All agents."""

    agents: list[AgentForm]
    total: int


class RegisterRetry(Body):
    """How often a task is tried, if that is safe. See "Routing, attempts and time limits" (aorch help --docs routing)."""

    attempts: Annotated[int, Field(ge=1, le=10, description="Number of attempts in all.")] = 3
    backoff_s: Annotated[
        float,
        Field(
            ge=0, le=60, allow_inf_nan=False, description="First pause in seconds; each further one is twice as long."
        ),
    ] = 1.0
    never: list[Text] = Field(
        default_factory=list, max_length=20, description="Codes of errors after which there is no other attempt."
    )


class RegisterCapability(Body):
    """A named skill of an agent to register."""

    name: Text = Field(min_length=1, max_length=200, description="For an MCP server: the name of a tool.")
    description: Text = Field("", max_length=4000)
    parameters: Json = Field(
        default_factory=dict, description="A JSON Schema, or an object of names and types. Default: any parameters."
    )
    idempotent: bool = Field(False, description="Whether executing a task twice has the same effect as once.")
    retry: RegisterRetry = RegisterRetry()
    priority: int = Field(
        3, ge=1, le=5, description="1 is preferred; at least 3 if a configured agent has the capability too."
    )
    weight: float = Field(
        1.0,
        gt=0,
        le=100,
        allow_inf_nan=False,
        description="Share of the tasks; at most 1 if a configured agent has the capability too.",
    )


_AGENT: Json = {
    "name": "Translator",
    "version": "1.0",
    "endpoint": "http://127.0.0.1:8900",
    "capabilities": [{"name": "translate", "description": "Translate text", "parameters": {"text": "string"}}],
    "ttl_s": 30,
}


_ONE_URL: Json = {
    "oneOf": [
        {"required": ["endpoint", "capabilities"], "properties": {"capabilities": {"minItems": 1}}},
        {"required": ["mcp"]},
    ]
}


class ReplaceBody(Body):
    """The description of an HTTP endpoint or an MCP server that executes tasks. For the protocol of endpoints, see
    "Agents" (aorch help --docs agents).
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_AGENT], **_ONE_URL})

    name: Text = Field("", max_length=200, description="Default: its ID.")
    description: Text = Field("", max_length=4000)
    version: Text = Field("", max_length=100)
    endpoint: Text = Field(
        "", max_length=2048, pattern=HTTP_URL, description="The URL of an endpoint, followed by /execute and /health."
    )
    mcp: Text = Field(
        "",
        max_length=2048,
        pattern=HTTP_URL,
        description="Instead of `endpoint`: the URL of an MCP server (streamable HTTP). Each of its tools is a capability.",
    )
    capabilities: list[RegisterCapability] = Field(
        default_factory=list,
        max_length=100,
        description="At least one for an endpoint. For an MCP server: what differs from the default for some of its tools.",
    )
    expose: list[Text] = Field(
        default_factory=list,
        max_length=100,
        description="Tools of an MCP server that are also capabilities without `ID.`.",
    )
    trust_annotations: bool = Field(
        False, description="Whether tools that the MCP server marks as read-only or idempotent are idempotent."
    )
    refresh: Literal["manual", "auto"] = Field(
        "manual",
        description="Whether changed tools of the MCP server are used once the agent is registered again, or at once (auto).",
    )
    labels: Labels = Field(
        default_factory=dict,
        max_length=32,
        description='Labels that callers can require. See "Routing, attempts and time limits" (aorch help --docs routing).',
    )
    ttl_s: float | None = Field(
        None,
        ge=1,
        le=86_400,
        allow_inf_nan=False,
        description="End the registration this many seconds after the last heartbeat. Default: never.",
    )
    credential: Text = Field(
        "",
        max_length=200,
        description="The name of a table [credentials.NAME] in aorch.toml: the token of the endpoint or MCP server.",
    )
    sign: Text = Field(
        "",
        max_length=200,
        description="The name of a table [credentials.NAME] with `key_id` in aorch.toml: the key that signs tasks.",
    )
    concurrency: int | None = Field(
        None, ge=1, le=10_000, description="Number of tasks at once, of all processes of the ledger. Default: any."
    )
    rate_per_min: float | None = Field(
        None, gt=0, le=1_000_000, allow_inf_nan=False, description="Number of calls per minute. Default: any."
    )


class RegisterBody(ReplaceBody):
    """An agent to register."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"agent_id": "translator", **_AGENT}], **_ONE_URL})

    agent_id: Text = Field(min_length=1, max_length=200)
