"""Schemas of agents."""

from typing import Literal

from pydantic import ConfigDict, Field

from aorch.server.schemas.fields import HTTP_URL, Body, Json, Labels, Moment, Text


class CapabilityForm(Body):
    """A named skill of an agent."""

    name: str
    description: str
    parameters: Json = Field(description="A JSON Schema, or an object of names and types.")
    idempotent: bool = Field(description="Whether executing a task twice has the same effect as once.")


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
        description="What has changed on its MCP server since its tools were written to aorch.lock."
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
    labels: dict[str, str] = Field(description="Labels that callers can require (see docs/routing.md).")


class AgentList(Body):
    """All agents."""

    agents: list[AgentForm]
    total: int


class RegisterCapability(Body):
    """A named skill of an agent to register."""

    name: Text = Field(min_length=1, max_length=200)
    description: Text = Field("", max_length=4000)
    parameters: Json = Field(
        default_factory=dict, description="A JSON Schema, or an object of names and types. Default: any parameters."
    )
    idempotent: bool = Field(False, description="Whether executing a task twice has the same effect as once.")


_AGENT: Json = {
    "name": "Translator",
    "version": "1.0",
    "endpoint": "http://127.0.0.1:8900",
    "capabilities": [{"name": "translate", "description": "Translate text", "parameters": {"text": "string"}}],
    "ttl_s": 30,
}


class ReplaceBody(Body):
    """The description of an HTTP endpoint that executes tasks (see docs/agents.md for its protocol)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AGENT]})

    name: Text = Field("", max_length=200, description="Default: its ID.")
    description: Text = Field("", max_length=4000)
    version: Text = Field("", max_length=100)
    endpoint: Text = Field(
        max_length=2048, pattern=HTTP_URL, description="The URL that is followed by /execute and /health."
    )
    capabilities: list[RegisterCapability] = Field(min_length=1, max_length=100)
    labels: Labels = Field(
        default_factory=dict, max_length=32, description="Labels that callers can require (see docs/routing.md)."
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
        description="The name of a table [credentials.NAME] in aorch.toml: the token of the endpoint.",
    )


class RegisterBody(ReplaceBody):
    """An agent to register."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"agent_id": "translator", **_AGENT}]})

    agent_id: Text = Field(min_length=1, max_length=200)
