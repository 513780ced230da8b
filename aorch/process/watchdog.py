"""A process beside a service that ends it if Python no longer runs there when it is told to stop.

C code of an agent that keeps Python's lock (a regular expression that backtracks for hours) stops every thread and every signal
handler of its process. The kernel writes the numbers of signals into a pipe all the same (`signal.set_wakeup_fd`), whose other
end this process reads. It is run as a script, so it imports only the standard library.
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
"""What the service writes besides numbers of signals: Python runs, and is asked again BEAT_S from now."""
LATE_S, BEAT_S = 1.25, 1.35
"""How long after the grace period, and after each ALIVE, the next ALIVE may take."""
KILL_S = 0.3
"""How long Python's own handler of SIGTERM, which is tried first, may take to end the process."""


class Watchdog:
    """Watches this process, from its making to the end of the process. `hurried_by`: these signals end the grace period if
    they come a second time.
    """

    def __init__(self, grace_s: float, hurried_by: list[int]) -> None:
        read, self._write = os.pipe()  # the end for reading stays open, so that no write fails
        os.set_blocking(self._write, False)
        told = [str(os.getpid()), str(grace_s), ",".join(map(str, hurried_by))]
        actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        with contextlib.suppress(OSError):  # no process is left for it: the service does without
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", __file__, *told],
                os.environ,
                file_actions=actions,
                setsigmask=SIGNALS,
            )
            signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            _keep_from_children()

    def beat(self) -> None:
        """Say that Python runs."""
        with contextlib.suppress(OSError):
            os.write(self._write, bytes([ALIVE]))


def _keep_from_children() -> None:
    """See to it that a signal to a process that an agent forks is not written into the pipe of this one.

    Signals wait meanwhile: one that came between the fork and `after_in_child` would be written.
    """

    def before() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def after_in_child() -> None:
        signal.set_wakeup_fd(-1)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)


def end_programs_of(process: int) -> None:
    """Kill the programs that agents started there: each leads a process group. On Linux; elsewhere none are found."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                with contextlib.suppress(OSError):
                    os.killpg(int(child), signal.SIGKILL)


def say_it_ends() -> None:
    """Say on stderr that tasks are cut off."""
    with contextlib.suppress(OSError, ValueError):  # a closed stderr must keep nothing alive
        sys.stderr.write(
            "aorch stops without waiting: an agent does not give way; its task is recorded as interrupted\n"
        )
        sys.stderr.flush()


def _watch(watched: int, grace_s: float, hurried_by: list[int]) -> None:
    """Return once the watched process has ended, or end it."""
    ended = os.pidfd_open(watched) if hasattr(os, "pidfd_open") else 0  # elsewhere than on Linux the pipe alone says it
    ends_at = float("inf")
    heard: set[int] = set()
    while (left_s := ends_at - time.monotonic()) > 0:
        ready, *_ = select.select([0, ended], [], [], None if left_s == float("inf") else left_s)
        said = os.read(0, 4096) if 0 in ready else b""
        if ended in ready or (0 in ready and not said):  # a process that an agent forked may keep the pipe open
            return
        for number in said:
            if number == ALIVE:
                ends_at = time.monotonic() + BEAT_S
            elif number in SIGNALS:
                if not heard:
                    ends_at = time.monotonic() + grace_s + LATE_S
                elif number in heard and number in hurried_by:
                    ends_at = min(ends_at, time.monotonic() + LATE_S)
                heard.add(number)
    if os.getppid() != watched:
        return
    os.kill(watched, signal.SIGTERM)
    if ended and select.select([ended], [], [], KILL_S)[0]:
        return
    say_it_ends()
    end_programs_of(watched)
    os.kill(watched, signal.SIGKILL)


def main() -> None:
    """Watch the process that started this one."""
    watched, grace_s, hurried_by = sys.argv[1:]
    with contextlib.suppress(OSError):  # it ended meanwhile
        _watch(int(watched), float(grace_s), [int(number) for number in hurried_by.split(",")])


if __name__ == "__main__":
    main()
