"""Agents execute tasks: the base class `Agent`, and the built-in kinds."""

from typing import TYPE_CHECKING, Any

from aorch.agents.base import (
    Agent,
    AgentAnswer,
    AgentCapability,
    AgentMetadata,
    AgentState,
    AgentStatus,
    AgentTask,
    RetryPolicy,
)
from aorch.agents.example import ExampleAgent

if TYPE_CHECKING:
    from aorch.agents.agent_server import serve

__all__ = [
    "Agent",
    "AgentAnswer",
    "AgentCapability",
    "AgentMetadata",
    "AgentState",
    "AgentStatus",
    "AgentTask",
    "ExampleAgent",
    "RetryPolicy",
    "serve",
]


def __getattr__(name: str) -> Any:
    """Import `serve` when it is first used, because it needs aiohttp."""
    if name != "serve":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from aorch.agents.agent_server import serve  # noqa: PLC0415  see above

    return serve
