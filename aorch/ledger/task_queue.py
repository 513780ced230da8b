"""The queue: REQUESTs in status `pending` that nobody has claimed yet. Every function works inside a transaction of its caller.

Who comes first: the lower `priority` (1 to 5), and in it the lower `turn`, then what was asked first. A REQUEST's turn is
one after the last that waits of its session, and at least one after the turn of what was claimed last. So the turns of a
session only grow, and one that asks for 100,000 things takes turns with one that asks for a single thing later, and with
one that always asks for the next when the last was begun: start-time fair queueing (Goyal, Vin and Cheng, 1996), with no
state but that clock.

A lease is `claimed_by` together with the lock that its owner holds for as long as it lives (owners.py): no clock can break
it. One that is lost is answered by `interrupted`, unless its capability is `idempotent`: then it waits again, up to
MOST_ATTEMPTS times.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from types import MappingProxyType
from typing import NamedTuple

from aorch import jsonio
from aorch.clock import now
from aorch.errors import AgentCancelled, AorchError, Conflict, Expired, Interrupted, NotFound
from aorch.ids import new_id
from aorch.ledger import statements
from aorch.ledger.record import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    INTERRUPTED,
    PENDING,
    REQUEST,
    RESPONSE,
    Row,
    insisted_on,
)

MOST_ATTEMPTS = 5
"""How often a task is begun whose worker died each time."""
OPEN = (PENDING, IN_PROGRESS)
AT_ONCE = 500
"""How many REQUESTs one transaction promotes or lets expire."""


class Places(NamedTuple):
    """How many tasks of `capability` can be begun: in all, and by each agent, which runs so many (`running`) already."""

    capability: str
    free: int
    of_agents: dict[str, int]
    running: Mapping[str, int] = MappingProxyType({})

    def agent_for(self, given: "Counter[str]") -> str:
        """The agent for the next task, when each was `given` so many: of those that have a free place the one that runs least."""
        return min(
            self.of_agents,
            key=lambda name: (given[name] >= self.of_agents[name], self.running.get(name, 0) + given[name]),
        )

    def heads(self) -> list[tuple[str, str | None, int]]:
        """What FIRST is asked."""
        return [(self.capability, None, self.free), *((self.capability, *each) for each in self.of_agents.items())]


Head = tuple[int, int, int, str]
"""What FIRST answers: priority, turn, position, capability."""


def waiting(connection: sqlite3.Connection, places: Sequence[Places]) -> bool:
    """Whether a claim for these would find something, or time has made something due or let it expire."""
    moment = connection.execute(statements.NEXT_QUEUE_TIME).fetchone()[0]
    if moment is not None and moment <= now():
        return True
    heads = [(capability, agent_id, 1) for each in places for capability, agent_id, _ in each.heads()]
    return any(connection.execute(statements.QUEUE_HEAD, head).fetchone() for head in heads)


def claim(connection: sqlite3.Connection, owner_id: str, places: Sequence[Places], most: int) -> list[Row]:
    """Claim what comes first: up to `most`, for which there are places.

    What is due has been let in, and what is too late has been answered before.
    """
    _promote(connection)
    expire(connection)
    heads = [connection.execute(statements.QUEUE_HEAD, head) for each in places for head in each.heads()]
    first = _with_places(merge(*heads), {each.capability: each.free for each in places}, most)
    taken = _with_agents([(position, _row(connection, position)) for _, _, position, _ in first], places)
    connection.executemany(statements.CLAIM_REQUEST, [(owner_id, row.to_agent, position) for position, row in taken])
    claimed = {position for position, _ in taken}
    turns = {priority: turn for priority, turn, position, _ in first if position in claimed}
    connection.executemany(statements.ADVANCE_QUEUE_CLOCK, turns.items())
    return [row._replace(status=IN_PROGRESS, claimed_by=owner_id) for _, row in taken]


def _with_agents(rows: list[tuple[int, Row]], places: Sequence[Places]) -> list[tuple[int, Row]]:
    """Each with the agent that is to do it: the one that it insists on, else one that has a place for it.

    Without those whose agent has no place left: it may have other capabilities, of which these are.
    """
    of_capability = {each.capability: each for each in places}
    given: Counter[str] = Counter()
    named = []
    for position, row in rows:
        there = of_capability[row.capability]
        agent_id = row.to_agent or there.agent_for(given)
        if given[agent_id] < there.of_agents[agent_id]:
            given[agent_id] += 1
            named.append((position, row._replace(to_agent=agent_id)))
    return named


def next_moment(connection: sqlite3.Connection) -> str | None:
    """When something will be due, or expire (RFC 3339); None where nothing waits for its time."""
    found: str | None = connection.execute(statements.NEXT_QUEUE_TIME).fetchone()[0]
    return found


def cancel(connection: sqlite3.Connection, request_id: str, by: str) -> str:
    """Cancel that REQUEST; its status afterwards: as it ended, or `in_progress` where its owner has yet to hear of it.

    Raises NotFound, for a RESPONSE too; Conflict for one that was imported while it was open.
    """
    found = connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()
    if found is None:
        raise NotFound(f"no contract's id is {request_id!r}", "See `aorch contracts list --status pending`.")
    status, contract_type, waits, claimed_by, position = found
    if contract_type != REQUEST:
        raise NotFound(f"{request_id} is a RESPONSE", "Name the REQUEST that it answers.")
    if waits:
        return answer(connection, _row(connection, position), CANCELLED, f"cancelled by {by}", AgentCancelled)
    if claimed_by is None and status in OPEN:
        raise imported(request_id)
    if claimed_by is not None:
        connection.execute(statements.REQUEST_CANCELLATION, (by, request_id))
    return str(status)


def is_nobodys(connection: sqlite3.Connection, request_id: str) -> bool:
    """Whether that REQUEST is here and nobody runs it here, nor does it wait for anybody: it has ended, or was imported."""
    found = connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()
    return found is not None and not found[2] and found[3] is None


def imported(request_id: str) -> Conflict:
    """Why a REQUEST that is nobody's here can be neither cancelled nor waited for."""
    return Conflict(
        f"{request_id} was imported without its RESPONSE: whoever runs it does so on another ledger",
        "Export from there and import again to see its end.",
    )


