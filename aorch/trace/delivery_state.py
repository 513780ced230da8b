"""The progress of the deliveries to Trace. The delivering process keeps it in the lease file.

A contract has up to two steps, which are numbered in the order of delivery (see payload.py): 2 · position is its event, and
2 · position + 1 is the provenance node of a REQUEST. A contract is done at 2 · position + 1, whether it has a node or not.
A table in delivery.py shows how the step numbers below change.
"""

import contextlib
import time
from pathlib import Path

import msgspec

from aorch.ledger.outbox import Outbox


class DeliveryState(msgspec.Struct):
    """The progress of deliveries, as step numbers, and the state of the last requests.

    `verified`: Trace gave each answer to its own request after it had answered the steps up to this one.
    `acknowledged`: Trace answered the steps up to this one, or they were parked.
    `sent`: requests for the steps up to this one may have reached Trace.
    `once_acknowledged`: where `acknowledged` was before Trace mixed up answers; otherwise 0.
    `contract_id`: the contract of the step `acknowledged`; it shows whether the state belongs to this ledger.
    `boot_id`: the start of the machine during which the state was written.
    `request_started_at`: when the request began whose answer is still awaited (seconds since the epoch), also by a process
    that has ended since.
    `tries`: how often the step after `acknowledged` failed while Trace accepted others.
    `failures`: failed rounds in a row. `error` (at `error_at`, RFC 3339) is the last one, and the next round is due at
    `retry_at` (seconds since the epoch).
    """

    pid: int = 0
    boot_id: str = ""
    contract_id: str = ""
    verified: int = 1
    acknowledged: int = 1
    sent: int = 1
    once_acknowledged: int = 0
    request_started_at: float | None = None
    tries: int = 0
    failures: int = 0
    retry_at: float = 0.0
    error: str = ""
    error_at: str = ""


def load_state(outbox: Outbox, saved: DeliveryState) -> DeliveryState:
    """The state to continue from: `saved`, or the outbox's position if `saved` belongs to another ledger or machine start.

    After a restart of the machine, the last writes to the lease file may be lost. Then all steps up to the outbox's `reach`
    count as sent.
    """
    position, reach = outbox.reached()
    belongs_here = (outbox.contract_id(saved.acknowledged // 2) or "") == saved.contract_id
    if not (belongs_here and saved.boot_id and saved.boot_id == boot_id()):
        saved.verified = saved.acknowledged = 0
        saved.sent = 2 * reach + 1
        saved.boot_id, saved.once_acknowledged, saved.tries = boot_id(), 0, 0
    committed = 2 * position + 1
    if saved.acknowledged <= committed:
        saved.contract_id = outbox.contract_id(position) or ""
        saved.acknowledged = committed
    saved.verified, saved.sent = max(saved.verified, committed), max(saved.sent, saved.acknowledged)
    return saved


def boot_id() -> str:
    """An ID that changes when the machine restarts. On macOS it also changes when the clock is set; aorch then looks up
    more deliveries in Trace than necessary.
    """
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"started at {round((time.time() - time.monotonic()) / 10) * 10}"
