"""Deliveries to Trace: the outbox, and the deliveries that were set aside (parked)."""

from typing import Any

from sqlalchemy import Select, and_, bindparam, case, delete, exists, func, or_, select, union_all
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.expressions import RECORD, contract_count, contracts, given
from aorch.ledger.record import REQUEST, Record
from aorch.ledger.schema import Counter, Outbox, ParkedDelivery, session_contracts

outbox = Outbox.__table__  # type: ignore[attr-defined]  # SQLModel adds it
parked = ParkedDelivery.__table__  # type: ignore[attr-defined]  # likewise
counters = Counter.__table__  # type: ignore[attr-defined]  # likewise
c, p, s = contracts.c, parked.c, session_contracts.c

NODE = "provenance.node"
"""The `kind` of deliveries that are not events."""
DUE = "due"

OUTBOX_POSITION = select(outbox.c.position, outbox.c.reach).where(outbox.c.destination == bindparam("destination"))

_advance = postgresql.insert(outbox).values({each.name: bindparam(each.name) for each in outbox.c})
ADVANCE_OUTBOX = _advance.on_conflict_do_update(
    index_elements=["destination"],
    set_={"position": _advance.excluded.position, "reach": _advance.excluded.reach},
)

ANY_DELIVERY_IS_DUE = select(
    or_(
        exists(select(1).where(c.position > bindparam("outbox_position"))), exists(select(1).where(p.state == DUE))
    ).label("is_due")
)

DELETED_CONTRACTS = select(counters.c.value).where(counters.c.name == "deleted_contracts")

CONTRACT_ID_AT = select(c.contract_id).where(c.position == bindparam("position"))

CONTRACTS_AFTER = (
    select(c.position, *RECORD).where(c.position > bindparam("after")).order_by(c.position).limit(bindparam("limit"))
)

_record = [s[name] for name in Record._fields]
CONTRACTS_OF_SESSION = select(s.position, *_record).where(s.session_id == bindparam("session_id")).order_by(s.position)

CONTRACTS_OF_SESSION_UP_TO = (
    select(*_record, s.position)
    .where(s.session_id == bindparam("session_id"), s.position <= bindparam("last"))
    .order_by(s.position)
)


def _sessions_at(order: Any) -> Select[Any]:
    some = select(c.session_id).where(c.position <= bindparam("last")).order_by(order).limit(bindparam("limit"))
    return select(some.subquery().c.session_id).distinct()


NEWEST_AND_OLDEST_SESSIONS = union_all(_sessions_at(c.position.desc()), _sessions_at(c.position))
"""The sessions of the newest contracts up to a position, then those of the oldest contracts."""

PARKED_DELIVERIES = select(*p).order_by(p.position, p.kind).limit(bindparam("limit"))

PARKED_DELIVERIES_IN_STATE = (
    select(*p).where(p.state == bindparam("state")).order_by(p.position, p.kind).limit(bindparam("limit"))
)

PARKED_KINDS = (
    select(p.state, p.kind, p.reason, func.count().label("deliveries"), func.min(p.contract_id).label("contract_id"))
    .group_by(p.state, p.kind, p.reason)
    .order_by(func.count().desc(), func.min(p.position), p.kind)
    .limit(bindparam("limit"))
)

_park = postgresql.insert(parked).values({each.name: bindparam(each.name) for each in p})
PARK_DELIVERY = _park.on_conflict_do_update(
    index_elements=["position", "kind"],
    set_={each.name: _park.excluded[each.name] for each in p if not each.primary_key},
)

UNPARK_DELIVERY = delete(parked).where(p.position == bindparam("position"), p.kind == bindparam("kind"))


def _delivery_counts() -> Select[Any]:
    its = given(numbers=("outbox_position", "few")).c
    outbox_position, few = select(its.outbox_position).scalar_subquery(), select(its.few).scalar_subquery()
    is_event, is_due, is_beyond = p.kind != NODE, p.state == DUE, c.position > outbox_position
    some = select(func.count()).select_from(select(c.position).where(is_beyond).limit(few).subquery("some"))
    every = select(func.count().filter(is_beyond)).select_from(contracts)
    beyond = case(
        (outbox_position == 0, contract_count()),
        (some.scalar_subquery() < few, some.scalar_subquery()),
        else_=every.scalar_subquery(),
    )
    all_contracts = select(contract_count().label("total"), beyond.label("beyond"))
    all_parked = select(
        func.count().filter(and_(is_event, is_due, p.position <= outbox_position)).label("again"),
        func.count().filter(and_(is_event, ~is_due)).label("parked"),
        func.count().filter(and_(is_event, ~is_due, p.position > outbox_position)).label("parked_beyond"),
        func.count().filter(~is_event).label("nodes"),
    ).select_from(parked.join(contracts, c.position == p.position))
    one, other = all_contracts.subquery("all_contracts"), all_parked.subquery("all_parked")
    return select(*one.c, *other.c)


DELIVERY_COUNTS = _delivery_counts()
"""Counts of contracts and of parked deliveries, in total and beyond the position of the outbox.

They count rows, since positions have gaps: contracts may have been deleted. If nothing was delivered, all are beyond. Up to
`few` are read one by one, and more are counted in the smallest index.
"""


def _few_due() -> Select[Any]:
    outbox_position = select(given(numbers=("outbox_position",)).c.outbox_position).scalar_subquery()
    some = select(c.position).where(c.position > outbox_position).limit(bindparam("limit")).subquery("some")
    beyond = select(func.count()).select_from(some).scalar_subquery()
    again = func.count().filter(and_(p.state == DUE, p.position <= outbox_position))
    parked_beyond = func.count().filter(and_(p.state != DUE, p.position > outbox_position))
    parked_due = select(again - parked_beyond).where(p.kind != NODE).scalar_subquery()
    return select(beyond.label("beyond"), parked_due.label("parked_due"))


FEW_DUE = _few_due()
"""How many contracts are beyond the position of the outbox, counted up to a limit, and how many more or fewer are due because
deliveries are parked.
"""


def _was_delivered_before(*, nodes: bool) -> Select[Any]:
    is_kind = p.kind == NODE if nodes else p.kind != NODE
    delivered = (
        select(1)
        .where(s.session_id == bindparam("session_id"), s.position < bindparam("before"))
        .where(~exists(select(1).where(p.position == s.position, is_kind)))
    )
    if nodes:
        delivered = delivered.where(s.contract_type == REQUEST)
    return select(delivered.exists().label("was_delivered"))


EVENT_WAS_DELIVERED_BEFORE = _was_delivered_before(nodes=False)
"""Whether the event of any contract of a session before a position was delivered."""

NODE_WAS_DELIVERED_BEFORE = _was_delivered_before(nodes=True)
