"""Supervision of background loops: a loop that fails is logged, and restarted with backoff.

`/v1/health` lists the loops that are down. Every background loop of a process is supervised.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from aorch.agents.failure import described
from aorch.backoff import Backoff
from aorch.clock import now
from aorch.errors import AorchError

BACKOFF = Backoff(0.25, 5.0)
CANCEL_AGAIN_S = 5.0
"""How long a loop may take to end after its cancellation."""

Turned = Callable[[], None]
"""A loop calls this after each successful iteration. After a failure, the loop counts as down until then."""
Loop = Callable[[Turned], Coroutine[Any, Any, None]]
"""A background loop. It runs until it is cancelled or has nothing more to do, and can be restarted after it raised."""


@dataclass(frozen=True, slots=True)
class Down:
    """A loop that failed and has had no successful iteration since. `since` is the time (RFC 3339) of the first failure."""

    loop: str
    since: str


class Supervisor:
    """Keeps background loops running in one event loop. `report` gets a message when one fails and when it runs again."""

    def __init__(self, report: Callable[[str], None], cancel_again_s: float = CANCEL_AGAIN_S) -> None:
        self._report, self._cancel_again_s = report, cancel_again_s
        self._down: dict[str, Down] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, loop: Loop) -> asyncio.Task[None]:
        """Run `loop`, under that name in the log and in `/v1/health`. The returned task ends when the loop returns."""
        task = asyncio.create_task(self._keep_running(name, loop), name=f"aorch-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def down(self) -> list[Down]:
        """The loops that are down now, in the order in which they failed."""
        return list(self._down.values())

    async def stop(self) -> None:
        """Cancel all loops and wait until they have ended. A loop that ignores its cancellation is cancelled again."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=self._cancel_again_s)

    async def _keep_running(self, name: str, loop: Loop) -> None:
        failures, reported = 0, ""

        def turned() -> None:
            nonlocal failures, reported
            if failures:
                failures, reported = 0, ""
                self._down.pop(name, None)
                self._report(f"{name}: runs again")

        try:
            while True:
                try:
                    await _unless_cancelled(loop(turned))
                    return
                except Exception as error:  # noqa: BLE001  the one place that catches the end of a background loop
                    reason = _reason(error)
                if reason != reported:
                    self._report(f"{name}: {reason}; it is restarted")
                reported = reason
                self._down.setdefault(name, Down(name, now()))
                failures += 1
                await asyncio.sleep(BACKOFF.pause_s(failures))
        finally:
            self._down.pop(name, None)


async def _unless_cancelled(running: Coroutine[Any, Any, None]) -> None:
    """Await the loop. A CancelledError from something that it awaits, when this task is not cancelled, is a failure."""
    try:
        await running
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise AorchError("something that it awaited was cancelled") from error


def _reason(error: Exception) -> str:
    if isinstance(error, AorchError):
        return ". ".join(filter(None, (f"{error}".rstrip("."), error.hint.rstrip("."))))
    return described(error)


def ignore_turns() -> None:
    """The `turned` callback of a loop without a supervisor: does nothing."""


async def cancel_and_wait(task: "asyncio.Task[None]") -> None:
    """Cancel `task` and wait until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
