"""Statements for the queue and its webhooks."""

from typing import Any

from sqlalchemy import Integer, Text, and_, bindparam, case, cast, delete, func, insert, null, or_, select, update
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.expressions import contracts, greatest, is_same, listed, listed_numbers, position_in
from aorch.ledger.record import COMPLETED, IN_PROGRESS, PENDING, Record
from aorch.ledger.schema import QueueClock, Webhook
from aorch.ledger.session_turns import SessionTurns

clock = QueueClock.__table__  # type: ignore[attr-defined]  # SQLModel adds it
turns = SessionTurns.__table__  # type: ignore[attr-defined]  # likewise
webhooks = Webhook.__table__  # type: ignore[attr-defined]  # likewise
c, w = contracts.c, webhooks.c


def _turn(session_id: Any, priority: Any) -> Any:
    """The turn of a newly queued REQUEST: after that of its session's last queued REQUEST, and after the last claimed turn."""
    after_claimed = select(clock.c.turn + 1).where(clock.c.priority == priority).scalar_subquery()
    after_queued = (
        select(func.coalesce(func.max(turns.c.turn) + 1, 0))
        .where(turns.c.session_id == session_id, turns.c.priority == priority)
        .scalar_subquery()
    )
    return greatest(after_claimed, after_queued)


_names = (*Record._fields, "priority", "due_at", "expires_at", "required_labels")
_new = select(*(bindparam(name, type_=c[name].type).label(name) for name in _names)).subquery("given")
ENQUEUE = insert(contracts).from_select(
    [*_names, "turn"],
    select(*_new.c, case((_new.c.due_at.is_(None), _turn(_new.c.session_id, _new.c.priority)))),
)
"""Inserts a whole record with its place in the queue. A REQUEST that is due later gets its turn when it is due."""

QUEUE_HEAD = (
    select(c.priority, c.turn, c.position, c.capability, c.required_labels)
    .where(c.capability == bindparam("capability"), is_same(c.to_agent, bindparam("agent_id")))
    .where(is_same(c.required_labels, bindparam("labels")))
    .where(c.turn.is_not(None))
    .order_by(c.priority, c.turn, c.position)
    .limit(bindparam("limit"))
)
"""The first queued REQUESTs of a capability, in queue order: those that require one agent, or with NULL those for any
agent; and likewise those that require certain labels, or with NULL none.
"""

_queued = contracts.alias("q")
_next = select(func.min(_queued.c.required_labels)).where(
    _queued.c.turn.is_not(None), _queued.c.required_labels.is_not(None)
)
_found = select(_next.scalar_subquery().label("labels")).cte("found", recursive=True)
_found = _found.union_all(
    select(_next.where(_queued.c.required_labels > _found.c.labels).scalar_subquery()).where(
        _found.c.labels.is_not(None)
    )
)
REQUIRED_LABELS = select(_found.c.labels).where(_found.c.labels.is_not(None))
"""The labels that queued REQUESTs require, each once. Looks into the index once for each, however many REQUESTs there are."""

CLAIM_REQUEST = (
    update(contracts)
    .where(c.position == bindparam("its_position"))
    .ordered_values(
        (c.status, IN_PROGRESS),
        (c.claimed_by, bindparam("owner_id")),
        (c.to_agent, bindparam("agent_id")),
        (c.turn, null()),
        (c.expires_at, null()),
        (c.attempts, func.coalesce(c.attempts, 0) + 1),
    )
)

_advance = postgresql.insert(clock).values(priority=bindparam("priority"), turn=bindparam("turn"))
ADVANCE_QUEUE_CLOCK = _advance.on_conflict_do_update(
    index_elements=["priority"], set_={"turn": greatest(clock.c.turn, _advance.excluded.turn)}
)
"""Stores the last claimed turn of a priority, unless a later one is stored."""

DUE_REQUESTS = (
    select(c.position, c.session_id, c.priority)
    .where(c.due_at <= bindparam("now"))
    .order_by(c.due_at)
    .limit(bindparam("limit"))
)

