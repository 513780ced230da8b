"""Stopping a service: its grace period, and its end even if an agent blocks it."""

import asyncio
import contextlib
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable

from aorch.process.signals import SIGNALS, handle_signals
from aorch.process.watchdog import Watchdog, kill_programs_of, report_end

CANCEL_S = 1.5
"""How long a cancelled agent may take to end after the grace period."""
LATE_S = 1.0
"""After the grace period the event loop must run a callback within this time, or the process ends at once."""
CHECK_S = 0.2
"""How often the event loop is checked."""
LONGEST_S = CANCEL_S + 4.0
"""After the grace period plus this time the process ends, even if tasks still run."""


class Stop:
    """`requested` is set when the process must stop, and `hurry` when it must not wait for running tasks.

    Its thread calls `first` before `requested` is set. If the event loop does not run within LATE_S after `grace_s`, an agent
    blocks it: the thread then kills the agents' programs and ends the process, with exit code 0. The next process that opens
    the ledger records the tasks that were cut off as interrupted. If the process `runs_code` of agents, which can block the
    whole process, a Watchdog does the same, with SIGKILL if necessary.
    """

    def __init__(self, grace_s: float, first: Callable[[], None] | None = None, *, runs_code: bool) -> None:
        self.requested, self.hurry = asyncio.Event(), asyncio.Event()
        self._grace_s, self._first, self._runs_code = grace_s, first, runs_code
        self._watchdog: Watchdog | None = None
        self._beats_until = math.inf
        self._loop = asyncio.get_running_loop()
        # SimpleQueue.put is reentrant, so that a signal handler may call it
        self._orders: queue.SimpleQueue[asyncio.Event] = queue.SimpleQueue()
        self._numbers: list[int] = []
        threading.Thread(target=self._work, name="aorch-stop", daemon=True).start()

    def on_signals(self, hurried_by: Iterable[int] = SIGNALS, *, supervised: bool = False) -> None:
        """Stop on INT, TERM and HUP. After the first of them, each of `hurried_by` sets `hurry`.

        Ctrl-C on a terminal reaches a `supervised` process twice, as INT and as its supervisor's TERM: there only the second
        INT sets `hurry`.
        """

        def on_signal(number: int) -> None:
            if not self._numbers:
                self._beats_until = time.monotonic() + self._grace_s + LATE_S + CHECK_S
            elif time.monotonic() > self._beats_until:  # the thread does not run, so the watchdog has sent this signal
                _end_now()
            self.stop()
            self._numbers.append(number)
            times = self._numbers.count(number) if supervised else len(self._numbers)
            if times > 1 and number in hurried_by:
                self.hurry_up()

        handle_signals(on_signal)
        if self._runs_code:
            self._watchdog = Watchdog(self._grace_s, [signal.SIGINT] if supervised else [*hurried_by])

    def stop(self) -> None:
        """Make the process stop. Any thread or signal handler may call this."""
        self._orders.put(self.requested)

    def hurry_up(self) -> None:
        """End the grace period. Any thread or signal handler may call this."""
        self._orders.put(self.hurry)

    def _work(self) -> None:
        self._orders.get()
        if self._first is not None:
            self._first()
        self._set(self.requested)
        ends_at = time.monotonic() + self._grace_s
        while (left_s := ends_at - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                if self._orders.get(timeout=left_s) is self.hurry:
                    break
        self._set(self.hurry)
        self._beat()
        self._watch(time.monotonic() + LONGEST_S)
        _end_now()

    def _watch(self, until: float) -> None:
        """Return at that time, or as soon as the loop is blocked."""
        while time.monotonic() < until:
            turned = threading.Event()
            with contextlib.suppress(RuntimeError):  # the loop is closed: only the end of the process remains
                self._loop.call_soon_threadsafe(turned.set)
                if not turned.wait(LATE_S):
                    return
            self._beat()
            time.sleep(CHECK_S)

    def _beat(self) -> None:
        """Tell the watchdog that this thread runs."""
        self._beats_until = time.monotonic() + LATE_S + CHECK_S
        if self._watchdog is not None:
            self._watchdog.beat()

    def _set(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(event.set)


def _end_now() -> None:
    """End the process, and the programs that it started."""
    report_end()
    kill_programs_of(os.getpid())
    os._exit(0)
