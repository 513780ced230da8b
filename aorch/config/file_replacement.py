"""Atomic replacement of files next to aorch.toml that several processes change, under a lock."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aorch.errors import AorchError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time changes files in `folder`. The directory itself is locked, so that no lock file remains."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AorchError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace(file: Path, data: bytes, *, is_private: bool = False) -> None:
    """Replace the file in one step: a reader sees the old or the new text, and a killed process leaves one of the two.

    The mode and the owner remain, from the first byte on. A new file has the mode of the umask, or 0600 if it `is_private`.
    """
    unfinished = file.with_name(f".aorch-{os.getpid()}{file.suffix}")
    try:
        unfinished.unlink(missing_ok=True)  # left by a process that was killed
        mode = 0o600 if is_private or file.exists() else 0o666
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(unfinished, flags, mode), "wb") as new:  # noqa: PTH123  umask applies
            with suppress(FileNotFoundError):
                _copy_mode(file.stat(), new.fileno())
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise AorchError(f"cannot write {file}: {error.strerror}") from error


def _copy_mode(old: os.stat_result, descriptor: int) -> None:
    """Owner first, since a change of owner clears bits of the mode; only root may change it."""
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o7777)
