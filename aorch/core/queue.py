"""The queue: tasks that are accepted now and done later, by whoever works on the ledger."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from aorch import json
from aorch.agents.registry import Registered
from aorch.core.exchange import Exchanges
from aorch.core.task import Answer, Task, Wish
from aorch.errors import AorchError, LedgerError, QueueFull
from aorch.ledger.row import Row
from aorch.moments import now

COUNT_AFTER_S = 1.0
"""How old the known length of the queue may be."""
POLL_S = 0.02
"""How soon a worker hears of what another process commits. A look takes 5 µs of reading."""
LOOK_AFTER_S = 0.5
"""How soon what a dead worker left is taken care of."""
REST_S = 1.0
"""How long a worker rests where the ledger fails."""


class Queue:
    """Takes tasks in for `exchanges`, as long as fewer than `max_waiting` wait (0: any number)."""

    def __init__(self, exchanges: Exchanges, max_waiting: int) -> None:
        self._exchanges = exchanges
        self._max_waiting = max_waiting
        self._length = 0
        self._counted_at = float("-inf")

    async def submit(self, task: Task, wish: Wish) -> Row | Answer:
        """The REQUEST of `task`, which is durable when this returns; an Answer is a refusal.

        Raises QueueFull, and what `Exchanges.enqueue` raises. What other processes take in is counted once a second: with
        several of them the limit may be passed by what they accept in that time.
        """
        if self._max_waiting:
            self._check_length()
        return await self._exchanges.enqueue(task, wish)

    def _check_length(self) -> None:
        moment = time.monotonic()
        if moment - self._counted_at > COUNT_AFTER_S:
            self._length = self._exchanges.ledger.queue_length()
            self._counted_at = time.monotonic()
        if self._length >= self._max_waiting:
            raise QueueFull(
                f"{self._max_waiting} tasks wait in the queue, which is the limit (queue.max_waiting)",
                "Try again later, or start another `aorch worker`.",
            )
        self._length += 1


def task_of(request: Row) -> Task:
    """The task that `request` asks for, as it was when it was enqueued."""
    about = json.decode(request.metadata)
    said = about.pop("queue", {})
    return Task(
        capability=request.capability,
        parameters=json.decode(request.payload),
        session_id=request.session_id,
        context=about.pop("context", {}),
        agent_id=request.to_agent,
        timeout_s=said.get("timeout_s"),
        from_agent=request.from_agent,
        parent_id=request.parent_id,
        metadata=about,
        queue=said,
    )


class Worker:
    """Does what waits in the queue of `exchanges`, up to `parallel` tasks at a time. `trouble` hears of a failing ledger.

    Where nothing waits it looks every POLL_S whether anybody committed anything, which writes nothing.
    """

    def __init__(self, exchanges: Exchanges, parallel: int, trouble: Callable[[AorchError], None]) -> None:
        self._exchanges = exchanges
        self._ledger = exchanges.ledger
        self._parallel = parallel
        self._trouble = trouble
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._woken = asyncio.Event()
        self._looked_after_at = float("-inf")
        self._able: dict[str, list[Registered]] = {}
        self.done = 0

    async def run(self, *, drain: bool = False) -> None:
        """Work until `stop`; with `drain` until nothing runs and nothing waits that could be begun now."""
        while not self._stopping:
            try:
                await self._look_after()
                version = self._ledger.version()
                if await self._begin():
                    continue
            except LedgerError as error:
                self._trouble(error)
                await self._rest(REST_S)
                continue
            if drain and not self._running:
                return
            await self._change(version)

    async def stop(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Begin nothing more; wait up to `grace_s` for what runs, or until `hurry` is set, and give the rest back to the
        queue within `cancel_s`.
        """
        self._stopping = True
        self._woken.set()
        if self._running:
            hurried, ended = asyncio.create_task(hurry.wait()), asyncio.create_task(asyncio.wait(self._running))
            await asyncio.wait((ended, hurried), timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            hurried.cancel()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=cancel_s)

    def running(self) -> int:
        """How many tasks it does now."""
        return len(self._running)

    async def _look_after(self) -> None:
        """Now and then: take care of what a dead worker left, and see which agents can work."""
        if time.monotonic() - self._looked_after_at < LOOK_AFTER_S:
            return
        await self._ledger.recover_lost()
        registry = self._exchanges.registry
        self._able = {
            name: able
            for name in registry.capabilities()
            if (able := [each for each in registry.having(name) if each.agent.problem() is None])
        }
        self._looked_after_at = time.monotonic()

    async def _begin(self) -> int:
        """Claim and begin as much as there are places for; how much that was."""
        free = self._parallel - len(self._running)
        places = {name: min(free, sum(each.free(free) for each in able)) for name, able in self._able.items()}
        places = {name: count for name, count in places.items() if count > 0}
        if not places:
            return 0
        agents = {each.agent.agent_id for able in self._able.values() for each in able}
        claimed = await self._ledger.claim(places, agents, free)
        for request in claimed:
            task = asyncio.create_task(self._do(request))
            self._running.add(task)
            task.add_done_callback(self._ended)
        return len(claimed)

    async def _do(self, request: Row) -> None:
        await self._exchanges.take_up(task_of(request), request)
        self.done += 1

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble(error if isinstance(error, AorchError) else AorchError(f"a fault of aorch: {error!r}"))

    async def _change(self, version: int) -> None:
        """Wait until a place is free, or there may be something new to begin since `version`."""
        moment = self._ledger.next_moment()
        look_after_at = self._looked_after_at + LOOK_AFTER_S
        while not self._stopping:
            await self._rest(POLL_S)
            if self._woken.is_set():
                self._woken.clear()
                return
            if len(self._running) < self._parallel and self._ledger.version() != version:
                return
            if time.monotonic() > look_after_at or (moment is not None and moment <= now()):
                return

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
