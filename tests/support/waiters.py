"""Programs that run until a test lets them go on, and whether they have ended."""

import os
import signal
import subprocess
from contextlib import suppress

import psutil
from homes import Home
from waiting import wait_for

WAITING = """
[agents.waiter]
command = ["sh", "-c", "sleep 60 & echo $$ $! > {name}.pids; while [ ! -e {name}.go ]; do sleep 0.02; done; echo {name}"]
[agents.waiter.capabilities.wait]
"""
"""An agent whose program and its child run until the file NAME.go exists."""


def start_waiting(home: Home, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `aorch run` and return its process once its agent runs."""
    running = home.start("run", "wait", f"name={name}", *arguments, start_new_session=True)
    pids = home.folder / f"{name}.pids"
    wait_for(lambda: pids.exists() and pids.read_text().endswith("\n"))
    return running


def kill_at_work(home: Home, name: str) -> None:
    """Kill an `aorch run` (SIGKILL) in the session `name` while its agent runs."""
    running = start_waiting(home, name, "--session", name)
    running.kill()
    running.communicate()
    for pid in (home.folder / f"{name}.pids").read_text().split():
        with suppress(ProcessLookupError):  # no process is left that would end the agent's program
            os.kill(int(pid), signal.SIGKILL)


def are_gone(home: Home, name: str) -> bool:
    """Whether the program and its child have ended."""
    return all(is_gone(int(pid)) for pid in (home.folder / f"{name}.pids").read_text().split())


def is_gone(pid: int) -> bool:
    """Whether the process has ended; a zombie has, and only waits for init to reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
