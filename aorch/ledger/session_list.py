"""Sessions, found by skipping from each to the next in the index of contracts: how many there are, and a page of them."""

from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, func, literal, select, type_coerce
from sqlmodel import col

from aorch.ledger.schema import Contract, UtcText

Statement: TypeAlias = Select[*tuple[Any, ...]]

MANY = 10_000
"""From here on reading the whole index is faster than skipping through it: 37 ms for 1,000,000 contracts, 1.8 µs a skip."""

_session_id: ColumnElement[str] = col(Contract.session_id)  # type: ignore[assignment]  # Mapped is one, untold
_position: ColumnElement[Any] = col(Contract.position)  # type: ignore[assignment]  # likewise


def few() -> Statement:
    """How many sessions there are, up to MANY."""
    found = select(func.min(_session_id).label("session_id")).cte("found", recursive=True)
    following = select(func.min(_session_id)).where(_session_id > found.c.session_id).scalar_subquery()
    found = found.union_all(select(following).where(found.c.session_id.is_not(None)))
    some = select(found.c.session_id).where(found.c.session_id.is_not(None)).limit(MANY).subquery()
    return select(func.count()).select_from(some)


def many() -> Statement:
    """How many sessions there are, however many."""
    return select(func.count(_session_id.distinct()))


def listed(after: str | None, limit: int) -> Statement:
    """Up to `limit` sessions in the order of their ids, those after that one: id, contracts, first and last `created_at`."""
    first = select(func.min(_session_id).label("session_id"), literal(1).label("n"))
    found = (first if after is None else first.where(_session_id > after)).cte("found", recursive=True)
    following = select(func.min(_session_id)).where(_session_id > found.c.session_id).scalar_subquery()
    more = (found.c.session_id.is_not(None), found.c.n < limit)
    found = found.union_all(select(following, found.c.n + 1).where(*more))
    its = _session_id == found.c.session_id
    created_at = select(type_coerce(col(Contract.created_at), UtcText())).where(its).limit(1)
    return (
        select(
            found.c.session_id,
            select(func.count()).where(its).scalar_subquery(),
            created_at.order_by(_position).scalar_subquery(),
            created_at.order_by(_position.desc()).scalar_subquery(),
        )
        .where(found.c.session_id.is_not(None))
        .order_by(found.c.session_id)
    )
