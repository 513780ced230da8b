"""The lease on Trace: which process of those that share a ledger speaks with it, and how far that one has come.

Trace must have one request in flight, so whoever speaks with it holds a lock on the file `LEDGER-trace`. The kernel lets go
of the lock when its process ends, however it ends: no clock, no heartbeat. In the file stands a State, written before and
after each request without a sync: it survives `kill -9`, and a machine that starts anew is told by its `boot`.
"""

import contextlib
import os
import time
from pathlib import Path

import msgspec

from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import translated_os
from aorch.ledger.sqlite.locks import FileLock, is_held

_SIZE = 4000
"""Bytes of the file: less than a page, so that no reader sees half a State."""
LONGEST_ERROR = 400
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder


class State(msgspec.Struct):
    """How far deliveries have come, in places (see `core/provenance.py`), and how it goes.

    Up to `sure` each was answered as it should be; after it, up to `sent`, may be what arrived all the same; up to `proven`
    Trace was seen afterwards to give each answer to its own request, and where it was seen not to, `sure` falls back to that
    and `answered` is where it was.
    `contract_id` is that of the contract of `sure`: a State beside another ledger is none. `asked_at` (seconds of the epoch)
    is when a request began whose answer is awaited, or was by a process that ended. `tries`: how often the delivery after `sure`
    failed while Trace took others. After `failures` in a row, the last of
    them `error` at `error_at`, nothing is due before `next_at` (seconds of the epoch).
    """

    pid: int = 0
    boot: str = ""
    contract_id: str = ""
    proven: int = 1
    sure: int = 1
    sent: int = 1
    answered: int = 0
    asked_at: float | None = None
    tries: int = 0
    failures: int = 0
    next_at: float = 0.0
    error: str = ""
    error_at: str = ""


class Lease:
    """Held by this process until `close`, or until it ends."""

    def __init__(self, ledger: Path, lock: FileLock) -> None:
        self._ledger, self._lock = ledger, lock

    def read(self) -> State:
        """What the last holder left."""
        return _read(self._lock.descriptor)

    def write(self, state: State) -> None:
        """Leave `state` for whoever looks, and for the next holder. Raises LedgerError."""
        state.error = state.error[:LONGEST_ERROR]
        with translated_os():
            try:
                os.pwrite(self._lock.descriptor, _encode(state).ljust(_SIZE), 0)
            except OSError as error:
                error.filename = _file(self._ledger)
                raise

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()


def take(ledger: Path) -> Lease | None:
    """The lease, where no other process holds it. Raises LedgerError where its file cannot be made."""
    with translated_os():
        try:
            return Lease(ledger, FileLock(_file(ledger), os.O_CREAT))
        except BlockingIOError:
            return None


def look(ledger: Path) -> tuple[State, bool]:
    """What stands in the file now, and whether somebody holds the lease. Nothing is written."""
    file, state = _file(ledger), State()
    with contextlib.suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            state = _read(descriptor)
        finally:
            os.close(descriptor)
    return state, is_held(file)


def boot() -> str:
    """What names the time since this machine started. Where it differs without need (macOS, its clock set), more is looked
    for in Trace than need be, and that is all.
    """
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"started at {round((time.time() - time.monotonic()) / 10) * 10}"


def _file(ledger: Path) -> Path:
    return files.beside(ledger, "trace")


def _read(descriptor: int) -> State:
    try:
        return _decode(State).decode(os.pread(descriptor, _SIZE, 0))
    except msgspec.MsgspecError:
        return State()
