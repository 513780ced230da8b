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
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AorchError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace(file: Path, data: bytes) -> None:
    """Replace the file in one step: a reader sees the old or the new text, and a killed process leaves one of the two."""
    unfinished = file.with_name(f".aorch-{os.getpid()}{file.suffix}")
    try:
        unfinished.unlink(missing_ok=True)  # left by a process that was killed
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as new:  # noqa: PTH123  umask applies
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
            with suppress(FileNotFoundError):
                _copy_mode(file.stat(), new.fileno())
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise AorchError(f"cannot write {file}: {error.strerror}") from error


def _copy_mode(old: os.stat_result, descriptor: int) -> None:
    """Owner first, since a change of owner clears bits of the mode; only root may change it."""
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o7777)
