"""Watches the running tasks of an event loop for timeouts, and for cancellations that any process commits."""

import asyncio
import contextlib
import math
from collections.abc import Iterable

from aorch.agents.registered import Registered
from aorch.errors import AgentBusy, LedgerError
from aorch.ledger.ledger import Ledger
from aorch.ledger.own_claims import LOST_BY

LOOK_S = 0.05
"""How soon this process notices a cancellation."""


class CancellationWatcher:
    """Resolves the `done` future of each REQUEST that runs in one event loop when it times out or is cancelled.

    While tasks run, the ledger is checked for cancellations every LOOK_S, if any process has committed since. The
    first check is LOOK_S after a start: by then most tasks have ended. One timer, set to the earliest timeout, serves all
    REQUESTs (a timer for each takes 1.4 µs). Once `closed_by` is set, everything that runs or starts here counts as
    cancelled by that name.
    """

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop, closed_by: list[str]) -> None:
        self._ledger = ledger
        self._loop = loop
        self._closed_by = closed_by
        self.watched: dict[str, tuple[asyncio.Future[None], float]] = {}
        """The `done` future of each REQUEST that runs, and when it times out (on the loop's clock)."""
        self._timer: asyncio.TimerHandle | None = None
        self._cancelled: dict[str, str] = {}
        self._dropped: set[str] = set()
        self._looking = False

    def watch(self, request_id: str, done: "asyncio.Future[None]", ends_at: float) -> None:
        """Resolve `done` when that REQUEST is cancelled, and at `ends_at` (on the loop's clock); until `unwatch`."""
        self.watched[request_id] = done, ends_at
        if self._timer is None or ends_at < self._timer.when():
            self._set_timer(ends_at)
        if (
            request_id in self._cancelled or self._closed_by
        ) and not done.done():  # cancelled while it waited for its agent
            done.set_result(None)
        if not self._looking:
            self._looking = True
            self._loop.call_later(LOOK_S, self._start_looking)

    def move(self, request_id: str, done: "asyncio.Future[None]", ends_at: float) -> None:
        """Let that REQUEST end at `ends_at` instead, if it is still watched with this `done`."""
        if request_id in self.watched and self.watched[request_id][0] is done:
            self.watch(request_id, done, ends_at)

    def unwatch(self, request_id: str) -> str | None:
        """Stop watching that REQUEST. Returns who cancelled it, or None."""
        self.watched.pop(request_id, None)
        if self._closed_by:
            return self._closed_by[0]
        if request_id in self._dropped:
            self._dropped.remove(request_id)
            return LOST_BY
        return self._cancelled.get(request_id) if self._cancelled else None

    async def take_slot(self, request_id: str, registered: Registered, timeout_s: float, capability: str) -> str | None:
        """Take a slot of that agent for that REQUEST, and wait for a free one. Returns who cancelled the REQUEST before it
        had one, or None.

        Raises AgentBusy after `timeout_s` (seconds; math.inf: never), and LedgerError.
        """
        if registered.try_acquire(request_id):
            return None
        done: asyncio.Future[None] = self._loop.create_future()
        taking = self._loop.create_task(registered.acquire(request_id))
        taking.add_done_callback(lambda _: _resolve(done))
        self.watch(request_id, done, self._loop.time() + timeout_s)
        try:
            await done
        except asyncio.CancelledError:
            if not taking.cancel():
                registered.release(request_id)
            raise
        finally:
            cancelled_by = self.unwatch(request_id)
        if not taking.cancel():
            taking.result()
            return None
        if cancelled_by is None:
            raise AgentBusy(
                f"{registered.agent.agent_id} was not called within {timeout_s:g} s: {registered.limits()}",
                "Allow more time, or raise the agent's limits.",
                retry_after_s=registered.retry_after_s(capability),
                delivered=False,
            )
        return cancelled_by

    async def pause(self, request_id: str, seconds: float) -> str | None:
        """Wait `wait_s` seconds. If that REQUEST is cancelled meanwhile, return at once with who cancelled it."""
        done: asyncio.Future[None] = self._loop.create_future()
        self.watch(request_id, done, self._loop.time() + seconds)
        try:
            await done
        finally:
            cancelled_by = self.unwatch(request_id)
        return cancelled_by

    def drop(self, lost: Iterable[str]) -> None:
        """End the runs of these REQUESTs, which other processes have taken over."""
        for request_id in self.watched.keys() & lost:
            self._dropped.add(request_id)
            _resolve(self.watched[request_id][0])

    def cancel_all(self) -> None:
        """Resolve every `done` future: `closed_by` now names who cancelled the REQUESTs."""
        for done, _ in self.watched.values():
            _resolve(done)

    def _set_timer(self, ends_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if ends_at == math.inf else self._loop.call_at(ends_at, self._end_late)

    def _end_late(self) -> None:
        moment, self._timer = self._loop.time(), None
        for done, ends_at in self.watched.values():
            if ends_at <= moment:
                _resolve(done)
        self._set_timer(min((ends_at for _, ends_at in self.watched.values() if ends_at > moment), default=math.inf))

    def _start_looking(self) -> None:
        if self._is_needed():
            self._look()
            self._ledger.changes.watcher(self._look, LOOK_S, self._is_needed).start()

    def _is_needed(self) -> bool:
        self._looking = bool(self.watched)
        return self._looking

    def _look(self) -> None:
        with contextlib.suppress(LedgerError):  # the ledger cannot be read now: the next check tries again
            self._cancelled = self._ledger.cancelled()
            for request_id in self._cancelled.keys() & self.watched.keys():
                _resolve(self.watched[request_id][0])
            if self._ledger.losses:
                self.drop(self._ledger.unclaimed(self.watched))


def _resolve(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)
