"""How a process that works until it is told to stop is told, and how it ends even if an agent blocks it."""

import asyncio
import contextlib
import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from aorch.core.stopping import SIGNALS, hear

CANCEL_S = 1.5
"""How long a cancelled agent may take to end after the grace period."""
LATE_S = 1.0
"""After the grace period the event loop must run a callback within this time, or the process ends at once."""
CHECK_S = 0.2
"""How often that is checked."""
LONGEST_S = CANCEL_S + 4.0
"""After the grace period plus this time the process ends, whatever still runs."""


class Stop:
    """`told` is set once the process is told to stop, and `hurry` once it is told not to wait for running tasks.

    Its thread calls `first` before `told` is set. If the event loop does not run within LATE_S after `grace_s`, an agent
    blocks it: the thread then kills the agents' programs and ends the process, with exit code 0. The tasks that it cuts off
    are recorded as interrupted by the next process that opens the ledger.
    """

    def __init__(self, grace_s: float, first: Callable[[], None] | None = None) -> None:
        self.told, self.hurry = asyncio.Event(), asyncio.Event()
        self._grace_s, self._first = grace_s, first
        self._loop = asyncio.get_running_loop()
        # SimpleQueue.put is reentrant, so that a signal handler may call it
        self._orders: queue.SimpleQueue[asyncio.Event] = queue.SimpleQueue()
        self._numbers: list[int] = []
        threading.Thread(target=self._work, name="aorch-stop", daemon=True).start()

    def on_signals(self, hurried_by: Iterable[int] = SIGNALS, *, supervised: bool = False) -> None:
        """Stop on INT, TERM and HUP. After the first of them, each of `hurried_by` is a hurry.

        A terminal's Ctrl-C reaches a `supervised` process twice, as INT and as its supervisor's TERM: there only the second
        INT is a hurry.
        """

        def heard(number: int) -> None:
            if not self._numbers:
                _end_later(self._grace_s + LATE_S + CHECK_S)  # the thread may never run, and sets this again if it does
            self.stop()
            self._numbers.append(number)
            times = self._numbers.count(number) if supervised else len(self._numbers)
            if times > 1 and number in hurried_by:
                self.hasten()

        hear(heard)

    def stop(self) -> None:
        """Tell the process to stop. Any thread or signal handler may call this."""
        self._orders.put(self.told)

    def hasten(self) -> None:
        """End the grace period. Any thread or signal handler may call this."""
        self._orders.put(self.hurry)

    def _work(self) -> None:
        self._orders.get()
        if self._first is not None:
            self._first()
        self._set(self.told)
        ends_at = time.monotonic() + self._grace_s
        while (left_s := ends_at - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                if self._orders.get(timeout=left_s) is self.hurry:
                    break
        self._set(self.hurry)
        _end_later(LATE_S + CHECK_S)
        self._watch(time.monotonic() + LONGEST_S)
        _end_now()

    def _watch(self, until: float) -> None:
        """Return at that time, or as soon as the loop is blocked."""
        while time.monotonic() < until:
            turned = threading.Event()
            with contextlib.suppress(RuntimeError):  # the loop is closed: only the end of the process is left
                self._loop.call_soon_threadsafe(turned.set)
                if not turned.wait(LATE_S):
                    return
            _end_later(LATE_S + 2 * CHECK_S)
            time.sleep(CHECK_S)

    def _set(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(event.set)


def _end_later(seconds: float) -> None:
    """End the process in so many seconds, unless this is called again: against C code that never gives up Python's lock."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # it needs a stderr, which may be closed
        faulthandler.dump_traceback_later(seconds, exit=True)


def _end_now() -> None:
    """End the process, and the programs that it started."""
    with contextlib.suppress(OSError, ValueError):  # a closed stderr must not keep it alive
        sys.stderr.write(
            "aorch stops without waiting: an agent does not give way; its task is recorded as interrupted\n"
        )
        sys.stderr.flush()
    for child in _children():
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)  # a command agent's program leads a process group
    os._exit(0)


def _children() -> list[int]:
    """The direct child processes, on Linux; elsewhere none are found."""
    try:
        return [int(pid) for each in Path("/proc/self/task").glob("*/children") for pid in each.read_text().split()]
    except OSError:
        return []
