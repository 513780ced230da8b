"""The standard streams of an `aorch` process. They may be closed or full, and are kept from agents."""

import io
import os
import resource
import select
import sys
from contextlib import suppress
from typing import Any, BinaryIO, TextIO

from aorch.errors import OutputFailed, UsageError

MAX_DESCRIPTORS = 65_536
"""Maximum for raising the soft limit: some programs close every descriptor up to the limit when they start."""
_aside: dict[str, TextIO | None] = {}
"""The standard streams of the process, after `set_aside` has replaced them."""


def prepare() -> None:
    """Before a command starts: raise the limit of descriptors, open 0 to 2 if they are closed, and make stderr safe to write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(
            OSError, ValueError
        ):  # on macOS the real limit is lower than an infinite hard limit: keep the soft limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    for number in range(3):  # otherwise agents would print into the next file that is opened, perhaps the ledger
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = _for_messages(2, encoding)
    if sys.stdout is not None:
        sys.stdout = _writer(sys.stdout.fileno(), sys.stdout)


def _for_messages(descriptor: int, encoding: str) -> TextIO:
    # no BufferedWriter: the process would abort if a daemon thread of an agent held its lock when the interpreter exits
    raw = _StandardError(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)  # as python -u does


class _StandardError(io.FileIO):
    """Drops data that cannot be written (full disk, closed pipe): the exit code still reports the result of the command."""

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        left = memoryview(data)
        with suppress(OSError):
            while left and (written := super().write(left)):
                left = left[written:]
        return len(data)


class StandardOutput(io.FileIO):
    """Waits if it accepts no data, as a non-blocking pipe may.

    `write` raises OutputFailed if it cannot write, and BrokenPipeError if the reader closed the pipe. After that it drops all
    data: the buffer is written again when the stream is closed, and Python 3.13 reports that failure.
    """

    drops_all = False

    def write(self, data: Any) -> int:
        """Write some of `data`; returns the number of bytes."""
        if self.drops_all:
            return len(data)
        try:
            while (written := super().write(data)) is None:
                select.select((), (self,), ())
        except OSError as error:
            self.drops_all = True
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputFailed(
                f"cannot write to standard output: {error.strerror}", "The contracts are in the ledger."
            ) from error
        return written


def _writer(descriptor: int, like: TextIO) -> TextIO:
    raw = StandardOutput(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), like.encoding, like.errors, line_buffering=raw.isatty())


def set_aside() -> None:
    """Keep standard input and output from agents until the process ends: their threads and children may outlive their tasks.

    Both move to other descriptors, which only `standard_input`, `stdout` and `standard_output` use. After that, descriptor 0
    and `sys.stdin` are empty, and descriptor 1 and `sys.stdout` are standard error.
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


def drop_buffered_output() -> None:
    """Write nothing more to standard output. For an interrupt inside of a write: the buffer may have been written already."""
    own = stdout()
    if isinstance(own, io.TextIOWrapper) and isinstance(own.buffer, io.BufferedWriter):
        raw = own.buffer.raw
        if isinstance(raw, StandardOutput):
            raw.drops_all = True


def standard_output() -> BinaryIO:
    """Standard output, as bytes. Raises OutputFailed if it is closed."""
    if (own := _aside.get("stdout", sys.stdout)) is None:
        raise OutputFailed("cannot write to standard output: it is closed", "The contracts are in the ledger.")
    return own.buffer


def standard_input() -> BinaryIO:
    """Standard input, as bytes. Raises UsageError if it is closed."""
    if (own := _aside.get("stdin", sys.stdin)) is None:
        raise UsageError("standard input is closed", "Redirect it from a file: … < FILE.")
    return own.buffer


def is_terminal(stream: TextIO | None) -> bool:
    """Whether `stream` is a terminal; a closed stream (None) is not."""
    return stream is not None and stream.isatty()


def has_colors(stream: TextIO | None) -> bool:
    """Whether to print colors on `stream`: on a terminal, without NO_COLOR (https://no-color.org) and --no-color."""
    from aorch.config import environment

    return is_terminal(stream) and not environment.no_colors()