def lost(connection: sqlite3.Connection, owner_id: str) -> None:
    """Answer what that dead owner left open, or let it wait again where that is safe."""
    for (request_id,) in connection.execute(statements.CLAIMED_BY_OWNER, (owner_id,)).fetchall():
        lose(connection, request_id)


def lose(connection: sqlite3.Connection, request_id: str, *, called: bool = True) -> None:
    """The same for one REQUEST, which nobody runs any more; `called` says whether its agent may have heard of it."""
    found = connection.execute(statements.CLAIMED_STATE, (request_id,)).fetchone()
    if found is None:  # it has been answered
        return
    position, attempts, cancelled_by, waited = found
    request = _row(connection, position)
    again = not called or ((attempts or 0) < MOST_ATTEMPTS and queued(request).get("idempotent") is True)
    if cancelled_by is not None:
        answer(connection, request, CANCELLED, f"cancelled by {cancelled_by}", AgentCancelled)
    elif waited and again:
        insists_on = insisted_on(jsonio.decode(request.metadata), request.to_agent)
        connection.execute(statements.REQUEUE, (int(not called), insists_on, request_id))
    else:
        ended = "was called" if request.status == PENDING else "answered"
        reason = f"interrupted: the process that ran this ended before {request.to_agent or 'an agent'} {ended}"
        answer(connection, request, INTERRUPTED, reason, Interrupted)


def answer(connection: sqlite3.Connection, request: Row, status: str, error: str, kind: type[AorchError]) -> str:
    """End `request` by a RESPONSE that no agent gave; one that was still pending no agent has seen (`called` is false).

    If it has a RESPONSE already, it ends as that one says. Returns the status of `request` after that.
    """
    if (found := connection.execute(statements.RESPONSE_TO, (request.contract_id,)).fetchone()) is not None:
        return end_by(connection, Row(*found))
    moment = now()
    about = {"code": kind.code, **({"called": False} if request.status == PENDING else {})}
    response = Row(
        contract_id=new_id(),
        session_id=request.session_id,
        contract_type=RESPONSE,
        from_agent="orchestrator",
        to_agent=request.from_agent,
        capability=request.capability,
        payload="{}",
        status=status,
        created_at=moment,
        completed_at=moment,
        error=error,
        metadata=jsonio.encode(about),
        request_id=request.contract_id,
        parent_id=request.parent_id,
    )
    connection.execute(statements.INSERT_CONTRACT, response)
    connection.execute(statements.WEBHOOK_IS_DUE, (moment, request.contract_id))
    return end_by(connection, response)


def end_by(connection: sqlite3.Connection, response: Row) -> str:
    """End the REQUEST that `response` answers as that says, and return its status then."""
    status = response.status
    if status in OPEN:  # another program wrote it
        status = COMPLETED if response.error is None else FAILED
    elif status == INTERRUPTED:
        status = FAILED
    connection.execute(
        statements.FINISH_QUEUED_REQUEST, (status, response.completed_at or response.created_at, response.request_id)
    )
    return status


def queued(request: Row) -> dict[str, object]:
    """What was said of `request` when it was enqueued; empty where it never was."""
    said = jsonio.decode(request.metadata).get("queue")
    return said if isinstance(said, dict) else {}


def _with_places(heads: Iterable[Head], free: dict[str, int], most: int) -> list[Head]:
    """The first `most` of these, and of each capability no more than are `free`: those that insist on an agent among them."""
    taken: Counter[str] = Counter()
    first: list[Head] = []
    for head in heads:
        if len(first) == most:
            break
        if taken[head[3]] < free[head[3]]:
            taken[head[3]] += 1
            first.append(head)
    return first


def _promote(connection: sqlite3.Connection) -> None:
    due = connection.execute(statements.DUE_REQUESTS, (now(), AT_ONCE)).fetchall()
    connection.executemany(statements.QUEUE_DUE_REQUEST, due)


def expire(connection: sqlite3.Connection) -> None:
    """Answer what nobody began before its `expires_at`, AT_ONCE of it at most."""
    for (position,) in connection.execute(statements.EXPIRED_REQUESTS, (now(), AT_ONCE)).fetchall():
        request = _row(connection, position)
        answer(connection, request, FAILED, f"nobody began it before {queued(request).get('expires_at')}", Expired)


def _row(connection: sqlite3.Connection, position: int) -> Row:
    return Row(*connection.execute(statements.CONTRACT_AT, (position,)).fetchone())
