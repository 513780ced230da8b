"""Prints through a pager, as `git log` does."""

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aorch.cli.render.console import write_stdout
from aorch.cli.streams import is_terminal, stdout
from aorch.config import environment

_NONE = ("", "cat")


def pager_command() -> list[str]:
    """The words of the pager's command; empty if standard output is no terminal or no pager is wanted."""
    if not is_terminal(stdout()) or environment.get(environment.TERM) == "dumb":
        return []
    given = environment.get(environment.PAGER)
    command = "less" if given is None else given.strip()
    try:
        return [] if command in _NONE else shlex.split(command)
    except ValueError:  # an unclosed quotation mark
        return []


@contextmanager
def paged(command: list[str]) -> Iterator[Callable[[str], None]]:
    """A function that prints text, through the pager with that `command`; without one, or if it cannot start, on stdout.

    If the user quits the pager or presses Ctrl-C, the block ends without an error, and the command goes on after the pager.
    """
    process = _started(command)
    if process is None:
        yield write_stdout
        return
    assert process.stdin is not None
    pipe = process.stdin

    def write(text: str) -> None:
        pipe.write(text.encode("utf-8", "replace"))
        pipe.flush()

    try:
        yield write
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        with suppress(BrokenPipeError):
            pipe.close()
        while process.returncode is None:
            with suppress(KeyboardInterrupt):  # the pager handles it
                process.wait()


def _started(command: list[str]) -> "subprocess.Popen[bytes] | None":
    if not command:
        return None
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment.of_pager())
    except OSError:
        return None
