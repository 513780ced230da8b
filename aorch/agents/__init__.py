"""Where work is done: `Agent` to extend, and the kinds that aorch brings along."""

from aorch.agents.base import Agent, AgentAnswer, AgentCapability, AgentMetadata, AgentState, AgentStatus, AgentTask
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
]
