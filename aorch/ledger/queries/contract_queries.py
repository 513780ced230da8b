"""Statements that write contracts, and find single contracts, those of a session and those of a delegation."""

from typing import Any

from sqlalchemy import (
    Insert,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal,
    null,
    select,
    table,
    union,
    union_all,
    update,
)

from aorch.ledger.queries.expressions import RECORD, contracts, given, listed
from aorch.ledger.record import (
    COMPLETED,
    IN_PROGRESS,
    NEW_REQUEST_FIELDS,
    PENDING,
    REQUEST,
    RESPONSE,
    RESPONSE_FIELDS,
    ROOT_REQUEST_FIELDS,
    ROOT_RESULT_FIELDS,
    Record,
)
from aorch.ledger.schema import Attempt, session_contracts

c = contracts.c

_record = table("contracts", *(column(each.name, each.type) for each in RECORD))
"""The columns of a record in its order, which need not be that of the table."""

INSERT_CONTRACT = insert(_record).values({name: bindparam(name) for name in Record._fields})
"""Inserts a whole record."""


def _insert_response(fields: tuple[str, ...]) -> Insert:
    literals = {"contract_type": RESPONSE, "payload": literal("{}", Text)}
    return insert(_record).values({name: bindparam(name) for name in fields}).values(literals)


INSERT_REQUEST = insert(_record).values({name: bindparam(name) for name in NEW_REQUEST_FIELDS})
"""Inserts a REQUEST without the columns that its RESPONSE fills, because each bound value takes time."""

INSERT_ROOT_REQUEST = insert(_record).values({name: bindparam(name) for name in ROOT_REQUEST_FIELDS})
"""INSERT_REQUEST for a REQUEST without a parent."""

INSERT_RESPONSE = _insert_response(RESPONSE_FIELDS)
"""Inserts a RESPONSE: its payload is empty and no process claims it."""

INSERT_ROOT_RESULT = _insert_response(ROOT_RESULT_FIELDS)
"""INSERT_RESPONSE for a RESPONSE without a parent and an error."""

START_REQUEST = (
    update(contracts).where(c.contract_id == bindparam("request_id"), c.status == PENDING).values(status=IN_PROGRESS)
)

FINISH_REQUEST = (
    update(contracts)
    .where(c.contract_id == bindparam("request_id"))
    .ordered_values(
        (c.status, bindparam("final_status")), (c.completed_at, bindparam("finished_at")), (c.claimed_by, null())
    )
)
"""Ends a REQUEST that was never queued."""

SET_AGENT = update(contracts).where(c.contract_id == bindparam("request_id")).values(to_agent=bindparam("agent_id"))

LINK_RESPONSE = (
    update(contracts)
    .where(c.contract_id == bindparam("response_id"))
    .ordered_values((c.request_id, bindparam("answered_id")), (c.capability, bindparam("its_capability")))
)
"""Stores which REQUEST a RESPONSE answers."""

CONTRACT_AT = select(*RECORD).where(c.position == bindparam("position"))

CONTRACT_BY_ID = select(*RECORD).where(c.contract_id == bindparam("contract_id"))

RESPONSE_TO = select(*RECORD).where(c.request_id == bindparam("request_id"))

_texts = [cast(column, Text) for column in RECORD]
CONTRACT_TEXTS = select(*_texts).where(c.contract_id == bindparam("contract_id"))
"""A contract, all columns as text: another program may have stored a number or bytes."""

RESPONSE_TEXTS = select(*_texts).where(c.request_id == bindparam("request_id"))
"""The same columns for the RESPONSE to a REQUEST."""

SEARCHABLE_TEXTS = (
    select(c.position, cast(c.payload, Text), cast(c.result, Text), c.error)
    .where(c.position > bindparam("after"))
    .order_by(c.position)
    .limit(bindparam("limit"))
)
"""The text to index for full-text search, for the contracts after a position."""

LAST_POSITION = select(func.coalesce(func.max(c.position), 0).label("position"))

_attempts = Attempt.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_running_attempt = (
    select(_attempts.c.agent_id)
    .where(_attempts.c.request_id == c.contract_id, _attempts.c.ended_at.is_(None))
    .order_by(_attempts.c.number.desc())
    .limit(1)
    .scalar_subquery()
)
AGENT_OF_REQUEST = select(func.coalesce(_running_attempt, c.to_agent).label("agent_id")).where(
    c.contract_id == bindparam("request_id")
)
"""The agent of the attempt that runs; of the first one if the REQUEST needed no other."""

PAYLOAD_OF_REQUEST = select(c.payload).where(c.contract_id == bindparam("request_id"))

RESULT_OF_REQUEST = select(c.result).where(c.request_id == bindparam("request_id"))
"""The result of the RESPONSE to that REQUEST."""

ANSWERED_REQUESTS = select(c.request_id).where(c.request_id.in_(listed("request_ids")))
"""Of the given REQUEST ids (a JSON list), those that have a RESPONSE."""


def _position_of(name: str) -> ScalarSelect[Any]:
    its = contracts.alias("bound")
    return select(its.c.position).where(its.c.contract_id == bindparam(name)).scalar_subquery()


its = session_contracts.c
CONTRACTS_BETWEEN = (
    select(*(its[name] for name in Record._fields), its.position)
    .where(its.session_id == bindparam("session_id"))
    .where(its.position >= _position_of("first_contract_id"), its.position <= _position_of("last_contract_id"))
    .order_by(its.position)
)
"""The contracts of a session from one contract to another, both included, oldest first; last its position."""

NEWEST_IDS = select(c.contract_id, c.capability, c.session_id).order_by(c.position.desc()).limit(bindparam("limit"))


def _ancestors() -> Select[Any]:
    def columns(table: Any) -> list[Any]:
        return [table.c.contract_id, table.c.to_agent, table.c.capability, table.c.parent_id]

    start = select(*columns(contracts)).where(c.contract_id == bindparam("contract_id"), c.contract_type == REQUEST)
    ancestors, parent = start.cte("ancestors", recursive=True), contracts.alias("c")
    ancestors = ancestors.union(
        select(*columns(parent)).join_from(parent, ancestors, parent.c.contract_id == ancestors.c.parent_id)
    )
    return select(ancestors.c.contract_id, ancestors.c.to_agent, ancestors.c.capability)


ANCESTORS = _ancestors()
"""A REQUEST and its ancestors, up to the root; empty for a RESPONSE."""


def _claimed(column: Any, *conditions: Any) -> tuple[Select[Any], ...]:
    """Uses two partial indexes: open REQUESTs by status, and claims of pending REQUESTs."""
    running = select(column).where(c.claimed_by.is_not(None), c.status == IN_PROGRESS, c.status != COMPLETED)
    pending = select(column).where(c.claimed_by.is_not(None), c.status == PENDING)
    return running.where(*conditions), pending.where(*conditions)


CLAIM_OWNERS = union(*_claimed(c.claimed_by))
"""The owner of each claim."""

_is_expired = select(c.position).where(c.expires_at <= bindparam("now")).exists()
OWNERS_AND_EXPIRY = union(*_claimed(c.claimed_by), select(null()).where(_is_expired))
"""CLAIM_OWNERS, and NULL if a queued REQUEST has expired: all that must be known to recover a ledger."""

_owner_id = select(given("owner_id").c.owner_id).scalar_subquery()
CLAIMED_BY_OWNER = union_all(*_claimed(c.contract_id, c.claimed_by == _owner_id))
