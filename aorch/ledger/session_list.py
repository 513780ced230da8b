"""Lists and counts sessions by skipping from each to the next in the session index, instead of reading all contracts."""

from typing import Any, TypeAlias

from sqlalchemy import CTE, ColumnElement, ScalarSelect, Select, func, literal, select, type_coerce, union
from sqlmodel import col

from aorch.ledger.schema import Contract, Counter, SessionIndex, UtcText

Statement: TypeAlias = Select[*tuple[Any, ...]]

MANY = 10_000
"""Number of sessions above which reading the whole index (37 ms for 1,000,000 contracts) is faster than skipping (1.8 µs
each).
"""

_session_id: ColumnElement[str] = col(SessionIndex.session_id)  # type: ignore[assignment]  # Mapped is one, untyped
_position: ColumnElement[Any] = col(SessionIndex.position)  # type: ignore[assignment]  # likewise
_indexed = select(col(Counter.value)).where(col(Counter.name) == "session_index").scalar_subquery()


def count_capped() -> Statement:
    """The number of sessions, counted up to a little more than MANY."""
    found = _skipping(select(func.min(_session_id).label("session_id"), literal(1).label("n")), MANY)
    some = select(found.c.session_id).where(found.c.session_id.is_not(None)).subquery()
    return select(select(func.count()).select_from(some).scalar_subquery() + _not_indexed())


def count() -> Statement:
    """The number of sessions, without a limit."""
    return select(func.count(_session_id.distinct()) + _not_indexed())


def page(after: str | None, limit: int) -> Statement:
    """Up to `limit` sessions after that one, in the order of their ids: id, contracts, first and last `created_at`."""
    first = select(func.min(_session_id).label("session_id"), literal(1).label("n"))
    found, recent = _skipping(first if after is None else first.where(_session_id > after), limit), _recent()
    others = select(recent.c.session_id)
    either = union(
        select(found.c.session_id).where(found.c.session_id.is_not(None)),
        others if after is None else others.where(recent.c.session_id > after),
    )
    its = either.order_by("session_id").limit(limit).cte("its")
    indexed = select(func.count()).where(_session_id == its.c.session_id).scalar_subquery()
    return (
        select(
            its.c.session_id,
            indexed + func.coalesce(recent.c.contracts, 0),
            _created_at(func.coalesce(_in_index(func.min(_position), its), recent.c.first)),
            _created_at(func.coalesce(recent.c.last, _in_index(func.max(_position), its))),
        )
        .select_from(its.outerjoin(recent, recent.c.session_id == its.c.session_id))
        .order_by(its.c.session_id)
    )


def _skipping(first: Statement, limit: int) -> CTE:
    """Up to `limit` sessions of the index, `first` among them, each found from the one before; the last may be NULL."""
    found = first.cte("found", recursive=True)
    following = select(func.min(_session_id)).where(_session_id > found.c.session_id).scalar_subquery()
    return found.union_all(select(following, found.c.n + 1).where(found.c.session_id.is_not(None), found.c.n < limit))


def _recent() -> CTE:
    """The sessions of the contracts that the index does not have yet."""
    session_id, position = col(Contract.session_id), col(Contract.position)
    return (
        select(
            session_id,
            func.count().label("contracts"),
            func.min(position).label("first"),
            func.max(position).label("last"),
        )
        .where(position > _indexed)
        .group_by(session_id)
        .cte("recent")
    )


def _not_indexed() -> ScalarSelect[int]:
    """The number of sessions that the index does not have yet."""
    recent = _recent()
    its = select(_session_id).where(_session_id == recent.c.session_id).exists()
    return select(func.count()).select_from(recent).where(~its).scalar_subquery()


def _in_index(position: ColumnElement[Any], its: CTE) -> ScalarSelect[Any]:
    return select(position).where(_session_id == its.c.session_id).correlate(its).scalar_subquery()


def _created_at(position: ColumnElement[Any]) -> ScalarSelect[Any]:
    created_at = type_coerce(col(Contract.created_at), UtcText())
    return select(created_at).where(col(Contract.position) == position).scalar_subquery()
