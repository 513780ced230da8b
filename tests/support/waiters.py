"""Programs that run until a test lets them go on, and whether they have ended."""

import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
from ends import has_ended
from homes import Home
from waiting import wait_for

WAITING = """
[agents.waiter]
command = ["sh", "-c", "sleep 60 & echo $$ $! > {name}.pids; while [ ! -e {name}.go ]; do sleep 0.02; done; echo {name}"]
[agents.waiter.capabilities.wait]
"""
"""An agent whose program and its child run until the file NAME.go exists."""
CREATION_S = 2.0
"""How far psutil's time of a process's creation, whose base is in whole seconds, may be off."""


def start_waiting(home: Home, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `aorch run` and return its process once its agent runs."""
    running = home.start("run", "wait", f"name={name}", *arguments, start_new_session=True)
    written_pids(home.folder / f"{name}.pids")
    return running


def kill_at_work(home: Home, name: str) -> None:
    """Kill an `aorch run` (SIGKILL) in the session `name` while its agent runs."""
    running = start_waiting(home, name, "--session", name)
    programs = [psutil.Process(pid) for pid in written_pids(home.folder / f"{name}.pids")]
    running.kill()
    running.communicate()
    for program in programs:
        with suppress(psutil.NoSuchProcess):  # no process is left that would end the agent's program
            program.kill()


def written_pids(file: Path) -> list[int]:
    """The process ids in that file, once a program has written a line of them."""
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"))
    return [int(pid) for pid in file.read_text().split()]


def have_ended(file: Path) -> bool:
    """Whether the processes whose ids are in that file have ended.

    A process that was created after the file was written is another one with the same id.
    """
    written = file.stat().st_mtime
    for pid in written_pids(file):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() < written + CREATION_S and not has_ended(process):
                return False
    return True
