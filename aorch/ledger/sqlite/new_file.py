"""A file that appears under its name only once it is complete: it is written next to it, synced, and renamed."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aorch.errors import Conflict, LedgerBusy, UsageError
from aorch.ledger.sqlite.connection import translated_os
from aorch.ledger.sqlite.locks import FileLock

_DATABASE = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")
_PARTIAL = ".partial"
PRIVATE = 0o600


@contextmanager
def new_file(target: Path, mode: int = PRIVATE) -> Iterator[Path]:
    """The path `.NAME.partial` of an empty file that gets the name `target` with `put_in_place`; otherwise it is removed.

    What a killed process left there is removed first. Raises UsageError without its directory, LedgerBusy if another
    process is writing it, and LedgerError.
    """
    if not target.parent.is_dir():
        raise UsageError(
            f"cannot write {target}: there is no directory {target.parent}", "Create it, or choose another file."
        )
    partial = target.with_name(f".{target.name}{_PARTIAL}")
    try:
        with translated_os():
            lock = _locked(partial)
    except BlockingIOError:
        raise LedgerBusy(f"another process is writing {target}", "Wait until it has finished.") from None
    try:
        os.ftruncate(lock.descriptor, 0)
        os.fchmod(lock.descriptor, mode)
        _remove_beside(partial)
        yield partial
    finally:
        if _is_same(lock, partial):
            partial.unlink()
        _remove_beside(partial)
        lock.close()


def is_partial(file: Path) -> bool:
    """Whether `file` is a database that `new_file` has not given its name yet: it is being written, or its process was killed."""
    if not (file.name.startswith(".") and file.name.endswith(_PARTIAL)):
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(len(_DATABASE)) == _DATABASE
    except OSError:
        return False


def put_in_place(partial: Path, target: Path, *, replace: bool) -> None:
    """Give the complete file its name, durably. Raises Conflict if `target` exists, unless it is to `replace` it."""
    with translated_os():
        for path, flags in ((partial, os.O_RDONLY), (partial.parent, os.O_DIRECTORY)):
            _sync(path, flags)
        if replace:
            partial.replace(target)
        else:
            _link(partial, target)
        _sync(target.parent, os.O_DIRECTORY)


def exists_already(target: Path) -> Conflict:
    """The error for a file that would be replaced."""
    return Conflict(f"{target} exists already", "Pass --force to replace it, or choose another file.")


def _link(partial: Path, target: Path) -> None:
    """A link, unlike a rename, never replaces a file that another process has created meanwhile."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise exists_already(target) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):  # this file system has no links
            raise
        if target.exists():
            raise exists_already(target) from None
        partial.rename(target)
    else:
        partial.unlink()


def _locked(partial: Path) -> FileLock:
    while True:
        lock = FileLock(partial, os.O_CREAT | os.O_NOFOLLOW)
        if not stat.S_ISREG(os.fstat(lock.descriptor).st_mode):
            lock.close()
            raise OSError(errno.EINVAL, "it is no regular file", str(partial))
        if _is_same(lock, partial):
            return lock
        lock.close()  # another process has just given it its name


def _is_same(lock: FileLock, file: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        found, held = file.lstat(), os.fstat(lock.descriptor)
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)
    return False


def _remove_beside(partial: Path) -> None:
    for suffix in _BESIDE:
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
