"""A lock that one process of all holds: flock(2) on a file, which the kernel releases when the process ends."""

import contextlib
import fcntl
import os
from pathlib import Path

from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.forking import forget_in_child, no_fork


class FileLock:
    """The lock on `file`, held from here until `close`. `flags` are further ones for os.open, such as O_CREAT.

    A forked child does not hold it, though the kernel gives it the descriptor: the child closes that. Raises
    BlockingIOError where another process holds the lock, and OSError where the file cannot be opened.
    """

    def __init__(self, file: Path, flags: int = 0) -> None:
        with no_fork:
            self.descriptor = _open(file, flags | os.O_CLOEXEC)
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(self.descriptor)
                raise
            forget_in_child(self)

    def close(self) -> None:
        """Let go of it; in a forked child, do nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    forget = close

    def is_on(self, file: Path) -> bool:
        """Whether the file at that path is still the one that is locked: another process may have removed it."""
        try:
            return os.path.samestat(file.stat(), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False


def is_held(file: Path) -> bool:
    """Whether another process holds the lock on `file`, as a look tells that takes no lock of its own for long.

    A file that may not be looked at counts as locked, and one that does not exist as not.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(file: Path, flags: int) -> int:
    with contextlib.suppress(PermissionError):
        return os.open(file, flags | os.O_RDWR, files.file_mode(file.parent))
    return os.open(file, flags & ~os.O_CREAT | os.O_RDONLY)  # another user's: reading is enough to lock it
