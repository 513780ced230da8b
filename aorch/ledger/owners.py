"""Which processes live: each that runs exchanges holds a lock on a file of its own, beside the ledger.

The kernel lets go of a lock when its process ends, however it ends, so no clock and no heartbeat is asked, and containers
that share the file but not their process ids see the same.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from aorch.ledger.row import new_id

_ID = re.compile("[0-9A-Z]{26}")


class Owner:
    """This process as the owner of the exchanges that it runs, from here until `close`."""

    def __init__(self, ledger: Path) -> None:
        _folder(ledger).mkdir(exist_ok=True)
        self._descriptor = -1
        while self._descriptor < 0:  # until no sweep of another process came between making the file and locking it
            self.owner_id = new_id()
            self._file = _folder(ledger) / self.owner_id
            with contextlib.suppress(BlockingIOError):
                self._descriptor = _locked(self._file, os.O_CREAT | os.O_EXCL)
            if self._descriptor >= 0 and not _is_at(self._file, self._descriptor):
                os.close(self._descriptor)
                self._descriptor = -1

    def close(self) -> None:
        """Nothing of this owner's is open any more."""
        self._file.unlink(missing_ok=True)
        os.close(self._descriptor)


@contextlib.contextmanager
def only_one(ledger: Path, what: str) -> Iterator[bool]:
    """Whether this is the one process of all on that ledger that does `what` while the block runs."""
    _folder(ledger).mkdir(exist_ok=True)
    try:
        descriptor = _locked(_folder(ledger) / what, os.O_CREAT)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def if_dead(ledger: Path, owner_id: str) -> Iterator[bool]:
    """Whether that owner's process is gone; while the block runs, nobody else finds it dead as well."""
    if not _ID.fullmatch(owner_id):
        yield True
        return
    file = _folder(ledger) / owner_id
    try:
        file.parent.mkdir(exist_ok=True)
        descriptor = _locked(file, os.O_CREAT)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
        file.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def lives(ledger: Path, owner_id: str) -> bool:
    """Whether that owner's process is there, as far as a look without a lock of one's own tells."""
    if not _ID.fullmatch(owner_id):
        return False
    try:
        descriptor = os.open(_folder(ledger) / owner_id, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def left_behind(ledger: Path) -> list[str]:
    """The ids of all owners whose file is there, living or dead."""
    folder = _folder(ledger)
    return [name for name in os.listdir(folder) if _ID.fullmatch(name)] if folder.is_dir() else []


def _folder(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}-owners")


def _is_at(file: Path, descriptor: int) -> bool:
    """Whether the file at that path is still the one that was opened: a sweep may have removed, another made it anew."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _locked(file: Path, how: int) -> int:
    descriptor = os.open(file, os.O_RDWR | how, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
