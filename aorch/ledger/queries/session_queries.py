"""Lists and counts sessions, by skipping from each to the next in the session index instead of reading all contracts."""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    ScalarSelect,
    Select,
    bindparam,
    case,
    func,
    literal,
    select,
    union,
    union_all,
)

from aorch.ledger.queries.expressions import contracts, cross_join, given, indexed_position, listed
from aorch.ledger.record import COMPLETED, FAILED, IN_PROGRESS, PENDING, REQUEST
from aorch.ledger.schema import SessionIndex

c = contracts.c
index = SessionIndex.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it


def _skipping(first: Select[Any], limit: Any) -> CTE:
    """Up to `limit` sessions of the index, `first` among them, each found from the one before; the last may be NULL."""
    found = first.cte("found", recursive=True)
    following = select(func.min(index.session_id)).where(index.session_id > found.c.session_id).scalar_subquery()
    return found.union_all(select(following, found.c.n + 1).where(found.c.session_id.is_not(None), found.c.n < limit))


_first = select(func.min(index.session_id).label("session_id"), literal(1).label("n"))


def _sessions_from() -> CompoundSelect[Any]:
    wanted = given("first", numbers=("limit",))
    first, limit = (select(column).scalar_subquery() for column in wanted.c)
    found = _skipping(_first.where(index.session_id >= first), limit)
    recent = select(c.session_id).where(c.position > indexed_position(), c.session_id >= first)
    either = select(found.c.session_id).where(found.c.session_id.is_not(None)).union(recent)
    return either.order_by("session_id").limit(limit)


SESSIONS_FROM = _sessions_from()
"""Sessions in the order of their ids."""


def _recent() -> CTE:
    """The sessions of the contracts that the index does not have yet."""
    return (
        select(
            c.session_id,
            func.count().label("contracts"),
            func.min(c.position).label("first"),
            func.max(c.position).label("last"),
        )
        .where(c.position > indexed_position())
        .group_by(c.session_id)
        .cte("recent")
    )


def _in_index(position: Any, its: CTE) -> ScalarSelect[Any]:
    return select(position).where(index.session_id == its.c.session_id).correlate(its).scalar_subquery()


def _created_at(position: Any) -> ScalarSelect[Any]:
    return select(c.created_at).where(c.position == position).scalar_subquery()


def _page(*, is_first: bool) -> Select[Any]:
    wanted = given(numbers=("limit",)) if is_first else given("after", numbers=("limit",))
    limit = select(wanted.c.limit).scalar_subquery()
    recent, first = _recent(), _first
    others = select(recent.c.session_id)
    if not is_first:
        after = select(wanted.c.after).scalar_subquery()
        first, others = first.where(index.session_id > after), others.where(recent.c.session_id > after)
    found = _skipping(first, limit)
    either = union(select(found.c.session_id).where(found.c.session_id.is_not(None)), others)
    its = either.order_by("session_id").limit(limit).cte("its")
    return _described(its, recent).order_by(its.c.session_id)


def _described(its: CTE, recent: CTE) -> Select[Any]:
    indexed = select(func.count()).where(index.session_id == its.c.session_id).scalar_subquery()
    return select(
        its.c.session_id,
        (indexed + func.coalesce(recent.c.contracts, 0)).label("contracts"),
        _created_at(func.coalesce(_in_index(func.min(index.position), its), recent.c.first)).label("first_at"),
        _created_at(func.coalesce(recent.c.last, _in_index(func.max(index.position), its))).label("last_at"),
    ).select_from(its.outerjoin(recent, recent.c.session_id == its.c.session_id))


FIRST_SESSIONS = _page(is_first=True)
"""The first sessions in the order of their ids: id, contracts, first and last `created_at`."""

SESSIONS_AFTER = _page(is_first=False)
"""Like the statement above, for the sessions after a given one."""


