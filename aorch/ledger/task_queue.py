"""The queue: REQUESTs in status `pending` that no process has claimed. Every function needs a transaction of its caller.

Order: the lowest `priority` (1 to 5) goes first, within a priority the lowest `turn`, within a turn the oldest REQUEST. A
REQUEST gets a turn after that of its session's last queued REQUEST, and after the last claimed turn. So sessions alternate:
one with 100,000 REQUESTs does not delay a later session that has a single one, and neither does a session that adds its
next REQUEST whenever the last one starts. This is start-time fair queueing (Goyal, Vin and Cheng, 1996); its only state is
that clock.

A claim consists of `claimed_by` and the lock that its owner holds while it is alive (database.ProcessLock), so it does not
depend on a clock. (A worker over HTTP has a lease instead: work_leases.py.) If the owner dies, the REQUEST fails as
`interrupted`; if its capability is `idempotent`, it is queued again, up to MAX_ATTEMPTS times.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import merge
from types import MappingProxyType
from typing import NamedTuple

from aorch import jsonio
from aorch.clock import now
from aorch.errors import AgentCancelled, AorchError, Conflict, Expired, Interrupted, NotFound, contract_not_found
from aorch.ids import new_id
from aorch.ledger.contract_metadata import requested_agent
from aorch.ledger.database import Connection, statements
from aorch.ledger.record import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    INTERRUPTED,
    ORCHESTRATOR,
    PENDING,
    REQUEST,
    RESPONSE,
    Record,
    object_in,
)
from aorch.ledger.required_labels import labels_in

MAX_ATTEMPTS = 5
"""Maximum number of attempts at an idempotent task whose workers die."""
LEASE_PREFIX = "lease_"
OPEN = (PENDING, IN_PROGRESS)
TRANSACTION_SIZE = 500
"""Maximum number of REQUESTs that become due or expire in one transaction."""


class Capacity(NamedTuple):
    """How many tasks of `capability` can start: in total (`free`), and on each agent. `running` counts each agent's tasks, and
    `labels` are those of each agent.
    """

    capability: str
    free: int
    of_agents: dict[str, int]
    running: Mapping[str, int] = MappingProxyType({})
    labels: Mapping[str, Mapping[str, str]] = MappingProxyType({})

    def agent_for(self, assigned: "Counter[str]", required: str | None) -> str:
        """The agent for the next task after `assigned`: of the agents that have the labels and a free slot, the one with the
        fewest tasks.
        """
        return min(
            self._meeting(required),
            key=lambda name: (assigned[name] >= self.of_agents[name], self.running.get(name, 0) + assigned[name]),
        )

    def heads(self, required: Sequence[str]) -> list[tuple[str, str | None, str | None, int]]:
        """The parameters of QUEUE_HEAD for tasks of any agent, and for those of each agent; in addition those that require
        one of `required` (see required_labels.py), as far as agents have the labels.
        """
        found: list[tuple[str, str | None, str | None, int]] = []
        for text in (None, *required):
            if able := self._meeting(text):
                found.append((self.capability, None, text, min(self.free, sum(able.values()))))
                found += [(self.capability, agent_id, text, free) for agent_id, free in able.items()]
        return found

    def _meeting(self, required: str | None) -> dict[str, int]:
        """The agents with these labels, with the number of tasks that each can start."""
        if required is None:
            return self.of_agents
        wanted = labels_in(required).items()
        return {name: free for name, free in self.of_agents.items() if wanted <= self.labels.get(name, {}).items()}


Head = tuple[int, int, int, str, str | None]
"""A row of QUEUE_HEAD: priority, turn, position, capability, required labels."""


def is_lease(owner_id: str) -> bool:
    """Whether that owner of claims is the lease of a worker over HTTP (work_leases.py), and not a process."""
    return owner_id.startswith(LEASE_PREFIX)


def has_work(connection: Connection, capacities: Sequence[Capacity]) -> bool:
    """Whether `claim` would claim or write anything."""
    time = next_time(connection)
    if time is not None and time <= now():
        return True
    required = _required(connection)
    heads = [(*head[:3], 1) for each in capacities for head in each.heads(required)]
    return any(connection.execute(statements.QUEUE_HEAD, head).fetchone() for head in heads)


def claim(connection: Connection, owner_id: str, capacities: Sequence[Capacity], limit: int) -> list[Record]:
    """Claim up to `limit` REQUESTs for which there is capacity, in the order of the queue.

    Before that, REQUESTs that are due get their turn, and expired ones fail.
    """
    return claim_first(connection, owner_id, capacities, limit, prepare(connection))


def prepare(connection: Connection) -> list[str]:
    """Give REQUESTs that are due their turn, fail expired ones, and return the labels that queued ones require."""
    _queue_due(connection)
    expire(connection)
    return _required(connection)


def claim_first(
    connection: Connection, owner_id: str, capacities: Sequence[Capacity], limit: int, required: Sequence[str]
) -> list[Record]:
    """Like `claim`, after `prepare`, which has returned `required`."""
    heads = [connection.execute(statements.QUEUE_HEAD, head) for each in capacities for head in each.heads(required)]
    first = _within_capacity(merge(*heads), {each.capability: each.free for each in capacities}, limit)
    assigned = _assign_agents([(head, _row(connection, head[2])) for head in first], capacities)
    connection.executemany(statements.CLAIM_REQUEST, [(owner_id, row.to_agent, position) for position, row in assigned])
    claimed = {position for position, _ in assigned}
    turns = {priority: turn for priority, turn, position, *_ in first if position in claimed}
    connection.executemany(statements.ADVANCE_QUEUE_CLOCK, turns.items())
    return [row._replace(status=IN_PROGRESS, claimed_by=owner_id) for _, row in assigned]


def next_time(connection: Connection) -> str | None:
    """When the next REQUEST is due or expires (RFC 3339); None if there is no such REQUEST."""
    found: str | None = connection.execute(statements.NEXT_QUEUE_TIME).fetchone()[0]
    return found


def cancel(connection: Connection, request_id: str, by: str) -> str:
    """Cancel a REQUEST and return its status: `in_progress` until its owner notices the cancellation.

    Raises NotFound, also for a RESPONSE, and Conflict for a REQUEST that was imported while it was open.
    """
    found = connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()
    if found is None:
        raise contract_not_found(request_id)
    status, contract_type, is_queued, claimed_by, position = found
    if contract_type != REQUEST:
        raise NotFound(f"{request_id} is a RESPONSE", "Give the ID of the REQUEST that it answers.")
    if is_queued:
        return write_failure(connection, _row(connection, position), CANCELLED, f"cancelled by {by}", AgentCancelled)
    if claimed_by is None and status in OPEN:
        raise imported_conflict(request_id)
    if claimed_by is not None:
        connection.execute(statements.REQUEST_CANCELLATION, (by, request_id))
    return str(status)


def is_unowned(connection: Connection, request_id: str) -> bool:
    """Whether a REQUEST is neither queued nor claimed in this ledger: it has ended, or was imported."""
    found = connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()
    return found is not None and not found[2] and found[3] is None


def imported_conflict(request_id: str) -> Conflict:
    """The error for an open REQUEST that this ledger only imported: no process here can cancel or finish it."""
    return Conflict(
        f"{request_id} was imported without its RESPONSE: a process runs it on another ledger",
        "Export the other ledger and import it again to see the result.",
    )


def release_or_interrupt_all(connection: Connection, owner_id: str) -> None:
    """Apply `release_or_interrupt` to all REQUESTs that a dead owner has claimed."""
    for (request_id,) in connection.execute(statements.CLAIMED_BY_OWNER, (owner_id,)).fetchall():
        release_or_interrupt(connection, request_id)


def release_unstarted(connection: Connection, owner_id: str, running: Collection[str]) -> None:
    """Queue the REQUESTs again that `owner_id` has claimed from the queue, besides those that are `running`."""
    for (request_id,) in connection.execute(statements.CLAIMED_BY_OWNER, (owner_id,)).fetchall():
        *_, was_queued = connection.execute(statements.CLAIMED_STATE, (request_id,)).fetchone()
        if was_queued and request_id not in running:
            release_or_interrupt(connection, request_id, called=False)


def release_or_interrupt(
    connection: Connection,
    request_id: str,
    *,
    called: bool = True,
    due_at: str | None = None,
    lost: str = "the process that ran this ended",
) -> None:
    """Queue a claimed REQUEST again if that is safe, and end it as `interrupted` if it is not.

    It is safe if the agent was not `called`, or if the capability is idempotent. With `due_at` (RFC 3339) it is queued for that
    time. `lost` is the reason of the interruption, as the begin of a sentence.
    """
    found = connection.execute(statements.CLAIMED_STATE, (request_id,)).fetchone()
    if found is None:  # it has a RESPONSE
        return
    connection.execute(statements.DELETE_PROGRESS, (request_id,))
    position, attempts, cancelled_by, was_queued = found
    request = _row(connection, position)
    options = queue_options(request)
    may_retry = (attempts or 0) < MAX_ATTEMPTS and options.get("idempotent") is True
    if cancelled_by is not None:
        write_failure(connection, request, CANCELLED, f"cancelled by {cancelled_by}", AgentCancelled)
    elif was_queued and (may_retry or not called):
        agent_id = requested_agent(jsonio.decode(request.metadata), request.to_agent)
        if due_at is None:
            connection.execute(statements.REQUEUE, (int(not called), agent_id, request_id))
        else:
            connection.execute(statements.POSTPONE, (agent_id, due_at, options.get("expires_at"), request_id))
    else:
        event = "was called" if request.status == PENDING else "answered"
        reason = f"interrupted: {lost} before {request.to_agent or 'an agent'} {event}"
        write_failure(connection, request, INTERRUPTED, reason, Interrupted)


def write_failure(connection: Connection, request: Record, status: str, error: str, kind: type[AorchError]) -> str:
    """Write a RESPONSE with that error, and return the status of `request` after that.

    No agent got a REQUEST that is still pending: then metadata.delivered is false, otherwise it is unknown (null). If the
    REQUEST has a RESPONSE already, it gets the status of that RESPONSE.
    """
    if (found := connection.execute(statements.RESPONSE_TO, (request.contract_id,)).fetchone()) is not None:
        return finish_by(connection, Record(*found))
    time = now()
    delivered = False if request.status == PENDING else None
    retry_safe = delivered is False or queue_options(request).get("idempotent") is True
    metadata = {"code": kind.code, "delivered": delivered, "retry_safe": retry_safe}
    response = Record(
        contract_id=new_id(),
        session_id=request.session_id,
        contract_type=RESPONSE,
        from_agent=ORCHESTRATOR,
        to_agent=request.from_agent,
        capability=request.capability,
        payload="{}",
        status=status,
        created_at=time,
        completed_at=time,
        error=error,
        metadata=jsonio.encode(metadata),
        request_id=request.contract_id,
        parent_id=request.parent_id,
    )
    connection.execute(statements.INSERT_CONTRACT, response)
    connection.execute(statements.WEBHOOK_IS_DUE, (time, request.contract_id))
    return finish_by(connection, response)


def finish_by(connection: Connection, response: Record) -> str:
    """Set the status of the REQUEST that `response` answers, and return it."""
    status = response.status
    if status in OPEN:  # another program wrote it
        status = COMPLETED if response.error is None else FAILED
    elif status == INTERRUPTED:
        status = FAILED
    end = (status, response.completed_at or response.created_at, response.request_id)
    connection.execute(statements.FINISH_QUEUED_REQUEST, end)
    return status


def queue_options(request: Record) -> dict[str, object]:
    """The options with which `request` was queued (`metadata.queue`); empty if it never was."""
    return object_in(jsonio.decode(request.metadata), "queue")


def expire(connection: Connection) -> None:
    """Fail up to TRANSACTION_SIZE REQUESTs that have not started before their `expires_at`."""
    for (position,) in connection.execute(statements.EXPIRED_REQUESTS, (now(), TRANSACTION_SIZE)).fetchall():
        request = _row(connection, position)
        error = f"expired: not started before {queue_options(request).get('expires_at')}"
        write_failure(connection, request, FAILED, error, Expired)


def _required(connection: Connection) -> list[str]:
    return [text for (text,) in connection.execute(statements.REQUIRED_LABELS)]


def _queue_due(connection: Connection) -> None:
    due = connection.execute(statements.DUE_REQUESTS, (now(), TRANSACTION_SIZE)).fetchall()
    connection.executemany(statements.QUEUE_DUE_REQUEST, due)


def _within_capacity(heads: Iterable[Head], free: dict[str, int], limit: int) -> list[Head]:
    """The first `limit` of these rows, but per capability no more than are `free`."""
    taken: Counter[str] = Counter()
    first: list[Head] = []
    for head in heads:
        if len(first) == limit:
            break
        if taken[head[3]] < free[head[3]]:
            taken[head[3]] += 1
            first.append(head)
    return first


def _assign_agents(rows: list[tuple[Head, Record]], capacities: Sequence[Capacity]) -> list[tuple[int, Record]]:
    """These rows, each with its agent: the one that the caller requires, otherwise one that has the required labels and a free
    slot.

    Leaves out rows whose agent has no slot left, which can happen if it has several capabilities.
    """
    of_capability = {each.capability: each for each in capacities}
    assigned: Counter[str] = Counter()
    found = []
    for head, row in rows:
        capacity = of_capability[row.capability]
        agent_id = row.to_agent or capacity.agent_for(assigned, head[4])
        if assigned[agent_id] < capacity.of_agents[agent_id]:
            assigned[agent_id] += 1
            found.append((head[2], row._replace(to_agent=agent_id)))
    return found


def _row(connection: Connection, position: int) -> Record:
    return Record(*connection.execute(statements.CONTRACT_AT, (position,)).fetchone())