QUEUE_DUE_REQUEST = (
    update(contracts)
    .where(c.position == bindparam("its_position"))
    .where(c.session_id == bindparam("its_session_id"), c.priority == bindparam("its_priority"))
    .ordered_values((c.due_at, null()), (c.turn, _turn(c.session_id, c.priority)))
)
"""Assigns a turn to a REQUEST that is due; its parameters are a row of DUE_REQUESTS."""

EXPIRED_REQUESTS = (
    select(c.position).where(c.expires_at <= bindparam("now")).order_by(c.expires_at).limit(bindparam("limit"))
)

_times = (
    select(func.min(c.due_at).label("time"))
    .where(c.due_at.is_not(None))
    .union_all(select(func.min(c.expires_at)).where(c.expires_at.is_not(None)))
    .subquery("times")
)
NEXT_QUEUE_TIME = select(func.min(_times.c.time))
"""When the next queued REQUEST is due or expires."""

CLAIMED_STATE = select(c.position, c.attempts, c.cancelled_by, c.priority.is_not(None).label("was_queued")).where(
    c.contract_id == bindparam("request_id"), c.claimed_by.is_not(None)
)

REQUEST_STATE = select(
    c.status,
    c.contract_type,
    or_(c.turn.is_not(None), c.due_at.is_not(None)).label("is_queued"),
    c.claimed_by,
    c.position,
).where(c.contract_id == bindparam("contract_id"))

FINISH_QUEUED_REQUEST = (
    update(contracts)
    .where(c.contract_id == bindparam("request_id"))
    .ordered_values(
        (c.status, bindparam("final_status")),
        (c.completed_at, bindparam("finished_at")),
        (c.claimed_by, null()),
        (c.turn, null()),
        (c.due_at, null()),
        (c.expires_at, null()),
    )
)
"""FINISH_REQUEST for a REQUEST that may still be queued."""

REQUEUE = (
    update(contracts)
    .where(c.contract_id == bindparam("request_id"))
    .ordered_values(
        (c.status, PENDING),
        (c.claimed_by, null()),
        (c.attempts, c.attempts - bindparam("uncounted_attempts", type_=Integer)),
        (c.to_agent, bindparam("agent_id")),
        (c.turn, select(clock.c.turn).where(clock.c.priority == c.priority).scalar_subquery()),
    )
)
"""Queues a claimed REQUEST again, at the head of its priority."""

POSTPONE = (
    update(contracts)
    .where(c.contract_id == bindparam("request_id"))
    .ordered_values(
        (c.status, PENDING),
        (c.claimed_by, null()),
        (c.attempts, c.attempts - 1),
        (c.to_agent, bindparam("agent_id")),
        (c.due_at, bindparam("again_at")),
        (c.expires_at, bindparam("ends_at")),
    )
)
"""Queues a claimed REQUEST again for a later time. The attempt does not count, because the agent did nothing."""

REQUEST_CANCELLATION = (
    update(contracts)
    .where(c.contract_id == bindparam("request_id"), c.cancelled_by.is_(None))
    .values(cancelled_by=bindparam("canceller"))
)

CANCELLED_CLAIMS = select(c.contract_id, c.cancelled_by).where(
    c.claimed_by == bindparam("owner_id"), c.cancelled_by.is_not(None), c.claimed_by.is_not(None)
)

_queued_now = select(func.count()).select_from(contracts).where(c.turn.is_not(None)).scalar_subquery()
_due_later = select(func.count()).select_from(contracts).where(c.due_at.is_not(None)).scalar_subquery()
QUEUE_LENGTH = select((_queued_now + _due_later).label("length"))

ANY_QUEUED = select(
    or_(
        select(c.position).where(c.turn.is_not(None)).exists(), select(c.position).where(c.due_at.is_not(None)).exists()
    ).label("any_queued")
)
"""Whether any REQUEST waits for a worker or for its start time."""

QUEUED_COUNTS = (
    select(c.capability, c.to_agent, c.required_labels, func.count().label("count"))
    .where(c.turn.is_not(None))
    .group_by(c.capability, c.to_agent, c.required_labels)
    .order_by(c.capability, c.to_agent, c.required_labels)
)
"""How many REQUESTs are queued for each capability, agent and labels, read from one index."""

