"""The progress of the deliveries to Trace. The delivering process keeps it in the lease file.

A contract has up to two steps, which are numbered in the order of delivery (see payload.py): 2 · position is its event, and
2 · position + 1 is the provenance node of a REQUEST. A contract is done at 2 · position + 1, whether it has a node or not.
A table in delivery.py shows how the step numbers below change.
"""

import msgspec

from aorch.ledger.outbox import Outbox


class DeliveryState(msgspec.Struct):
    """The progress of deliveries, as step numbers, and the state of the last requests.

    `verified`: Trace gave each answer to its own request after it had answered the steps up to this one.
    `acknowledged`: Trace answered the steps up to this one, or they were parked.
    `sent`: requests for the steps up to this one may have reached Trace.
    `once_acknowledged`: where `acknowledged` was before Trace mixed up answers; otherwise 0.
    `contract_id`: the contract of the step `acknowledged`; it shows whether the state belongs to this ledger.
    `boot_id`: `Lease.run_id` when the state was written.
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


def load_state(outbox: Outbox, saved: DeliveryState, run_id: str) -> DeliveryState:
    """The state to continue from: `saved`, or the outbox's position if `saved` belongs to another ledger or another `run_id`.

    Then the last writes of the state may be lost, and all steps up to the outbox's `reach` count as sent.
    """
    position, reach = outbox.reached()
    belongs_here = (outbox.contract_id(saved.acknowledged // 2) or "") == saved.contract_id
    if not (belongs_here and saved.boot_id and saved.boot_id == run_id):
        saved.verified = saved.acknowledged = 0
        saved.sent = 2 * reach + 1
        saved.boot_id, saved.once_acknowledged, saved.tries = run_id, 0, 0
    committed = 2 * position + 1
    if saved.acknowledged <= committed:
        saved.contract_id = outbox.contract_id(position) or ""
        saved.acknowledged = committed
    saved.verified, saved.sent = max(saved.verified, committed), max(saved.sent, saved.acknowledged)
    return saved
