"""Bounded waits that leave the processor to the processes that are waited for."""

import threading
import time
from collections.abc import Callable
from typing import Any

WAIT_S = 30.0
"""How long a test waits for something that happens at once on an idle machine, and late where every core is busy."""
PAUSE_S = 0.005


def wait_for(ask: Callable[[], Any], limit_s: float = WAIT_S) -> Any:
    """Call `ask` every 5 ms until it returns a true value; returns that value."""
    end = time.monotonic() + limit_s
    while not (answer := ask()):
        assert time.monotonic() < end, f"not true within {limit_s:g} s"
        pause()
    return answer


def pause(duration_s: float = PAUSE_S) -> None:
    """Wait without using CPU time."""
    threading.Event().wait(duration_s)
