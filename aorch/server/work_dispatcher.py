"""Gives queued tasks to the workers over HTTP whose claims wait in this process: one transaction serves all of them.

Nothing but the waiting requests is in memory. If this process dies, the workers claim again at another server of the ledger.
"""

import asyncio
from collections.abc import Callable, Sequence

from aorch.clock import seconds_until
from aorch.engine.executor import TaskExecutor
from aorch.errors import LedgerError
from aorch.ledger.task_queue import Capacity
from aorch.ledger.work_leases import Delivery, WaitingClaim, lease_lost, shape_of

POLL_S = 0.03
"""How soon commits of other processes are noticed, as by a local worker."""


class Waiting:
    """A claim that waits. `done` is resolved when there are tasks, new cancellations, or nothing to wait for any more.

    `known` are the cancelled tasks that the worker knows already, and `has_left` returns whether its connection is closed: a
    worker that was killed must get no tasks.
    """

    def __init__(
        self,
        lease_id: str,
        capacities: Sequence[Capacity],
        limit: int,
        known: frozenset[str],
        has_left: Callable[[], bool],
    ) -> None:
        shape = shape_of(capacities) if limit else ""
        self.claim = WaitingClaim(lease_id, capacities, limit, shape, has_left=has_left)
        self.known = known
        self.delivery: Delivery | None = None
        self.cancelled: dict[str, str] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """Wait no longer."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Let the request raise `error`."""
        if not self.done.done():
            self.done.set_exception(error)


class WorkDispatcher:
    """The waiting claims of one server process, in the order in which they came."""

    def __init__(self, executor: TaskExecutor) -> None:
        ledger = self._ledger = executor.ledger
        self._waiting: dict[str, Waiting] = {}
        self._watcher = ledger.changes.watcher(self._wake, POLL_S, lambda: bool(self._waiting))
        self._dispatching: asyncio.Task[None] | None = None
        self._again = self._ended = False
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, waiting: Waiting) -> None:
        """Let a claim wait. It replaces an earlier one of the same lease, whose connection the worker has given up."""
        if (earlier := self._waiting.pop(waiting.claim.lease_id, None)) is not None:
            earlier.end()
        self._waiting[waiting.claim.lease_id] = waiting
        self._watcher.start()
        self._wake()

    async def wait(self, waiting: Waiting, wait_s: float) -> None:
        """Return once `waiting` is done, or after `wait_s` seconds; with 0, after one look at the queue."""
        if wait_s or self._dispatching is None:
            await asyncio.wait((waiting.done,), timeout=wait_s)
        else:
            await asyncio.wait((self._dispatching,))

    def leave(self, waiting: Waiting) -> None:
        """The request has ended. Tasks that are claimed for it right now are delivered again with the worker's next claim."""
        if self._waiting.get(waiting.claim.lease_id) is waiting:
            del self._waiting[waiting.claim.lease_id]

    def end(self) -> None:
        """End all claims, and later ones at once: the server stops."""
        self._ended = True
        for waiting in self._waiting.values():
            waiting.end()
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._again = True
        if self._dispatching is None or self._dispatching.done():
            self._dispatching = asyncio.create_task(self._dispatch())

    async def _dispatch(self) -> None:
        while self._again and self._waiting:
            self._again = False
            try:
                await self._deliver(list(self._waiting.values()))
                self._tell_cancelled()
                self._wait_for_due()
            except LedgerError as error:
                for waiting in self._waiting.values():
                    waiting.fail(error)
        if self._ended:
            self.end()

    async def _deliver(self, several: list[Waiting]) -> None:
        if not (any(each.claim.is_new for each in several) or self._ledger.has_queued()):
            return
        found = await self._ledger.work.deliver([each.claim for each in several], lambda: not self._ended)
        for each in several:
            each.claim = each.claim._replace(is_new=False)
            if each.claim.lease_id not in found:
                continue
            self.leave(each)  # at once: until its request continues, it must not get a second delivery
            each.delivery = found[each.claim.lease_id]
            if each.delivery is None:
                each.fail(lease_lost(each.claim.lease_id))
            else:
                each.end()

    def _tell_cancelled(self) -> None:
        cancelled = self._ledger.work.cancelled()
        for lease_id, tasks in cancelled.items():
            waiting = self._waiting.get(lease_id)
            if waiting is not None:
                waiting.cancelled = tasks
                if tasks.keys() - waiting.known:
                    self.leave(waiting)
                    waiting.end()

    def _wait_for_due(self) -> None:
        """Dispatch again when the next task is due or expires, for which there is no commit."""
        if self._timer is not None:
            self._timer.cancel()
        moment = self._ledger.next_moment() if self._waiting else None
        if moment is not None:
            wait_s = max(seconds_until(moment), 0.001)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)
