"""Ending a command without waiting for tasks and threads that agents left running."""

import asyncio
import os
import sys
import threading

LEAVE_S = 0.2
"""How long tasks and threads of agents may take to end."""


def end_now_if_threads_remain(code: int) -> None:
    """Exit at once if agents left threads running, because the interpreter would wait for them."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


async def end_now_if_work_remains(code: int) -> None:
    """Exit at once if agents left tasks or threads that do not end within LEAVE_S."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left and (await asyncio.wait(left, timeout=LEAVE_S))[1]:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    end_now_if_threads_remain(code)
