"""The streams and descriptors of an `aorch` process: closed ones, ones that cannot be written, and keeping them from agents."""

import io
import os
import resource
import select
import sys
from contextlib import suppress
from typing import Any, BinaryIO, TextIO

from aorch.errors import OutputFailed, UsageError

MOST_DESCRIPTORS = 65_536
"""How far the soft limit is raised: some programs close every descriptor up to it when they start."""
_aside: dict[str, TextIO | None] = {}
"""The process's standard streams, once agents have others in their place."""


def prepare() -> None:
    """What every command needs before anything else: descriptors enough, 0 to 2 open, and a stderr that never fails."""
    _raise_descriptor_limit()
    for number in range(3):  # else the next file that is opened, perhaps the ledger, would be what agents print to
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = _for_messages(2, encoding)
    if sys.stdout is not None:
        sys.stdout = _writer(sys.stdout.fileno(), sys.stdout)


def _for_messages(descriptor: int, encoding: str) -> TextIO:
    # no BufferedWriter: if a daemon thread of an agent holds its lock when the interpreter ends, that aborts the process
    raw = _StandardError(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)  # as python -u does


class _StandardError(io.FileIO):
    """Drops what cannot be written (a full disk, a reader that went away): the exit code tells what the command did."""

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        left = memoryview(data)
        with suppress(OSError):
            while left and (written := super().write(left)):
                left = left[written:]
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


def _writer(descriptor: int, like: TextIO) -> TextIO:
    raw = StandardOutput(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), like.encoding, like.errors, line_buffering=raw.isatty())


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS has another limit below an infinite hard one: the soft one stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def set_aside() -> None:
    """Keep standard input and output from agents, for good: their threads, children and exit handlers outlive their tasks.

    Both move to other descriptors, which only `standard_input`, `stdout` and `standard_output` know. Descriptor 0 and
    `sys.stdin` are empty from then on, and descriptor 1 and `sys.stdout` are standard error.
    """
    if _aside:
        return
    _aside.update(stdin=sys.stdin, stdout=sys.stdout)
    if sys.stdin is not None and sys.stdin.fileno() == 0:
        moved = io.FileIO(os.dup(0), "r", closefd=False)
        _aside["stdin"] = io.TextIOWrapper(io.BufferedReader(moved), sys.stdin.encoding, sys.stdin.errors)
    if sys.stdout is not None:
        sys.stdout.flush()
        if sys.stdout.fileno() == 1:
            _aside["stdout"] = _writer(os.dup(1), sys.stdout)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), "utf-8")
    sys.stdout = _for_messages(1, sys.stderr.encoding)


def stdout() -> TextIO | None:
    """Standard output, which agents do not write to; None if it is closed."""
    return _aside.get("stdout", sys.stdout)


def standard_output() -> BinaryIO:
    """Standard output, as bytes. Raises OutputFailed if it is closed."""
    if (own := stdout()) is None:
        raise OutputFailed("standard output cannot be written: it is closed", "What was done is on record.")
    return own.buffer


def standard_input() -> BinaryIO:
    """Standard input, as bytes. Raises UsageError if it is closed."""
    if (own := _aside.get("stdin", sys.stdin)) is None:
        raise UsageError("standard input is closed", "Give it a pipe or a file: … < FILE.")
    return own.buffer
