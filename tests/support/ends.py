"""Whether processes have ended. A zombie has: it only waits for init to reap it, and the init of a container may never do so."""

from collections.abc import Iterable

import psutil
from waiting import WAIT_S, wait_for


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_ends(processes: Iterable[psutil.Process], limit_s: float = WAIT_S) -> None:
    """Return once all have ended."""
    left = list(processes)
    wait_for(lambda: all(has_ended(each) for each in left), limit_s)
