"""Waiting for programs by pidfd on Python 3.11, whose asyncio starts a thread for each program once that runs.

If that thread cannot be started (ulimit -u), asyncio loses track of the program. From Python 3.12 on, asyncio uses pidfds itself.
"""

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import TypeVarTuple

Args = TypeVarTuple("Args")

if sys.version_info < (3, 12):

    class _PidfdWatcher(asyncio.AbstractChildWatcher):
        """As PidfdChildWatcher of Python 3.12: it serves every event loop, not only the one to which it is attached."""

        def add_child_handler(self, pid: int, callback: Callable[[int, int, *Args], object], *args: *Args) -> None:
            loop, pidfd = asyncio.get_running_loop(), os.pidfd_open(pid)

            def ended() -> None:
                loop.remove_reader(pidfd)
                os.close(pidfd)
                try:
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                except ChildProcessError:  # another waiter got the exit code; asyncio uses 255 for that
                    code = 255
                callback(pid, code, *args)

            loop.add_reader(pidfd, ended)

        def remove_child_handler(self, pid: int) -> bool:
            return False

        def attach_loop(self, loop: asyncio.AbstractEventLoop | None) -> None: ...

        def is_active(self) -> bool:
            return True

        def close(self) -> None: ...

        def __enter__(self) -> "_PidfdWatcher":
            return self

        def __exit__(self, *_: object) -> None: ...

    @functools.cache
    def wait_by_pidfd() -> None:
        """Use pidfds instead of asyncio's default. A watcher that the program has set stays; Linux before 5.3 has no pidfds."""
        policy = asyncio.get_event_loop_policy()
        if type(policy) is not asyncio.DefaultEventLoopPolicy:
            return
        if type(policy.get_child_watcher()) is asyncio.ThreadedChildWatcher:
            with contextlib.suppress(OSError, AttributeError):
                os.close(os.pidfd_open(os.getpid()))
                policy.set_child_watcher(_PidfdWatcher())

else:

    def wait_by_pidfd() -> None:
        """Nothing to do: asyncio uses pidfds."""
