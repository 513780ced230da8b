"""Statements for idempotency keys, batches, and the tries of a task (a REQUEST, and those that retry or resume it)."""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.expressions import (
    RECORD,
    contracts,
    cross_join,
    given,
    listed,
    listed_numbers,
    metadata_flag,
    metadata_text,
)
from aorch.ledger.record import CANCELLED, COMPLETED, FAILED, REQUEST
from aorch.ledger.schema import Batch, BatchLine, IdempotencyKey, Retry, session_contracts

keys = IdempotencyKey.__table__  # type: ignore[attr-defined]  # SQLModel adds it
batches = Batch.__table__  # type: ignore[attr-defined]  # likewise
lines = BatchLine.__table__  # type: ignore[attr-defined]  # likewise
retries = Retry.__table__  # type: ignore[attr-defined]  # likewise
c = contracts.c

INSERT_KEY = insert(keys).values({each.name: bindparam(each.name) for each in keys.c})

_start = postgresql.insert(batches).values(name=bindparam("name"), generation=bindparam("generation"))
START_BATCH = _start.on_conflict_do_update(index_elements=["name"], set_={"generation": _start.excluded.generation})

BATCH_GENERATION = select(batches.c.generation).where(batches.c.name == bindparam("name"))

INSERT_BATCH_LINE = insert(lines).values({each.name: bindparam(each.name) for each in lines.c})

INSERT_RETRY = insert(retries).values(
    contract_id=bindparam("contract_id"), command="retry", request_id=bindparam("request_id")
)


def _retries_of(contract_id: Any) -> tuple[Any, ColumnElement[bool]]:
    """The rows of `retries` that name the next try of a REQUEST."""
    retry = retries.alias("k")
    return retry, retry.c.contract_id == contract_id


# The steps of a pipeline in all tries of its REQUEST


def _tries_of(request_id: ColumnElement[str]) -> CTE:
    """A REQUEST and its other tries.

    They must have the same capability and session, because metadata can come from outside.
    """

    def columns(table: Any) -> list[Any]:
        named = (metadata_text(table, name).label(name) for name in ("resumes", "retry_of"))
        return [table.c.contract_id, table.c.capability, table.c.session_id, *named]

    tries = select(*columns(contracts)).where(c.contract_id == request_id).cte("tries", recursive=True)
    other = contracts.alias("c")
    retry, is_retry = _retries_of(tries.c.contract_id)
    linked = union_all(
        select(tries.c.resumes).correlate(tries),
        select(tries.c.retry_of).correlate(tries),
        select(retry.c.request_id).where(is_retry).correlate(tries),
    )
    return tries.union(
        select(*columns(other))
        .select_from(cross_join(tries, other))
        .where(other.c.contract_id.in_(linked))
        .where(other.c.capability == tries.c.capability, other.c.session_id == tries.c.session_id)
    )


def _steps_of(tries: CTE, from_agent: ColumnElement[str]) -> CTE:
    """The REQUESTs that an agent delegated in those tries: the `first` one of each task, and a row for each try of it."""
    child = contracts.alias("c")
    steps = (
        select(child.c.contract_id.label("first"), child.c.contract_id.label("contract_id"))
        .select_from(cross_join(tries, child))
        .where(child.c.parent_id == tries.c.contract_id, child.c.contract_type == REQUEST)
        .where(child.c.from_agent == from_agent)
        .cte("steps", recursive=True)
    )
    retry, is_retry = _retries_of(steps.c.contract_id)
    return steps.union(select(steps.c.first, retry.c.request_id).select_from(cross_join(steps, retry)).where(is_retry))


def _steps_of_tries() -> Select[Any]:
    steps = _steps_of(_tries_of(bindparam("request_id")), bindparam("from_agent"))
    first, latest = contracts.alias("q"), contracts.alias("c")
    is_open = and_(
        latest.c.completed_at.is_(None),
        or_(latest.c.claimed_by.is_not(None), latest.c.turn.is_not(None), latest.c.due_at.is_not(None)),
    )
    return (
        select(
            latest.c.contract_id,
            latest.c.to_agent,
            first.c.capability,
            first.c.payload,
            latest.c.status,
            is_open.label("is_open"),
            first.c.metadata,
        )
        .select_from(cross_join(steps, first, latest))
        .where(first.c.contract_id == steps.c.first, latest.c.contract_id == steps.c.contract_id)
        .where(latest.c.capability == first.c.capability)
        .order_by(latest.c.position)
    )


STEPS_OF_TRIES = _steps_of_tries()
"""The REQUESTs that an agent delegated below a REQUEST and below its other tries, with their own tries, oldest first.

`is_open` is true if the step is queued or runs in this ledger. Capability, payload and metadata are those of its first try.
"""


# The results of a batch


def _tries_of_lines() -> CTE:
    tries = (
        select(lines.c.line_key, lines.c.request_id)
        .where(lines.c.generation == bindparam("generation"), lines.c.line_key.in_(listed("line_keys")))
        .cte("tries", recursive=True)
    )
    retry, is_retry = _retries_of(tries.c.request_id)
    return tries.union_all(
        select(tries.c.line_key, retry.c.request_id).select_from(cross_join(tries, retry)).where(is_retry)
    )


