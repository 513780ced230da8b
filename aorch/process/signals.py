"""Signals: every handler of aorch is set here."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a command or a service."""
BLOCKED_S = 0.1
"""An event loop that has not run for this time after a signal counts as blocked. (Two signals in a row do not prove it.)"""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command, raised in the main thread. `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def is_interrupt(error: BaseException) -> bool:
    """Whether a signal ended the command with `error`. `asyncio.Runner.run` forgets a Ctrl-C that comes just before it sets its
    count of them to 0, and then raises CancelledError.
    """
    asyncio = sys.modules.get("asyncio")
    return isinstance(error, KeyboardInterrupt) or (asyncio is not None and isinstance(error, asyncio.CancelledError))


def set_handler(number: int, handler: Any) -> None:
    """Set `handler` (or SIG_DFL) for that signal, unless it was ignored at the start: then it stays ignored (nohup)."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


def handle_signals(act: Callable[[int], None], loop: "asyncio.AbstractEventLoop | None" = None) -> None:
    """Call `act` with the number of each INT, TERM or HUP, in the main thread, even while an agent blocks its loop.

    Plain handlers: asyncio removes its own when the loop closes, and a signal after that would end the process. Each signal
    wakes `loop`; without it, `act` is not called before the loop wakes by itself if another thread gets the signal, or if it
    comes just before the loop begins to wait.
    """
    if loop is not None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        loop.add_reader(reading, os.read, reading, 64)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def handler(number: int, _: object) -> None:
        act(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore INT, TERM and HUP: the work is done, and a late signal must not change the exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class SignalReceiver:
    """Acts on INT, TERM and HUP, in a running loop: each raises Interrupted in the main thread, or cancels `performing` once
    that is set. If an agent blocks the loop of `performing`, a later signal raises Interrupted in it.

    `received` has the number of each signal.
    """

    def __init__(self, performing: "asyncio.Future[Any] | None" = None) -> None:
        import asyncio  # noqa: PLC0415  30 ms, which `aorch --help` does not need

        self.performing = performing
        self.received: list[int] = []
        self._first_at: dict[asyncio.Future[Any], float] = {}
        self._acted_on: set[asyncio.Future[Any]] = set()
        handle_signals(self._act, asyncio.get_running_loop())

    def _act(self, number: int) -> None:
        self.received.append(number)
        moment, performing = time.monotonic(), self.performing
        if performing is None:
            raise Interrupted(number)
        if performing not in self._acted_on and moment - self._first_at.setdefault(performing, moment) > BLOCKED_S:
            raise Interrupted(number)
        performing.get_loop().call_soon_threadsafe(self._cancel, performing)

    def _cancel(self, performing: "asyncio.Future[Any]") -> None:
        self._acted_on.add(performing)
        performing.cancel()
