"""The Orchestrator: the public class, in front of registry, exchanges and ledger."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aorch import config as configuration
from aorch.agents import Agent
from aorch.core import bootstrap
from aorch.core.exchange import Exchanges
from aorch.core.task import Answer, Task
from aorch.errors import UsageError
from aorch.ledger.row import new_id

_FIELDS = {"capability", "parameters", "context", "agent_id", "timeout_s", "from_agent", "parent_id", "metadata"}


class Orchestrator:
    """Calls agents by what they can do and keeps every exchange in the ledger.

    With the agents of `aorch.toml`, of installed packages, and those that `register_agent` adds. The ledger is `ledger`,
    else the configured one; it is opened by the first exchange and closed by `aclose` (or the end of an `async with`).
    """

    def __init__(self, ledger: str | Path | None = None, *, config: configuration.Config | None = None) -> None:
        self.config = config or configuration.load(ledger)
        self.registry = bootstrap.registry(self.config)
        self._exchanges: Exchanges | None = None

    def register_agent(self, agent: Agent) -> None:
        """Take `agent` in. Raises Conflict where its id is taken."""
        self.registry.add(agent)

    def list_agents(self) -> list[dict[str, Any]]:
        """Each agent's JSON form, in the order in which they came."""
        return [registered.as_dict() for registered in self.registry]

    async def orchestrate(self, session_id: str, task: dict[str, Any]) -> dict[str, Any]:
        """Do `task` (`capability`, `parameters`, optional `context`, `agent_id`, `timeout_s`, …) in that session.

        The answer has `success`, `data`, `error`, `contract_id` (the REQUEST's), `agent_id`, `session_id`, `timestamp`;
        a failure of any kind is an answer with `success` False. Raises UsageError where `task` is none, and LedgerError.
        """
        unknown = set(task) - _FIELDS
        if unknown or "capability" not in task:
            wrong = f"does not know {', '.join(sorted(unknown))}" if unknown else "needs a capability"
            raise UsageError(f"a task {wrong}", f"Known: {', '.join(sorted(_FIELDS))}.")
        return (await self.perform(Task(session_id=session_id, **task))).as_dict()

    async def perform(self, task: Task) -> Answer:
        """Do `task`, as `orchestrate` does, in types."""
        return await self.exchanges.perform(task)

    async def get_contracts(self, session_id: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """The contracts of a session (or all), oldest first, in their JSON form."""
        from aorch.ledger.reading import Filter, Reader  # noqa: PLC0415  SQLAlchemy is for reading only

        def read() -> list[dict[str, Any]]:
            with Reader(self.config.ledger) as reader:
                page = reader.page(Filter(session_id=session_id), limit=limit, newest_first=False)
                return [contract.as_dict() for contract in page]

        return await asyncio.to_thread(read)

    @property
    def exchanges(self) -> Exchanges:
        """What performs tasks; the ledger is open from the first look at it."""
        if self._exchanges is None:
            self._exchanges = bootstrap.exchanges(self.config, self.registry)
        return self._exchanges

    def open(self) -> None:
        """Open the ledger now rather than with the first exchange. Raises LedgerError."""
        _ = self.exchanges

    async def aclose(self) -> None:
        """Commit what is queued and let go of the ledger."""
        if self._exchanges is not None:
            self._exchanges.ledger.close()
            self._exchanges = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def new_session_id() -> str:
    """A name for a line of work that the caller did not name."""
    return f"session_{new_id()}"
