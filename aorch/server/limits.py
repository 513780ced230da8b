"""How many requests are answered at a time, and how that ends."""

import asyncio
from typing import Any

from aorch.server.problems import Refusal


class Gate:
    """What runs now, and whether more may come."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.closing = False
        self._inside: set[asyncio.Task[Any] | None] = set()

    def enter(self, *, counted: bool = True) -> asyncio.Task[Any] | None:
        """Let the current task in; it, for `leave`. Raises Refusal (503) where the server is full or about to stop.

        One that is not `counted` is let in when the server is full, and the server does not wait for it when it stops.
        """
        if self.closing:
            raise Refusal(503, "stopping", "the server is about to stop", "Try again, here or elsewhere.")
        if not counted:
            return None
        if len(self._inside) >= self.most:
            raise Refusal(
                503, "overloaded", f"{self.most} requests are running, which is the limit", "Try again later."
            )
        task = asyncio.current_task()
        self._inside.add(task)
        return task

    def leave(self, task: asyncio.Task[Any] | None) -> None:
        """That one is about to be answered."""
        self._inside.discard(task)

    async def close(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Let nobody in any more. Wait up to `grace_s` seconds for those inside, cancel the others, and wait for these.

        Once `hurry` is set the grace is over.
        """
        self.closing = True
        if inside := self._tasks():
            ended, hurried = asyncio.ensure_future(asyncio.wait(inside)), asyncio.ensure_future(hurry.wait())
            await asyncio.wait((ended, hurried), timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            hurried.cancel()
        if inside := self._tasks():
            for task in inside:
                task.cancel()
            await asyncio.wait(inside, timeout=cancel_s)

    def inside(self) -> int:
        """How many requests are being answered."""
        return len(self._tasks())

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._inside if task is not None]
