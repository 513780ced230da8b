"""Submitting tasks to the queue, for a worker to execute later."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aorch.engine.delegation import calling_agent
from aorch.engine.exchange import refused_exchange, request_of
from aorch.engine.executor import TaskExecutor
from aorch.engine.invocation import current_invocation
from aorch.engine.offered import is_idempotent, redact_for
from aorch.engine.routing import agent_for, discover
from aorch.engine.task import Answer, QueueOptions, Task
from aorch.errors import AorchError, NoAgent, QueueFull
from aorch.ledger.queue_entry import Entry
from aorch.ledger.record import Record
from aorch.ledger.required_labels import required_text

COUNT_INTERVAL_S = 1.0
"""Maximum age of the cached length of the queue."""


class TaskRejected(Exception):
    """No agent can execute a submitted task. Both contracts are in the ledger, and `answer` is their answer to the caller."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.error)
        self.answer = answer


class TaskSubmitter:
    """Puts tasks into the queue of the ledger, as long as fewer than `max_queued` wait (0: any number)."""

    def __init__(self, executor: TaskExecutor, max_queued: int) -> None:
        self._executor = executor
        self._max_queued = max_queued
        self._length = 0
        self._counted_at = float("-inf")

    async def submit(self, task: Task, options: QueueOptions) -> Record:
        """Commit the REQUEST of `task` to the queue, and return it.

        Raises TaskRejected, QueueFull, Conflict for a used idempotency key, and LedgerError. Tasks of other processes are
        counted once a second, so several processes together can exceed the limit by the tasks that they accept in a second.
        """
        executor = self._executor
        executor.enter_loop()
        await discover(executor.registry, task)
        request, refusal = self._request(task, options)
        if refusal is not None:
            raise TaskRejected(await executor.refuse(request, refusal))
        with self._places(1):
            await executor.ledger.enqueue(_entry(request, task, options), task.idempotency)
        return request

    async def submit_all(self, tasks: Sequence[tuple[Task, QueueOptions]]) -> list[Record]:
        """Commit the REQUESTs of all these tasks, in order and in one transaction, which takes half the time.

        A task that no agent can execute is answered in the same transaction. Idempotency keys are ignored. If this raises
        QueueFull or LedgerError, no task was accepted.
        """
        self._executor.enter_loop()
        requests, entries, refused = [], [], []
        for task, options in tasks:
            await discover(self._executor.registry, task)
            request, refusal = self._request(task, options)
            if refusal is None:
                entries.append(_entry(request, task, options))
            else:
                refused.append(refused_exchange(request, refusal)[:2])
            requests.append(request)
        with self._places(len(entries)):
            await self._executor.ledger.enqueue_all(entries, refused)
        return requests

    def _request(self, task: Task, options: QueueOptions) -> tuple[Record, AorchError | None]:
        """The REQUEST of `task`, and the reason if it cannot be queued."""
        executor, outer, from_agent = self._executor, current_invocation.get(), None
        parent_id = task.parent_id or (executor.parent_id if outer is None else outer.request_id)
        try:
            if parent_id is not None:
                from_agent = calling_agent(executor.ledger, task, parent_id, executor.max_depth, outer)
            redact_for(executor, task, executor.ledger.work.offers.of(task.capability), outer)
            executor.redact(task, outer)
            idempotent = self._is_idempotent(task)
            if task.redaction is not None:
                task.redaction.reject_in_queue(task)
        except AorchError as refusal:
            executor.redact(task, outer, refusal)
            owner_id = executor.ledger.owner_id
            return request_of(task, task.agent_id, from_agent, parent_id, None, owner_id), refusal
        queue = options.as_dict(idempotent=idempotent, timeout_s=task.timeout_s, require=task.require or None)
        task.queue = {**queue, "agent_id": task.agent_id}  # `to_agent` is set when an agent claims it
        return request_of(task, task.agent_id, from_agent, parent_id, None, None), None

    def _is_idempotent(self, task: Task) -> bool:
        """Whether the capability is idempotent, of an agent here or of one that a worker over HTTP offers.

        Raises NoAgent if there is none, and ParametersInvalid.
        """
        try:
            registered = agent_for(self._executor.registry, task)
        except NoAgent:
            found = is_idempotent(self._executor.ledger.work.offers.of(task.capability, max_age_s=0), task)
            if found is None:
                raise
            return found
        return registered.capabilities[task.capability].idempotent

    @contextmanager
    def _places(self, count: int) -> Iterator[None]:
        """Take that many places in the queue for the tasks that the block commits, and free them if the ledger rejects these.

        Raises QueueFull. (The writes of a cancelled caller are still committed.)
        """
        if not self._max_queued:
            yield
            return
        moment = time.monotonic()
        if moment - self._counted_at > COUNT_INTERVAL_S:
            self._length = self._executor.ledger.queue_length()
            self._counted_at = time.monotonic()
        if count and self._length + count > self._max_queued:
            raise QueueFull(
                f"the queue is full: {self._max_queued} tasks are queued, the limit (queue.max_waiting)",
                "Try again later, or start another worker.",
            )
        self._length += count
        counted_at = self._counted_at
        try:
            yield
        except Exception:
            if counted_at == self._counted_at:
                self._length -= count
            raise


def _entry(request: Record, task: Task, options: QueueOptions) -> Entry:
    return Entry(
        request, options.priority, options.not_before, options.expires_at, options.webhook, required_text(task.require)
    )
