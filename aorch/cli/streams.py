"""The streams and descriptors of an `aorch` process: closed ones, ones that cannot be written, and keeping them from agents."""

import io
import os
import resource
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, BinaryIO

from aorch.errors import OutputFailed, UsageError

MOST_DESCRIPTORS = 65_536
"""How far the soft limit is raised: some programs close every descriptor up to it when they start."""


def prepare() -> None:
    """What every command needs before anything else: descriptors enough, 0 to 2 open, and a stderr that never fails."""
    _raise_descriptor_limit()
    for number in range(3):  # else the next file that is opened, perhaps the ledger, would be what agents print to
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    raw = _StandardError(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True)
    if sys.stdout is not None:
        _use_for_stdout(sys.stdout.fileno())


class _StandardError(io.FileIO):
    """Drops what cannot be written (a full disk, a reader that went away): the exit code tells what the command did."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


class StandardOutput(io.FileIO):
    """Waits while it takes nothing, as a non-blocking pipe may.

    `write` raises OutputFailed if it cannot be written, and BrokenPipeError if its reader went away. After that it drops
    what comes: what is still buffered is written once more when the stream is closed, and Python 3.13 tells of that failure.
    """

    _failed = False

    def write(self, data: Any) -> int:
        """Write some of `data`; how much."""
        if self._failed:
            return len(data)
        try:
            while (written := super().write(data)) is None:
                select.select((), (self,), ())
        except OSError as error:
            self._failed = True
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputFailed(
                f"standard output cannot be written: {error.strerror}", "What was done is on record."
            ) from error
        return written


def _use_for_stdout(descriptor: int) -> None:
    raw = StandardOutput(descriptor, "w", closefd=False)
    encoding, errors, line_buffering = sys.stdout.encoding, sys.stdout.errors, raw.isatty()
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=line_buffering)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS has another limit below an infinite hard one: the soft one stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def set_aside() -> None:
    """Move standard input and output to other descriptors, which `sys.stdin` and `sys.stdout` use from then on.

    Descriptor 0 becomes /dev/null and descriptor 1 standard error, for good: what agents start, and their C code, uses those.
    """
    if sys.stdin is not None and sys.stdin.fileno() == 0:
        moved = io.FileIO(os.dup(0), "r", closefd=False)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(moved), sys.stdin.encoding, sys.stdin.errors)
    if sys.stdout is not None and sys.stdout.fileno() == 1:
        sys.stdout.flush()
        _use_for_stdout(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


@contextmanager
def kept_from_agents() -> Iterator[None]:
    """Load and run agents within: what they print goes to standard error, and their standard input is empty.

    That holds for what they start as well, also after the block, when `sys.stdin` and `sys.stdout` are aorch's again.
    """
    set_aside()
    own = sys.stdin
    with open(os.devnull, encoding="utf-8") as sys.stdin, redirect_stdout(sys.stderr):  # noqa: PTH123  no path of ours
        try:
            yield
        finally:
            sys.stdin = own


def standard_output() -> BinaryIO:
    """Standard output, as bytes. Raises OutputFailed if it is closed."""
    if sys.stdout is None:
        raise OutputFailed("standard output cannot be written: it is closed", "What was done is on record.")
    return sys.stdout.buffer


def standard_input() -> BinaryIO:
    """Standard input, as bytes. Raises UsageError if it is closed."""
    if sys.stdin is None:
        raise UsageError("standard input is closed", "Give it a pipe or a file: … < FILE.")
    return sys.stdin.buffer
