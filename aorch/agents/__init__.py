"""Where work is done: `Agent` to extend, and the kinds that aorch brings along."""

from aorch.agents.base import Agent, AgentCapability

__all__ = ["Agent", "AgentCapability"]
