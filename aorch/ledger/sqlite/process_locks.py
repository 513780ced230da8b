"""Which processes live: each that runs exchanges holds a lock on a file of its own, beside the ledger.

The kernel lets go of a lock when its process ends, however it ends, so no clock and no heartbeat is asked, and containers
that share the file but not their process ids see the same. A lock that may not be looked at is one of another user: its
process counts as living.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from aorch.ids import new_id
from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import translated_os
from aorch.ledger.sqlite.locks import FileLock, is_held

_ID = re.compile("[0-9A-Z]{26}")


class Owner:
    """This process as the owner of the exchanges that it runs, from here until `close`. Raises LedgerError."""

    def __init__(self, ledger: Path) -> None:
        with translated_os():
            files.make_folder(_folder(ledger))
        while True:
            self.owner_id = new_id()
            self._file = _folder(ledger) / self.owner_id
            with contextlib.suppress(BlockingIOError), translated_os():
                self._lock = FileLock(self._file, os.O_CREAT | os.O_EXCL)
                if self._lock.is_on(self._file):
                    return
                self._lock.close()  # a sweep of another process came between making the file and locking it

    def close(self) -> None:
        """Nothing of this owner's is open any more. In a forked child the owner is the parent, and this does nothing."""
        if self._lock.descriptor >= 0:
            self._file.unlink(missing_ok=True)
            self._lock.close()


@contextlib.contextmanager
def only_one(ledger: Path, what: str) -> Iterator[bool]:
    """Whether this is the one process of all on that ledger that does `what` while the block runs. Raises LedgerError."""
    try:
        with translated_os():
            files.make_folder(_folder(ledger))
            lock = FileLock(_folder(ledger) / what, os.O_CREAT)
    except BlockingIOError:
        yield False
        return
    with contextlib.closing(lock):
        yield True


@contextlib.contextmanager
def if_dead(ledger: Path, owner_id: str) -> Iterator[bool]:
    """Whether that owner's process is gone; while the block runs, nobody else finds it dead as well."""
    if not _ID.fullmatch(owner_id):
        yield True
        return
    file = _folder(ledger) / owner_id
    try:
        files.make_folder(file.parent)
        lock = FileLock(file, os.O_CREAT)
    except OSError:  # held, or it may not be looked at
        yield False
        return
    with contextlib.closing(lock):
        yield True
        with contextlib.suppress(PermissionError):  # in a folder with the sticky bit it is another user's to remove
            file.unlink(missing_ok=True)


def lives(ledger: Path, owner_id: str) -> bool:
    """Whether that owner's process is there, as far as a look without a lock of one's own tells."""
    return bool(_ID.fullmatch(owner_id)) and is_held(_folder(ledger) / owner_id)


def left_behind(ledger: Path) -> list[str]:
    """The ids of all owners whose file is there, living or dead; none where the folder may not be looked into."""
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(_folder(ledger)) if _ID.fullmatch(name)]
    return []


def _folder(ledger: Path) -> Path:
    return files.beside(ledger, "owners")
