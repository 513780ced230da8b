"""Locks that only one process can hold: flock(2) on files next to the ledger.

The kernel releases a lock when its process ends for any reason, so no clock and no heartbeat is needed, and containers that
share the files but not their process ids see the same. A lock file of another user that may not be opened counts as locked.

Each process that runs exchanges holds a ProcessLock, which shows the others that it is alive. `exclusive` is for work that
only one process does at a time, and LockedState for such work with a state that the next process continues.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from aorch.ids import new_id
from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import cannot_write, translated_os
from aorch.process.forking import forget_in_child, no_fork

STATE_BYTES = 4000
"""The size of a LockedState: less than a page, so that no reader sees half of one."""
_OWNER_ID = re.compile("[0-9A-Z]{26}")


class FileLock:
    """The lock on `file`, held until `close`. `flags` are further flags for os.open, such as O_CREAT.

    A forked child does not hold it: it closes the inherited descriptor. Raises BlockingIOError if
    another process holds the lock, and OSError if the file cannot be opened.
    """

    def __init__(self, file: Path, flags: int = 0) -> None:
        with no_fork:
            try:
                mode = files.mode(file.parent, *files.FILE)
                self.descriptor = os.open(file, flags | os.O_RDWR | os.O_CLOEXEC, mode)
            except PermissionError as refused:  # another user's file: reading is enough to lock it
                try:
                    self.descriptor = os.open(file, flags & ~os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:  # it may not be created
                    raise refused from None
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(self.descriptor)
                raise
            forget_in_child(self)

    def close(self) -> None:
        """Release the lock; in a forked child, do nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    forget = close


class ProcessLock:
    """Shows that this process, under its `owner_id`, is alive, until `close`. Raises LedgerError."""

    is_undisputed, losses = True, 0
    """No other process can take this one for dead: they always see a lock on a file."""

    def __init__(self, ledger: Path) -> None:
        owners = files.beside(ledger, "owners")
        try:
            if not owners.is_dir():
                files.make_folder(owners)
            while True:
                self.owner_id = new_id()
                self._file = owners / self.owner_id
                with contextlib.suppress(BlockingIOError):
                    self._lock = FileLock(self._file, os.O_CREAT | os.O_EXCL)
                    if os.fstat(self._lock.descriptor).st_nlink:
                        break
                    self._lock.close()  # another process's sweep removed the file between its creation and its lock
        except OSError as error:
            raise cannot_write(error) from error
        names = ["copy"]
        with contextlib.suppress(OSError):  # the directory may not be listed: only the lock of a copy can be looked at
            names = os.listdir(owners)
        self.others = [name for name in names if _OWNER_ID.fullmatch(name) and name != self.owner_id]
        self.is_copied = "copy" in names and is_held(owners / "copy")

    def check(self) -> None:
        """Raise LedgerError if other processes cannot see now that this one is alive. They always see a lock on a file."""

    def close(self) -> None:
        """Release the lock: no exchange of this owner is open any more. In a forked child, do nothing."""
        if self._lock.descriptor >= 0:
            self._file.unlink(missing_ok=True)
            self._lock.close()


class LockedState:
    """A state of up to STATE_BYTES in a file next to the ledger, which any process can read and only the holder of its lock
    writes; the lock is held until `close`. The state is written without a sync: it survives the end of the process, but may
    be lost in a power failure. Raises BlockingIOError if another process holds the lock, and LedgerError.
    """

    def __init__(self, ledger: Path, name: str) -> None:
        self._file = files.beside(ledger, name)
        with translated_os():
            self._lock = FileLock(self._file, os.O_CREAT)

    @classmethod
    def peek(cls, ledger: Path, name: str) -> tuple[bytes, bool]:
        """The bytes that were written last (b"": none can be read), and whether a process holds the lock."""
        file, found = files.beside(ledger, name), b""
        with contextlib.suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                found = os.pread(descriptor, STATE_BYTES, 0)
            finally:
                os.close(descriptor)
        return found.rstrip(), is_held(file)

    @property
    def run_id(self) -> str:
        """An ID that changes when the machine restarts, and the last states may be lost. On macOS it also changes when the clock
        is set.
        """
        with contextlib.suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"started at {round((time.time() - time.monotonic()) / 10) * 10}"

    def read(self) -> bytes:
        """The bytes that the last holder wrote."""
        return os.pread(self._lock.descriptor, STATE_BYTES, 0).rstrip()

    def write(self, state: bytes) -> None:
        """Replace the stored bytes with `state`, which must not end in a space. Raises LedgerError."""
        with translated_os():
            try:
                os.pwrite(self._lock.descriptor, state.ljust(STATE_BYTES), 0)
            except OSError as error:
                error.filename = self._file
                raise

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()


@contextlib.contextmanager
def exclusive(ledger: Path, work: str) -> Iterator[bool]:
    """Run the block with True if no other process does `work` on that ledger; none can start it meanwhile.

    Raises LedgerError.
    """
    try:
        with translated_os():
            owners = files.beside(ledger, "owners")
            files.make_folder(owners)
            lock = FileLock(owners / work, os.O_CREAT)
    except BlockingIOError:
        yield False
        return
    with contextlib.closing(lock):
        yield True


def check_exclusive(ledger: Path, work: str) -> None:
    """Raise LedgerError if the lock of `exclusive`, in whose block the caller is, was lost. A lock on a file never is."""


def is_running(ledger: Path, work: str) -> bool:
    """Whether a process does `work` on that ledger under `exclusive`, checked without taking its lock."""
    return is_held(files.beside(ledger, "owners") / work)


@contextlib.contextmanager
def dead_owner(ledger: Path, owner_id: str) -> Iterator[bool]:
    """Whether that owner's process has ended. While the block runs, no other process gets True."""
    if not _OWNER_ID.fullmatch(owner_id):
        yield True
        return
    file = files.beside(ledger, "owners") / owner_id
    try:
        files.make_folder(file.parent)
        lock = FileLock(file, os.O_CREAT)
    except OSError:  # the lock is held, or its file may not be opened
        yield False
        return
    with contextlib.closing(lock):
        yield True
        with contextlib.suppress(
            PermissionError
        ):  # in a directory with the sticky bit, only the owner of the file can remove it
            file.unlink(missing_ok=True)


def is_alive(ledger: Path, owner_id: str) -> bool:
    """Whether that owner's process runs, checked without taking a lock."""
    return bool(_OWNER_ID.fullmatch(owner_id)) and is_held(files.beside(ledger, "owners") / owner_id)


def dead_owners(ledger: Path, owner_ids: Collection[str]) -> list[str]:
    """Those of `owner_ids` whose processes have ended, checked without taking a lock."""
    return [each for each in owner_ids if not is_alive(ledger, each)]


def process_ids(ledger: Path) -> list[int]:
    """The ids of the processes that hold the locks of owners. Linux tells only those that this process may see."""
    held = set()
    for owner_id in owner_ids(ledger):
        with contextlib.suppress(OSError):
            found = (files.beside(ledger, "owners") / owner_id).stat()
            held.add(f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}")
    with contextlib.suppress(OSError):
        locks = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        return sorted({int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5] in held and int(lock[4]) > 0})
    return []


def owner_ids(ledger: Path) -> list[str]:
    """The ids of all owners, alive or dead, that have not closed their lock; none if the directory cannot be read."""
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(files.beside(ledger, "owners")) if _OWNER_ID.fullmatch(name)]
    return []


def is_held(file: Path) -> bool:
    """Whether another process holds the lock on `file`. False if the file does not exist; True if it may not be opened."""
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
