"""The lease on Trace: a lock that only one of the processes that share a ledger holds, and the state that its holder leaves.

Trace handles one request at a time, so only the holder of the lock on the file `LEDGER-trace` sends requests to it. The kernel
releases the lock when the process ends for any reason, without a clock or a heartbeat. The file contains a DeliveryState. The
holder writes it before and after each request, without a sync: it survives `kill -9`, and its `boot_id` shows whether the
machine was restarted since. A ledger on PostgreSQL has a lock and a row instead of the file, and its server the restarts.
"""

import time

import msgspec

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import ServiceUnreachable
from aorch.ledger.database import LockedState
from aorch.trace.delivery_state import DeliveryState

_NAME = "trace"
LONGEST_ERROR = 400
"""Maximum length of an error in the state."""
LONGEST_WAIT_S = 10.0
"""How long a command waits for the lease. Its holder releases it every few seconds, unless Trace hangs."""
POLL_S = 0.005
"""How often a process tries to acquire the lease while it waits. Between two rounds the lease is free for 0.03 s."""
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(DeliveryState).decode


class Lease:
    """The lease, held by this process until `close` or until the process ends."""

    def __init__(self, locked: LockedState) -> None:
        self._locked = locked

    def read(self) -> DeliveryState:
        """The state that the last holder left; a new one if there is none."""
        return _decoded(self._locked.read())

    @property
    def run_id(self) -> str:
        """An ID that changes when the last states may have been lost."""
        return self._locked.run_id

    def write(self, state: DeliveryState) -> None:
        """Store `state` for `peek` and for the next holder. Raises LedgerError."""
        state.error = state.error[:LONGEST_ERROR]
        self._locked.write(_encode(state))

    def close(self) -> None:
        """Release the lease."""
        self._locked.close()


def acquire(ledger: LedgerLocation) -> Lease | None:
    """The lease, or None while another process holds it. Raises LedgerError if its file cannot be created."""
    try:
        return Lease(LockedState(ledger, _NAME))
    except BlockingIOError:
        return None


def peek(ledger: LedgerLocation) -> tuple[DeliveryState, bool]:
    """The last stored state, and whether a process holds the lease. Writes nothing."""
    state, is_held = LockedState.peek(ledger, _NAME)
    return _decoded(state), is_held


def held_by_another(ledger: LedgerLocation) -> ServiceUnreachable:
    """The error for a caller that did not get the lease; it names the process that holds it."""
    state, _ = peek(ledger)
    started_at = state.request_started_at
    waiting = "" if started_at is None else f" and has waited {time.time() - started_at:.0f} s for its answer"
    return ServiceUnreachable(
        f"process {state.pid} is using Trace{waiting}; only one process can",
        "Try again later. `aorch trace status` shows the progress of that process.",
    )


def _decoded(state: bytes) -> DeliveryState:
    try:
        return _decode(state)
    except msgspec.MsgspecError:
        return DeliveryState()
