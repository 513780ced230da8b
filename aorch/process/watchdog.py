"""A process that watches a service, and kills it if Python no longer runs there when the service must stop.

C code of an agent that holds the global interpreter lock (such as a regular expression that backtracks for hours) blocks
every thread and every signal handler of its process. Python's C handler still writes the numbers of signals into a pipe
(`signal.set_wakeup_fd`), which this process reads. It runs as a script, so it imports only the standard library.
"""

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ALIVE = 0
"""Written by the service, in addition to signal numbers: Python runs, and the next ALIVE is due within BEAT_S."""
LATE_S, BEAT_S = 1.25, 1.35
"""The time until the first ALIVE after the grace period, and from one ALIVE to the next."""
KILL_S = 0.3
"""How long SIGTERM, which is tried first, may take to end the process."""


class Watchdog:
    """Watches this process until it ends. `hurried_by`: the signals that end the grace period when they come a second time."""

    def __init__(self, grace_s: float, hurried_by: list[int]) -> None:
        read, self._write = os.pipe()  # the read end stays open, so that no write fails
        os.set_blocking(self._write, False)
        arguments = [str(os.getpid()), str(grace_s), ",".join(map(str, hurried_by))]
        actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        with contextlib.suppress(OSError):  # no process can be started: the service runs without it
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", __file__, *arguments],
                os.environ,
                file_actions=actions,
                setsigmask=SIGNALS,
            )
            signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            _exclude_forks()

    def beat(self) -> None:
        """Report that Python runs."""
        with contextlib.suppress(OSError):
            os.write(self._write, bytes([ALIVE]))


def _exclude_forks() -> None:
    """Keep signals of a process that an agent forks out of the pipe of this process. Signals are blocked meanwhile, because
    one between the fork and `after_in_child` would be written to the pipe.
    """

    def before() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def after_in_child() -> None:
        signal.set_wakeup_fd(-1)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)


def kill_programs_of(process: int) -> None:
    """Kill the programs that agents started in that process: each leads a process group. Only Linux can find them."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                with contextlib.suppress(OSError):
                    os.killpg(int(child), signal.SIGKILL)


def report_end() -> None:
    """Print on stderr that tasks are interrupted."""
    with contextlib.suppress(OSError, ValueError):  # a closed stderr must not keep the process alive
        sys.stderr.write("aorch stops without waiting: an agent blocks it; its task is recorded as interrupted\n")
        sys.stderr.flush()


def _watch(watched: int, grace_s: float, hurried_by: list[int]) -> None:
    """Return once the watched process has ended, or end it."""
    ended = (
        os.pidfd_open(watched) if hasattr(os, "pidfd_open") else 0
    )  # on other systems only the pipe shows that the process has ended
    ends_at = float("inf")
    received: set[int] = set()
    while (left_s := ends_at - time.monotonic()) > 0:
        ready, *_ = select.select([0, ended], [], [], None if left_s == float("inf") else left_s)
        written = os.read(0, 4096) if 0 in ready else b""
        if ended in ready or (0 in ready and not written):  # a process that an agent forked can keep the pipe open
            return
        for number in written:
            if number == ALIVE:
                ends_at = time.monotonic() + BEAT_S
            elif number in SIGNALS:
                if not received:
                    ends_at = time.monotonic() + grace_s + LATE_S
                elif number in received and number in hurried_by:
                    ends_at = min(ends_at, time.monotonic() + LATE_S)
                received.add(number)
    if os.getppid() != watched:
        return
    os.kill(watched, signal.SIGTERM)
    if ended and select.select([ended], [], [], KILL_S)[0]:
        return
    report_end()
    kill_programs_of(watched)
    os.kill(watched, signal.SIGKILL)


def main() -> None:
    """Watch the process that started this one."""
    watched, grace_s, hurried_by = sys.argv[1:]
    with contextlib.suppress(OSError):  # it has ended meanwhile
        _watch(int(watched), float(grace_s), [int(number) for number in hurried_by.split(",")])


if __name__ == "__main__":
    main()
