"""The signals that end a process, and which of them it hears."""

import signal
from collections.abc import Callable
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed(number: int, handler: Any) -> None:
    """Set `handler` (or SIG_DFL) for that signal, unless it is ignored: what was ignored at the start stays so (nohup)."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


def hear(act: Callable[[int], None]) -> None:
    """Call `act` with the number of each INT, TERM or HUP, in the main thread, even while an agent blocks its loop.

    Plain handlers: the loop's own are taken off when it closes, and a signal after that would end the process.
    """

    def heard(number: int, _: object) -> None:
        act(number)

    for number in SIGNALS:
        heed(number, heard)


def hear_no_more() -> None:
    """All is done and the process ends by itself: a late signal must not change its exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
