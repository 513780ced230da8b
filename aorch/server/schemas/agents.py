"""Schemas of agents."""

from typing import Literal

from pydantic import Field

from aorch.server.schemas.fields import Body, Json, Moment


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


class AgentList(Body):
    """All agents."""

    agents: list[AgentForm]
    total: int
