"""Executes the tasks of a batch on a server, which executes each line once in a run, and retries failed tasks once."""

import asyncio
from collections.abc import Callable
from typing import Any

from aorch.client.problem_errors import RequestTooLarge, UnreadableAnswer
from aorch.client.remote_tasks import RemoteTasks, new_key
from aorch.clock import now
from aorch.engine.task import Answer, Outcome, Task, outcome_of
from aorch.errors import AgentCancelled, AorchError, LedgerError
from aorch.ledger.task_keys import BatchLineKey, RetryKey


class RemoteExecutor:
    """Executes the tasks of a batch on a server, in the run `generation`. A task that is cancelled here is cancelled there."""

    def __init__(self, tasks: RemoteTasks, generation: str, *, resume: bool) -> None:
        self.saver = SavedThere()
        self._tasks, self._generation, self._resume = tasks, generation, resume

    async def perform(
        self, task: Task, on_cut_off: Callable[[Outcome], None] | None = None, *, in_line: bool = False
    ) -> Answer:
        """Execute `task`. Raises the errors of RemoteTasks.perform."""
        key = new_key()
        try:
            answer, replayed = await self._perform(task, key)
        except asyncio.CancelledError:
            if await self._was_cancelled(key) and on_cut_off is not None:
                on_cut_off(outcome_of(AgentCancelled("cancelled by the caller")))
            raise
        except (UnreadableAnswer, RequestTooLarge) as error:  # of this line only: the others go on
            unknown: Any = None
            return Answer(False, None, str(error), unknown, None, unknown, now(), 0.0, type(error), error.hint)
        answer.replayed = replayed
        return answer

    async def _perform(self, task: Task, key: str) -> tuple[Answer, bool]:
        own = task.idempotency
        if isinstance(own, RetryKey):
            return await self._tasks.retry(task.annotations["retry_of"], own.contract_id, task, key)
        line_key = own.line_key if isinstance(own, BatchLineKey) else None
        return await self._tasks.perform_line(self._generation, line_key, task, key, resume=self._resume)

    async def _was_cancelled(self, key: str) -> bool:
        """Cancel the task that was sent with that key. Returns whether it was recorded."""
        try:
            return await self._tasks.cancel_sent(key) is not None
        except AorchError:  # the end of the batch is reported, and the task stays open on the server
            return False


class SavedThere:
    """The server saves RESPONSEs before it answers."""

    unsaved: tuple[()] = ()

    def __init__(self) -> None:
        self.on_refusal: Callable[[LedgerError], None] = lambda _: None

    async def saved(self) -> None:
        """Everything is saved already."""
