"""Signals: every handler of aorch is set here."""

import signal
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


def set_handler(number: int, handler: Any) -> None:
    """Set `handler` (or SIG_DFL) for that signal, unless it was ignored at the start: then it stays ignored (nohup)."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


def handle_signals(act: Callable[[int], None]) -> None:
    """Call `act` with the number of each INT, TERM or HUP, in the main thread, even while an agent blocks its loop.

    Plain handlers: asyncio removes its own when the loop closes, and a signal after that would end the process.
    """

    def handler(number: int, _: object) -> None:
        act(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def interrupt_on_signals() -> list[int]:
    """Raise Interrupted in the main thread on INT, TERM or HUP. The returned list gets the number of each signal."""
    received: list[int] = []

    def act(number: int) -> None:
        received.append(number)
        raise Interrupted(number)

    handle_signals(act)
    return received


def ignore_signals() -> None:
    """Ignore INT, TERM and HUP: the work is done, and a late signal must not change the exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def cancel_on_signals(performing: "asyncio.Future[Any]") -> list[int]:
    """Cancel `performing` on INT, TERM or HUP. If an agent blocks the loop, a later signal raises Interrupted in it.

    Plain handlers, since asyncio's run only when the loop does. The returned list gets the number of each signal.
    """
    import asyncio  # noqa: PLC0415  30 ms, which `aorch --help` does not need

    received: list[int] = []
    acted_on: list[int] = []
    received_at: list[float] = []
    loop = asyncio.get_running_loop()

    def cancel(number: int) -> None:
        acted_on.append(number)
        performing.cancel()

    def act(number: int) -> None:
        received.append(number)
        received_at.append(time.monotonic())
        if not acted_on and time.monotonic() - received_at[0] > BLOCKED_S:
            raise Interrupted(number)
        loop.call_soon_threadsafe(cancel, number)

    handle_signals(act)
    return received
