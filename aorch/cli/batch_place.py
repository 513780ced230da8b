"""Where the tasks of a batch run: in this process, or on a server (remote_batch.py)."""

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from aorch.batch.batch_executor import BatchExecutor
from aorch.batch.batch_history import BatchHistory
from aorch.batch.batch_line import Line
from aorch.batch.batch_source import LineSource
from aorch.cli.hints import Candidates
from aorch.orchestrator import Orchestrator
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.config.settings import Config


class OpenBatch(NamedTuple):
    """What runs the tasks, the agents that they can have, and the lines; the history if the ledger of this machine has it."""

    executor: BatchExecutor
    agents: Candidates
    lines: Iterator[list[Line]]
    history: BatchHistory | None = None


class BatchPlace(Protocol):
    """Runs tasks inside an `async with` block."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def start(self, source: LineSource) -> OpenBatch:
        """Open the batch. Raises the errors of `source`, and those of the ledger or the server."""
        ...


class ThisProcess:
    """A BatchPlace: the ledger of `config`, and the agents of this machine."""

    def __init__(self, config: "Config") -> None:
        self._orchestrator = Orchestrator(config=config)

    async def __aenter__(self) -> Self:
        await self._orchestrator.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._orchestrator.__aexit__(kind, error, trace)

    async def start(self, source: LineSource) -> OpenBatch:
        """Open the batch in the ledger."""
        await in_thread(self._orchestrator.open)  # it can wait for the lock, and a signal must be able to end that
        executor, registry = self._orchestrator.executor, self._orchestrator.registry
        lines, history = await source.start(executor.ledger, registry)
        return OpenBatch(executor, registry, lines, history)
