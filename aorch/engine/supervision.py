"""Supervision of background loops: a loop that fails is logged, and started again after a pause that grows.

`/v1/health` names the loops that are down. No background loop of a process runs without it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from aorch.agents.failure import described
from aorch.clock import now
from aorch.errors import AorchError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
"""Between a failure and the next start: twice as long each time."""

Turned = Callable[[], None]
"""What a loop calls after each turn that went well: until then it counts as down once it has failed."""
Loop = Callable[[Turned], Coroutine[Any, Any, None]]
"""A background loop. It runs until it is cancelled or has nothing more to do, and may be started again after it raised."""


@dataclass(frozen=True, slots=True)
class Down:
    """A loop that failed and has not done a turn since, with the moment (RFC 3339) of the first failure."""

    loop: str
    since: str


class Supervisor:
    """Keeps background loops running in one event loop. `tell` gets a sentence when one fails and when it runs again."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._down: dict[str, Down] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, loop: Loop) -> asyncio.Task[None]:
        """Run `loop`, which the log and `/v1/health` call `name`; the task that does so ends when it returns."""
        task = asyncio.create_task(self._keep_running(name, loop), name=f"aorch-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def down(self) -> list[Down]:
        """The loops that are down now, the one that failed first before the others."""
        return list(self._down.values())

    async def stop(self) -> None:
        """Cancel all loops and wait until they have ended."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _keep_running(self, name: str, loop: Loop) -> None:
        failures, told = 0, ""

        def turned() -> None:
            nonlocal failures, told
            if failures:
                failures, told = 0, ""
                self._down.pop(name, None)
                self._tell(f"{name}: runs again")

        try:
            while True:
                try:
                    await _unless_cancelled(loop(turned))
                    return
                except Exception as error:  # noqa: BLE001  the one place where whatever ends a background loop arrives
                    reason = _reason(error)
                if reason != told:
                    self._tell(f"{name}: {reason}; it is started again")
                told = reason
                self._down.setdefault(name, Down(name, now()))
                await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 10)))
                failures += 1
        finally:
            self._down.pop(name, None)


async def _unless_cancelled(running: Coroutine[Any, Any, None]) -> None:
    """Await it. A CancelledError of something that it waited for, while nobody cancels this task, is a failure like any other."""
    try:
        await running
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise AorchError("something that it waited for was cancelled") from error


def _reason(error: Exception) -> str:
    if isinstance(error, AorchError):
        return ". ".join(filter(None, (f"{error}".rstrip("."), error.hint.rstrip("."))))
    return described(error)


def unheard() -> None:
    """The `turned` of a loop that runs without a supervisor, for as long as its caller does."""


async def ended(task: "asyncio.Task[None]") -> None:
    """Cancel `task` and wait until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
