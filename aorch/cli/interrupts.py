"""How a command that runs agents is ended: by signals, and at once."""

import asyncio
import os
import sys
import threading
import time
from typing import Any

from aorch.process.signals import SIGNALS, heed

LEAVE_S = 0.2
HELD_UP_S = 0.1
"""A loop that has not turned for so long after a signal is held up; two signals at once tell nothing of it."""


def cancel_on_signals(performing: "asyncio.Future[Any]") -> list[int]:
    """Cancel on INT, TERM or HUP; where an agent holds up the loop, a later one of them raises KeyboardInterrupt in it.

    Plain handlers, since the loop's own are heard only when the loop turns. The list holds what was heard.
    """
    heard: list[int] = []
    acted_on: list[int] = []
    heard_at: list[float] = []
    loop = asyncio.get_running_loop()

    def act(number: int) -> None:
        acted_on.append(number)
        performing.cancel()

    def hear(number: int, _: object) -> None:
        heard.append(number)
        heard_at.append(time.monotonic())
        if not acted_on and time.monotonic() - heard_at[0] > HELD_UP_S:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(act, number)

    for number in SIGNALS:
        heed(number, hear)
    return heard


def end_now_if_threads_remain(code: int) -> None:
    """End without waiting for threads that an agent left behind: the interpreter would, for as long as they run."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


async def end_now_if_work_remains(code: int) -> None:
    """End without waiting for tasks and threads that an agent left behind and that do not end within LEAVE_S."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left and (await asyncio.wait(left, timeout=LEAVE_S))[1]:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    end_now_if_threads_remain(code)
