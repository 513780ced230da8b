"""Agents whose capabilities come from a server, and are kept until they are fetched again."""

from abc import abstractmethod
from collections.abc import Callable

from aorch.agents.base import Agent


class RefreshableAgent(Agent):
    """An agent that can fetch its capabilities again (`aorch agents refresh`).

    They can change while a process runs: after each probe they are read again, and when the agent calls `on_capabilities` in the
    event loop.
    """

    on_capabilities: Callable[[], None] | None = None

    @abstractmethod
    async def refresh(self) -> list[str]:
        """Fetch the capabilities, keep them, and return what has changed, one phrase for each. Raises AorchError."""
