"""What a BatchRunner needs of an executor: that of this process, or the tasks of a server."""

from collections.abc import Callable, Sized
from typing import Protocol

from aorch.engine.task import Answer, Outcome, Task
from aorch.errors import LedgerError


class BatchSaver(Protocol):
    """Saves RESPONSEs. `on_refusal` is called with the reason when the ledger does not accept one now."""

    on_refusal: Callable[[LedgerError], None]

    @property
    def unsaved(self) -> Sized:
        """The RESPONSEs that the ledger has not accepted yet."""
        ...

    async def saved(self) -> None:
        """Wait until the ledger has accepted every RESPONSE."""
        ...


class BatchExecutor(Protocol):
    """Executes tasks."""

    @property
    def saver(self) -> BatchSaver:
        """Saves the RESPONSEs of these tasks."""
        ...

    async def perform(
        self, task: Task, on_cut_off: Callable[[Outcome], None] | None = None, *, in_line: bool = False
    ) -> Answer:
        """Execute `task`, as TaskExecutor does. `on_cut_off` gets the outcome if it is cancelled."""
        ...
