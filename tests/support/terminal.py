"""A terminal in tests: what a person sees there."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator

from homes import Home

UNKIND = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e[bold red]\r\n\ttab"
"""Text that would clear the screen, rename the window, set colours, reverse the direction or break the line."""


def at_terminal(home: Home, *arguments: str, columns: int = 100, code: int = 0, **environment: str) -> str:
    """What `aorch` shows at a terminal of so many columns, where it exits with that code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    home = Home(home.folder, {**home.environment, "TERM": "xterm-256color", **environment})
    process = home.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b"".join(_read(ours))
    os.close(ours)
    assert process.wait(timeout=60) == code, shown
    return shown.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # what Linux says where the last writer is gone
            return
        if not data:
            return
        yield data


def plain(shown: str) -> str:
    """Without the colours that we give ourselves."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)