def _named() -> Select[Any]:
    named = listed("session_ids").cte("named")
    return _described(select(named.c.value.label("session_id")).cte("its"), _recent())


NAMED_SESSIONS = _named()
"""Like the statements above, for the sessions with those ids (a JSON list), in no particular order."""


def _not_indexed() -> ScalarSelect[int]:
    """The number of sessions that the index does not have yet."""
    recent = _recent()
    its = select(index.session_id).where(index.session_id == recent.c.session_id).exists()
    return select(func.count()).select_from(recent).where(~its).scalar_subquery()


def _count_capped() -> Select[Any]:
    found = _skipping(_first, bindparam("limit"))
    some = select(found.c.session_id).where(found.c.session_id.is_not(None)).subquery("some")
    return select((select(func.count()).select_from(some).scalar_subquery() + _not_indexed()).label("count"))


SESSION_COUNT_UP_TO = _count_capped()
"""The number of sessions, counted up to a little more than a limit, by skipping."""

SESSION_COUNT = select((func.count(index.session_id.distinct()) + _not_indexed()).label("count"))
"""The number of sessions, from the whole index."""


NEWEST_OF_SESSIONS_BETWEEN = (
    select(c.session_id, func.max(c.position).label("last"))
    .where(c.position > bindparam("after"), c.position < bindparam("before"))
    .group_by(c.session_id)
)
"""The sessions of the contracts between two positions, each with the last of its positions there."""


def _exchange_counts() -> Select[Any]:
    """Not from the view by session, which SQLite would read through a coroutine, in twice the time."""
    wanted = given("session_id")
    session_id = select(wanted.c.session_id).scalar_subquery()
    of_index = cross_join(SessionIndex.__table__, contracts)  # type: ignore[attr-defined]  # SQLModel adds it
    columns = (c.position, c.contract_type, c.status)
    indexed = select(*columns).select_from(of_index).where(index.session_id == session_id, c.position == index.position)
    recent = select(*columns).where(c.position > indexed_position(), c.session_id == session_id)
    its = union_all(indexed, recent).subquery("its")
    is_request = its.c.contract_type == REQUEST

    def number(condition: ColumnElement[bool]) -> Any:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    return select(
        number(is_request).label("exchanges"),
        number(is_request & (its.c.status == FAILED)).label("failed"),
        number(is_request & its.c.status.in_((PENDING, IN_PROGRESS))).label("open"),
    )


EXCHANGE_COUNTS = _exchange_counts()
"""The number of exchanges of a session, of its failed and of its open ones. Reads all contracts of the session."""


def _exchanges_of_session() -> Select[Any]:
    session_id = select(given("session_id").c.session_id).scalar_subquery()
    indexed = select(func.coalesce(func.sum(index.is_request), 0)).where(index.session_id == session_id)
    recent = select(func.count()).where(
        c.position > indexed_position(), c.session_id == session_id, c.contract_type == REQUEST
    )
    return select((indexed.scalar_subquery() + recent.scalar_subquery()).label("exchanges"))


EXCHANGES_OF_SESSION = _exchanges_of_session()
"""The number of exchanges of a session, from the index."""

_not_completed = select(c.position).where(c.status != COMPLETED, c.contract_type == REQUEST)
NOT_COMPLETED_UP_TO = select(func.count()).select_from(_not_completed.limit(bindparam("limit")).subquery("some"))
"""The number of REQUESTs that are not completed, counted up to a limit in their index."""

NOT_COMPLETED_BY_SESSION = (
    select(
        c.session_id,
        func.sum(case((c.status == FAILED, 1), else_=0)).label("failed"),
        func.sum(case((c.status.in_((PENDING, IN_PROGRESS)), 1), else_=0)).label("open"),
    )
    .where(c.status != COMPLETED, c.contract_type == REQUEST)
    .group_by(c.session_id)
)
"""The sessions with REQUESTs that are not completed: the numbers of failed and of open ones. Reads these REQUESTs."""
