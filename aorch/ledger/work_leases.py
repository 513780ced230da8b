"""Leases of workers that claim queued tasks over HTTP, without access to the ledger.

A worker opens a lease for `lease_s` seconds and renews it. Its claims have the id of the lease in `claimed_by`, where those of a
process have the id of its lock, so any server of the ledger can continue. Times are those of the database (LEDGER_TIME).

Claimed REQUESTs travel as a *delivery*. Until the worker has confirmed it, none of them has started: each claim delivers them
again, under a new id, and at the end of the lease they are queued again. Confirmed ones are then queued again if their capability
is idempotent, and otherwise end as `interrupted`. A lease that has ended never lives again: a late report under it is refused,
and the worker opens a new one. So a report always belongs to the claim under which it was made.

A lease counts until `end_leases` has deleted its row. engine/lease_judge.py decides when.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.clock import from_rfc3339, rfc3339
from aorch.errors import Conflict, Forbidden, LeaseLost
from aorch.ids import new_id
from aorch.ledger import task_queue
from aorch.ledger.attempt import Attempt
from aorch.ledger.database import Connection, statements
from aorch.ledger.record import Record
from aorch.ledger.task_queue import Capacity


class LeaseRow(NamedTuple):
    """A row of `work_leases`; see `WorkLease` in work_tables.py."""

    lease_id: str
    owner: str
    worker: str
    offer_id: str
    lease_s: float
    created_at: str
    ends_at: str
    delivery_id: str | None = None
    unconfirmed: str | None = None


class WaitingClaim(NamedTuple):
    """A claim of a worker for up to `limit` tasks within `capacities`. `shape` is equal for claims that find the same REQUESTs.
    `is_new`: it was not part of a `deliver` before. `has_left`, which any thread may call: the worker has closed its connection.
    """

    lease_id: str
    capacities: Sequence[Capacity]
    limit: int
    shape: str
    is_new: bool = True
    has_left: Callable[[], bool] = lambda: False


class Delivery(NamedTuple):
    """Claimed REQUESTs on their way to a worker, which confirms `delivery_id` before it starts any of them."""

    delivery_id: str
    requests: list[Record]


def ledger_time(connection: Connection) -> str:
    """The time by which leases are judged (RFC 3339)."""
    found: str = connection.execute(statements.LEDGER_TIME).fetchone()[0]
    return found


def open_lease(
    connection: Connection, owner: str, worker: str, lease_s: float, offer: Sequence[Mapping[str, Any]]
) -> LeaseRow:
    """Write a new lease of the token `owner`, with the agents that the worker offers (see `work_offers.py`)."""
    import hashlib  # noqa: PLC0415  10 ms, which `aorch run --detach` does not need

    document, moment = jsonio.encode(offer), ledger_time(connection)
    offer_id = hashlib.sha256(document.encode()).hexdigest()
    row = LeaseRow(
        task_queue.LEASE_PREFIX + new_id(), owner, worker, offer_id, lease_s, moment, _after(moment, lease_s)
    )
    connection.execute(statements.PUT_WORK_OFFER, (offer_id, document))
    connection.execute(statements.INSERT_WORK_LEASE, row)
    return row


def find(connection: Connection, lease_id: str, owner: str) -> LeaseRow:
    """That lease of the token `owner`. Raises LeaseLost, and Forbidden if it belongs to another token."""
    row = _find(connection, lease_id)
    if row is None:
        raise lease_lost(lease_id)
    if row.owner != owner:
        raise Forbidden(f"another token has opened the lease {lease_id}", "Send the token with which it was opened.")
    return row


def renew(connection: Connection, lease_id: str, owner: str, delivery_id: str | None) -> tuple[str, bool]:
    """Renew a lease, and confirm that the worker has received that delivery. Returns the new end of the lease, and whether the
    delivery is confirmed; if not, its REQUESTs were delivered again, and the worker must not start them.
    """
    row = find(connection, lease_id, owner)
    ends_at = _after(ledger_time(connection), row.lease_s)
    is_confirmed = delivery_id is not None and delivery_id == row.delivery_id
    if is_confirmed:
        connection.execute(statements.CONFIRM_WORK, (ends_at, lease_id))
    else:
        connection.execute(statements.RENEW_WORK_LEASE, (ends_at, lease_id))
    return ends_at, is_confirmed


def deliver(connection: Connection, claims: Sequence[WaitingClaim]) -> dict[str, Delivery | None]:
    """Claim REQUESTs for these workers, and deliver those again that a worker has not confirmed. Returns the deliveries by lease;
    None for a lease that has ended.

    If several workers wait, each gets one REQUEST before any gets two, and so on.
    """
    found: dict[str, Delivery | None] = {}
    waiting = []
    for claim in claims:
        if claim.is_new and not is_settled(connection, claim.lease_id):
            found[claim.lease_id] = _deliver_again(connection, claim.lease_id)
        else:
            waiting.append(claim)
    return found | _claim_in_turn(connection, waiting)


def is_settled(connection: Connection, lease_id: str) -> bool:
    """Whether that lease exists, and its worker has confirmed all deliveries."""
    row = _find(connection, lease_id)
    return row is not None and row.unconfirmed is None


def answer(connection: Connection, lease_id: str, owner: str, response: Record) -> str:
    """Write the RESPONSE that a worker reports, and return the status of its REQUEST. Repeating a report changes nothing.

    Raises LeaseLost if the lease does not claim the REQUEST (any more), and Conflict if another contract has the ID.
    """
    request_id = response.request_id or ""
    if not _is_claimed(connection, lease_id, owner, request_id):
        earlier = connection.execute(statements.RESPONSE_TO, (request_id,)).fetchone()
        if earlier is None or earlier[0] != response.contract_id:
            raise task_lost(request_id)
        return str(connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()[0])
    if connection.execute(statements.REQUEST_STATE, (response.contract_id,)).fetchone() is not None:
        raise Conflict(
            f"another contract has the ID {response.contract_id}", "Report the result with a new ULID as response_id."
        )
    connection.execute(statements.INSERT_CONTRACT, response)
    connection.execute(statements.WEBHOOK_IS_DUE, (response.created_at, request_id))
    connection.execute(statements.DELETE_PROGRESS, (request_id,))
    return task_queue.finish_by(connection, response)


def give_back(
    connection: Connection, lease_id: str, owner: str, request_id: str, *, called: bool, due_at: str | None
) -> None:
    """Queue a claimed REQUEST again or end it, as `task_queue.release_or_interrupt` does. Raises LeaseLost."""
    if not _is_claimed(connection, lease_id, owner, request_id):
        raise task_lost(request_id)
    lost = "the worker that ran this stopped"
    task_queue.release_or_interrupt(connection, request_id, called=called, due_at=due_at, lost=lost)


def note(
    connection: Connection,
    lease_id: str,
    owner: str,
    progress: Iterable[tuple[str, str, str]],
    attempts: Iterable[Attempt],
) -> None:
    """Write the progress (the REQUEST's id, a time, JSON text) and the attempts of tasks that the lease claims."""
    reported, made = list(progress), list(attempts)
    find(connection, lease_id, owner)
    ids = sorted({each[0] for each in reported} | {each.request_id for each in made})
    rows = connection.execute(statements.CLAIMED_CONTRACTS, (jsonio.encode(ids), lease_id)).fetchall()
    claimed = {row[0] for row in rows}
    connection.executemany(statements.PUT_PROGRESS, [each for each in reported if each[0] in claimed])
    connection.executemany(statements.PUT_ATTEMPT, [each for each in made if each.request_id in claimed])


def end_leases(connection: Connection, lease_ids: Iterable[str], moment: str | None = None) -> None:
    """End these leases: their REQUESTs are queued again if that is safe, otherwise they end as `interrupted`. With `moment`, only
    leases that have not been renewed since.
    """
    for lease_id in lease_ids:
        row = _find(connection, lease_id)
        if row is not None and moment is not None and row.ends_at > moment:
            continue
        unconfirmed = () if row is None else _ids_in(row)
        for (request_id,) in connection.execute(statements.CLAIMED_BY_OWNER, (lease_id,)).fetchall():
            lost = "the worker that ran this lost the connection to the server"
            called = request_id not in unconfirmed
            task_queue.release_or_interrupt(connection, request_id, called=called, lost=lost)
        connection.execute(statements.DELETE_WORK_LEASE, (lease_id,))
    connection.execute(statements.DELETE_UNUSED_OFFERS)


def take_back(connection: Connection, lease_id: str, delivery_id: str) -> None:
    """Queue the REQUESTs of that delivery again, unless the worker has confirmed it. A late confirmation is then refused."""
    row = _find(connection, lease_id)
    if row is not None and row.delivery_id == delivery_id:
        for request_id in _ids_in(row):
            task_queue.release_or_interrupt(connection, request_id, called=False)
        connection.execute(statements.DELIVER_WORK, (None, None, lease_id))


def ended(connection: Connection, moment: str) -> list[tuple[str, float]]:
    """The leases that were not renewed in time, with their `lease_s`."""
    return [tuple(row) for row in connection.execute(statements.ENDED_WORK_LEASES, (moment,)).fetchall()]


def orphans(connection: Connection) -> list[str]:
    """The leases without a row that still claim REQUESTs: another program has deleted the row."""
    owners = [owner_id for (owner_id,) in connection.execute(statements.CLAIM_OWNERS) if task_queue.is_lease(owner_id)]
    return [each for each in owners if _find(connection, each) is None]


def lease_lost(lease_id: str) -> LeaseLost:
    """The error for a lease that has ended."""
    return LeaseLost(
        f"the lease {lease_id} has ended: its tasks were queued again, or ended as interrupted",
        "Open a new lease with POST /v1/work/leases.",
    )


def task_lost(request_id: str) -> LeaseLost:
    """The error for a report about a REQUEST that the lease does not claim any more."""
    return LeaseLost(
        f"the report about {request_id} was refused: this lease does not have the task any more",
        "It was queued again or has ended: see GET /v1/tasks/ID.",
    )


def _find(connection: Connection, lease_id: str) -> LeaseRow | None:
    found = connection.execute(statements.WORK_LEASE, (lease_id,)).fetchone()
    return None if found is None else LeaseRow(*found)


def _is_claimed(connection: Connection, lease_id: str, owner: str, request_id: str) -> bool:
    """Whether that lease claims the REQUEST. Raises Forbidden if it belongs to another token."""
    row = _find(connection, lease_id)
    if row is not None and row.owner != owner:
        find(connection, lease_id, owner)
    state = connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()
    return row is not None and state is not None and state[3] == lease_id


def _after(moment: str, seconds: float) -> str:
    return rfc3339(from_rfc3339(moment) + timedelta(seconds=seconds))


def _ids_in(row: LeaseRow) -> list[str]:
    found: list[str] = [] if row.unconfirmed is None else jsonio.decode(row.unconfirmed)
    return found


def _delivery(connection: Connection, lease_id: str, requests: list[Record]) -> Delivery:
    delivery = Delivery(new_id(), requests)
    ids = jsonio.encode([each.contract_id for each in requests])
    connection.execute(statements.DELIVER_WORK, (delivery.delivery_id, ids, lease_id))
    return delivery


def _deliver_again(connection: Connection, lease_id: str) -> Delivery | None:
    """The unconfirmed REQUESTs of that lease in a new delivery; None if the lease has ended."""
    row = _find(connection, lease_id)
    if row is None:
        return None
    rows = connection.execute(statements.CLAIMED_CONTRACTS, (row.unconfirmed, lease_id)).fetchall()
    return _delivery(connection, lease_id, [Record(*each) for each in rows])


def _claim_in_turn(connection: Connection, claims: Sequence[WaitingClaim]) -> dict[str, Delivery | None]:
    """Claims one REQUEST for each worker, then two, and so on. Leases are looked up only when there is something to claim."""
    found: dict[str, Delivery | None] = {}
    claimed: dict[str, list[Record]] = {}
    exhausted: set[str] = set()
    required, share, waiting = task_queue.prepare(connection), 1 if len(claims) > 1 else None, list(claims)
    while waiting:
        several, waiting = waiting, []
        for claim in several:
            if not claim.shape or claim.shape in exhausted or claim.has_left():
                continue
            if claim.lease_id not in claimed and not is_settled(
                connection, claim.lease_id
            ):  # another server was faster
                found[claim.lease_id] = _deliver_again(connection, claim.lease_id)
                continue
            limit = claim.limit if share is None else min(share, claim.limit)
            new = task_queue.claim_first(connection, claim.lease_id, claim.capacities, limit, required)
            if not new:
                exhausted.add(claim.shape)
                continue
            claimed.setdefault(claim.lease_id, []).extend(new)
            if claim.limit > len(new):
                left = _without(claim.capacities, new)
                waiting.append(claim._replace(capacities=left, limit=claim.limit - len(new), shape=shape_of(left)))
        share = share and share * 2
    return found | {lease_id: _delivery(connection, lease_id, requests) for lease_id, requests in claimed.items()}


def shape_of(capacities: Sequence[Capacity]) -> str:
    """A text that is equal for claims that find the same REQUESTs; empty if they find none."""
    parts = [
        (each.capability, sorted(each.of_agents), sorted(each.labels.items())) for each in capacities if each.of_agents
    ]
    return repr(parts) if parts else ""


def _without(capacities: Sequence[Capacity], taken: Sequence[Record]) -> list[Capacity]:
    """What is left of these capacities once those REQUESTs run. An agent with several capabilities has one number of slots."""
    by_agent = Counter(each.to_agent for each in taken)
    by_capability = Counter(each.capability for each in taken)
    left = []
    for each in capacities:
        free = each.free - by_capability[each.capability]
        of_agents = {name: count - by_agent[name] for name, count in each.of_agents.items() if count > by_agent[name]}
        if free > 0 and of_agents:
            running = {name: count + by_agent[name] for name, count in each.running.items()}
            left.append(each._replace(free=free, of_agents=of_agents, running=running))
    return left
