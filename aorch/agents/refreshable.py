"""Agents whose capabilities come from a server, and are kept until they are fetched again."""

from abc import abstractmethod

from aorch.agents.base import Agent


class RefreshableAgent(Agent):
    """An agent that can fetch its capabilities again (`aorch agents refresh`)."""

    @abstractmethod
    async def refresh(self) -> list[str]:
        """Fetch the capabilities, keep them, and return what has changed, one phrase for each. Raises AorchError."""
