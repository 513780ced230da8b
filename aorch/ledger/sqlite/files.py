"""The files of a ledger: the file that a path refers to, the files next to it, and who may use them.

A ledger is the resolved path of its file: through a symlink it is the same ledger, with the same locks.
A file in a private directory is for its owner only (0600, directories 0700). In a directory that is shared with a group
(setgid, or writable by its group), the group may use it too, as far as the umask allows.
"""

import contextlib
import os
import stat
import threading
from pathlib import Path

from aorch.config.config_file import reason_of
from aorch.errors import LedgerError

FILE, FOLDER = (0o600, 0o660), (0o700, 0o770)
"""The modes of files and directories: private, and shared with a group."""
_making = threading.Lock()


def resolved(ledger: Path) -> Path:
    """The path of the file itself, with all symlinks resolved, as far as its directories may be read."""
    return Path(os.path.realpath(ledger))


def beside(ledger: Path, what: str) -> Path:
    """The path of the file `LEDGER-what` next to the ledger."""
    return Path(f"{os.path.realpath(ledger)}-{what}")


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents that do not exist. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode(folder.parent, *FOLDER))


def make_ledger(ledger: Path) -> None:
    """Create an empty file for the ledger unless it exists, because any user may read a file that SQLite creates.

    Raises OSError.
    """
    file = resolved(ledger)
    # The lock is for threads that open the same new ledger: closing a descriptor of a file drops SQLite's locks on it.
    with _making, contextlib.suppress(FileExistsError):
        if not file.exists():
            make_folder(file.parent)
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode(file.parent, *FILE)))


def exists(ledger: Path) -> bool:
    """Whether the file exists. Raises LedgerError if that cannot be determined."""
    try:
        ledger.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise LedgerError(
            f"cannot open the ledger {ledger}: {reason_of(error)}", "Choose another file with --ledger or AORCH_LEDGER."
        ) from error
    return True


def is_same(ledger: Path, other: Path) -> bool:
    """Whether `other` is the file of the ledger. Raises OSError."""
    return other.exists() and ledger.exists() and other.samefile(ledger)


def can_be_created(ledger: Path) -> bool:
    """Whether the permissions allow this user to create the file and its directories."""
    folder = resolved(ledger).parent
    while not os.path.lexists(folder):
        folder = folder.parent
    is_folder = os.path.isdir(folder)  # noqa: PTH112  Path.is_dir raises where it may not look
    return is_folder and os.access(folder, os.W_OK | os.X_OK)


def may_write(ledger: Path) -> bool:
    """Whether the permissions allow this user to write the file."""
    return os.access(ledger, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def holds_something(file: Path) -> bool:
    """Whether the file exists and is not empty."""
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


def state(ledger: Path) -> object:
    """A value that changes with each write to the ledger: size and time of its file and of its write-ahead log."""
    found: list[tuple[int, int] | None] = []
    for file in (ledger, beside(ledger, "wal")):
        try:
            about = file.stat()
            found.append((about.st_mtime_ns, about.st_size))
        except OSError:
            found.append(None)
    return found


def mode(folder: Path, private: int, shared: int) -> int:
    """The mode (FILE or FOLDER) for something new in `folder`; the umask still applies."""
    found = folder.stat().st_mode
    for_all = (
        found & stat.S_ISVTX and found & stat.S_IWOTH
    )  # like /tmp: users do not share the files that they create there
    return shared if found & (stat.S_ISGID | stat.S_IWGRP) and not for_all else private
