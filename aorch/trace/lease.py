"""The lease on Trace: a lock that only one of the processes that share a ledger holds, and the state that its holder leaves.

Trace handles one request at a time, so only the holder of the lock on the file `LEDGER-trace` sends requests to it. The kernel
releases the lock when the process ends for any reason, without a clock or a heartbeat. The file contains a DeliveryState. The
holder writes it before and after each request, without a sync: it survives `kill -9`, and its `boot_id` shows whether the
machine was restarted since.
"""

import contextlib
import os
import time
from pathlib import Path

import msgspec

from aorch.errors import ServiceUnreachable
from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import translated_os
from aorch.ledger.sqlite.locks import FileLock, is_held
from aorch.trace.delivery_state import DeliveryState

_SIZE = 4000
"""Bytes of the file: less than a page, so that no reader sees half a state."""
LONGEST_ERROR = 400
"""Characters of an error that the state keeps."""
POLL_S = 0.005
"""How often a process tries to acquire the lease while it waits. Between two rounds the lease is free for 0.03 s."""
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(DeliveryState).decode


class Lease:
    """The lease, held by this process until `close` or until the process ends."""

    def __init__(self, ledger: Path, lock: FileLock) -> None:
        self._ledger, self._lock = ledger, lock

    def read(self) -> DeliveryState:
        """The state that the last holder left; a new one if the file holds none."""
        return _read(self._lock.descriptor)

    def write(self, state: DeliveryState) -> None:
        """Leave `state` for `peek` and for the next holder. Raises LedgerError."""
        state.error = state.error[:LONGEST_ERROR]
        with translated_os():
            try:
                os.pwrite(self._lock.descriptor, _encode(state).ljust(_SIZE), 0)
            except OSError as error:
                error.filename = _file(self._ledger)
                raise

    def close(self) -> None:
        """Release the lease."""
        self._lock.close()


def acquire(ledger: Path) -> Lease | None:
    """The lease, or None while another process holds it. Raises LedgerError if its file cannot be created."""
    with translated_os():
        try:
            return Lease(ledger, FileLock(_file(ledger), os.O_CREAT))
        except BlockingIOError:
            return None


def peek(ledger: Path) -> tuple[DeliveryState, bool]:
    """The state in the file, and whether a process holds the lease. Writes nothing."""
    file, state = _file(ledger), DeliveryState()
    with contextlib.suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            state = _read(descriptor)
        finally:
            os.close(descriptor)
    return state, is_held(file)


def held_by_another(ledger: Path) -> ServiceUnreachable:
    """The error for a caller that waited in vain for the lease; it names the process that holds it."""
    state, _ = peek(ledger)
    started_at = state.request_started_at
    waiting = "" if started_at is None else f" and has waited {time.time() - started_at:.0f} s for its answer"
    return ServiceUnreachable(
        f"process {state.pid} is using Trace{waiting}; only one process can",
        "Try again later. `aorch trace status` shows what that process does.",
    )


def _file(ledger: Path) -> Path:
    return files.beside(ledger, "trace")


def _read(descriptor: int) -> DeliveryState:
    try:
        return _decode(os.pread(descriptor, _SIZE, 0))
    except msgspec.MsgspecError:
        return DeliveryState()