def _batch_results() -> Select[Any]:
    tries, request, response = _tries_of_lines(), contracts.alias("q"), contracts.alias("r")
    retry, is_retry = _retries_of(tries.c.request_id)
    longest = given(numbers=("longest",))
    length = func.length(response.c.metadata) + func.coalesce(func.length(response.c.result), 0)
    is_short = length <= select(longest.c.longest).scalar_subquery()
    return (
        select(
            tries.c.line_key,
            request.c.contract_id,
            request.c.session_id,
            request.c.to_agent,
            metadata_text(request, "retry_of").label("retry_of"),
            response.c.from_agent,
            response.c.status,
            response.c.created_at,
            response.c.error,
            func.coalesce(metadata_flag(response, "delivered"), metadata_flag(response, "called")).label("delivered"),
            case((is_short, response.c.result)).label("result"),
            case((is_short, response.c.metadata)).label("metadata"),
        )
        .select_from(cross_join(tries, request).outerjoin(response, response.c.request_id == tries.c.request_id))
        .where(request.c.contract_id == tries.c.request_id)
        .where(~select(1).select_from(retry).where(is_retry).correlate(tries).exists())
    )


BATCH_RESULTS = _batch_results()
"""The last try of each line of a batch that has run (`line_keys` is a JSON list).

Result and metadata are left out if they are longer than `longest` characters together.
"""


# The unfinished tasks of a session


def _previous(table: Any) -> ColumnElement[str]:
    # Without the cast, SQLite could not join it with contract_id through an index.
    return cast(func.coalesce(metadata_text(table, "retry_of"), metadata_text(table, "resumes")), Text)


def _tries_in(session_id: Any) -> CTE:
    """A row for each REQUEST of a session that retries another one (`previous`), and for all REQUESTs before that one."""
    its, previous = session_contracts.c, _previous(session_contracts)
    found = (
        select(its.contract_id, its.capability, its.position, its.status, previous.label("previous"))
        .where(its.session_id == session_id, its.contract_type == REQUEST, previous.is_not(None))
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    tries, before = select(*found.c).cte("tries", recursive=True), contracts.alias("c")
    return tries.union(
        select(tries.c.contract_id, tries.c.capability, tries.c.position, tries.c.status, _previous(before))
        .select_from(cross_join(tries, before))
        .where(_is_previous(before, tries, session_id), _previous(before).is_not(None))
    )


def _is_previous(before: Any, tries: CTE, session_id: Any) -> ColumnElement[bool]:
    return and_(
        before.c.contract_id == tries.c.previous,
        before.c.session_id == session_id,
        before.c.capability == tries.c.capability,
    )


def _unfinished() -> Select[Any]:
    session_id = select(given("session_id").c.session_id).scalar_subquery()
    tries, before, its = _tries_in(session_id), contracts.alias("c"), session_contracts.c
    first = (
        select(its.position, its.contract_id, its.capability, its.status)
        .where(its.session_id == session_id, its.contract_type == REQUEST, its.parent_id.is_(None))
        .where(its.status.in_((FAILED, CANCELLED)))
        .cte("q")
    )
    task = (tries.c.previous, tries.c.capability)
    completed = func.sum(case((tries.c.status == COMPLETED, 1), else_=0)).over(partition_by=task)
    number = func.row_number().over(partition_by=task, order_by=tries.c.position.desc())
    ranked = select(
        *task, tries.c.contract_id, tries.c.status, completed.label("completed"), number.label("number")
    ).cte("ranked")
    is_last = and_(
        ranked.c.previous == first.c.contract_id, ranked.c.capability == first.c.capability, ranked.c.number == 1
    )
    later_tries = (
        select(tries.c.contract_id)
        .select_from(cross_join(tries, before))
        .where(_is_previous(before, tries, session_id))
    )
    return (
        select(first.c.position, func.coalesce(ranked.c.contract_id, first.c.contract_id).label("last_try"))
        .select_from(first.outerjoin(ranked, is_last))
        .where(first.c.contract_id.not_in(later_tries))
        .where(func.coalesce(ranked.c.completed, 0) == 0)
        .where(func.coalesce(ranked.c.status, first.c.status).in_((FAILED, CANCELLED)))
        .order_by(first.c.position)
    )


UNFINISHED = _unfinished()
"""The position of each REQUEST of a caller in a session that failed or was cancelled and has not completed since in any
retry, and the id of its last try.
"""


def _last_try() -> Select[Any]:
    wanted = given("session_id", "request_id")
    session_id, request_id = (select(column).scalar_subquery() for column in wanted.c)
    tries, before, asked, found = _tries_in(session_id), *(contracts.alias(name) for name in ("c", "q", "c"))
    firsts = (
        select(wanted.c.request_id.label("contract_id"))
        .union(
            select(tries.c.previous)
            .select_from(cross_join(tries, before))
            .where(_is_previous(before, tries, session_id), tries.c.contract_id == request_id)
        )
        .cte("firsts")
    )
    capability = select(asked.c.capability).where(asked.c.contract_id == request_id).scalar_subquery()
    all_tries = select(firsts.c.contract_id).union(
        select(tries.c.contract_id).where(
            tries.c.previous.in_(select(firsts.c.contract_id)), tries.c.capability == capability
        )
    )
    return (
        select(found.c.contract_id, found.c.status)
        .where(found.c.contract_id.in_(all_tries))
        .order_by((found.c.status == COMPLETED).desc(), found.c.position.desc())
        .limit(1)
    )


LAST_TRY = _last_try()
"""The id and the status of the last try of the task of a REQUEST in a session; a completed try comes first."""

REQUESTS_AT = select(*RECORD).where(c.position.in_(listed_numbers("positions"))).order_by(c.position)
"""The REQUESTs at those positions (a JSON list), in order."""