INSERT_WEBHOOK = insert(webhooks).values(request_id=bindparam("request_id"), url=bindparam("url"), attempts=0)

_slashed = w.url.concat("/")
_host = func.substr(_slashed, 1, position_in(func.substr(_slashed, 9), "/") + 8)
DUE_WEBHOOKS = (
    select(w.request_id, w.url, w.attempts)
    .where(w.due_at <= bindparam("now"))
    .where(_host.not_in(listed("hosts")), w.url.not_in(listed("urls")))
    .order_by(w.due_at)
    .limit(bindparam("limit"))
)
"""The webhooks that are due, without those to certain hosts (as `addresses.host_of` writes them) and URLs (JSON lists)."""

NEXT_WEBHOOK_AT = select(func.min(w.due_at)).where(w.due_at.is_not(None))
"""When the next webhook is due or has been due; NULL if there is none."""

DELETE_WEBHOOK = delete(webhooks).where(w.request_id == bindparam("request_id"))

FAIL_WEBHOOK = (
    update(webhooks)
    .where(w.request_id == bindparam("its_request_id"))
    .ordered_values(
        (w.attempts, bindparam("attempts_made")), (w.due_at, bindparam("next_at")), (w.error, bindparam("reason"))
    )
)
"""Stores a failed attempt. If there is no next one (NULL), the webhook is given up."""

GIVE_UP_URL = (
    update(webhooks)
    .where(w.url == bindparam("its_url"), or_(w.due_at.is_not(None), w.error.is_(None)))
    .ordered_values((w.due_at, null()), (w.error, bindparam("reason")))
)
"""Gives up every webhook to a URL, also those of tasks that have not ended."""

WEBHOOK_IS_DUE = (
    update(webhooks)
    .where(and_(w.request_id == bindparam("its_request_id"), w.error.is_(None)))
    .values(due_at=bindparam("now"))
)


# The queue as people see it


def _by_priority(first: Any, *conditions: Any) -> Any:
    counts = select(c.capability, c.priority, func.count().label("count"), func.min(first).label("first"))
    return counts.where(*conditions).group_by(c.capability, c.priority)


_is_running = and_(c.status == IN_PROGRESS, c.status != COMPLETED, c.priority.is_not(None))
QUEUED_BY_PRIORITY = _by_priority(c.position, c.turn.is_not(None))
"""The tasks that have a turn, by capability and priority: their number, and the position of the first one."""

DUE_BY_PRIORITY = _by_priority(c.due_at, c.due_at <= bindparam("now"))
"""The tasks whose start time has come, and to which no worker has given a turn yet: their number, and the first start time."""

SCHEDULED_BY_PRIORITY = _by_priority(c.due_at, c.due_at > bindparam("now"))
"""The same for tasks that start later."""

RUNNING_BY_PRIORITY = _by_priority(c.position, _is_running)
"""The tasks of the queue that run now: their number, and the position of the first one."""

QUEUED_POSITIONS_OF = select(c.position).where(
    c.capability == bindparam("capability"), c.priority == bindparam("priority"), c.turn.is_not(None)
)

WORKERS = select(c.claimed_by, func.count().label("count")).where(_is_running).group_by(c.claimed_by)
"""The processes that run tasks of the queue, with the number of their tasks."""

QUEUE_TASK_COLUMNS = (
    *(
        c.contract_id,
        c.session_id,
        c.capability,
        c.priority,
        c.to_agent,
        c.created_at,
        c.due_at,
        c.expires_at,
        c.attempts,
    ),
    *(c.claimed_by, cast(c.metadata, Text)),
)
RUNNING_TASKS = select(*QUEUE_TASK_COLUMNS).where(_is_running).order_by(c.position).limit(bindparam("limit"))

TASKS_WITH_START = (
    select(*QUEUE_TASK_COLUMNS).where(c.due_at.is_not(None)).order_by(c.due_at, c.position).limit(bindparam("limit"))
)

"""The queued tasks with a start time and without a turn, by their start."""

TASKS_AT = select(c.position, *QUEUE_TASK_COLUMNS).where(c.position.in_(listed_numbers("positions")))
"""The tasks at those positions (a JSON list)."""
