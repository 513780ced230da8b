"""Agents execute tasks: the base class `Agent`, and the built-in kinds."""

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
]
