"""Hearing that a process which works until it is told to stop is told so."""

import asyncio
import signal
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hear(act: Callable[[int], None]) -> None:
    """Call `act` in this loop with the number of each INT or TERM that comes.

    Plain handlers: the loop's own are taken off when it closes, and a signal after that would end the process.
    """
    loop = asyncio.get_running_loop()

    def heard(number: int, _: object) -> None:
        loop.call_soon_threadsafe(act, number)

    for number in SIGNALS:
        signal.signal(number, heard)


def hear_no_more() -> None:
    """All is done and the process ends by itself: a late signal must not change its exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
