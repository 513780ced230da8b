"""Answers that take long to compute: equal questions share one computation, and its answer for a short time afterwards."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

REPEAT_FACTOR, REPEAT_S = 10.0, 30.0
"""An answer is repeated for this many times as long as it took to compute, and at most for that many seconds.

So one question takes at most an eleventh of the time of a thread, however often it is asked.
"""
QUICK_S = 0.05
"""Answers that take no longer are computed again each time (seconds)."""


class _Computed(NamedTuple):
    """`until`: for how long the answer is repeated (`time.monotonic`)."""

    answer: bytes
    until: float


class RepeatedAnswers:
    """The answers that are computed now, and those that are repeated; for one event loop."""

    def __init__(self) -> None:
        self._answers: dict[str, asyncio.Task[_Computed]] = {}

    async def answer(self, question: str, compute: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer to `question`, by `compute` if no recent one is known. Raises what `compute` raises.

        The computation continues if the caller is cancelled, because others may wait for it.
        """
        self._forget_old()
        task = self._answers.get(question)
        if task is None:
            task = self._answers[question] = asyncio.ensure_future(_timed(compute))
            task.add_done_callback(lambda done: self._forget_failed(question, done))
        return (await asyncio.shield(task)).answer

    def _forget_old(self) -> None:
        now = time.monotonic()
        for question, task in list(self._answers.items()):
            if task.done() and task.result().until <= now:
                del self._answers[question]

    def _forget_failed(self, question: str, done: "asyncio.Task[_Computed]") -> None:
        if done.cancelled() or done.exception() is not None:
            self._answers.pop(question, None)


async def _timed(compute: Callable[[], Awaitable[bytes]]) -> _Computed:
    started = time.monotonic()
    answer = await compute()
    ended = time.monotonic()
    took = ended - started
    return _Computed(answer, ended + (min(REPEAT_S, REPEAT_FACTOR * took) if took > QUICK_S else 0.0))
