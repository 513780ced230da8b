"""Pieces of the selects of contracts: what is selected, conditions, orders (selection.py composes them), and what else a
Reader selects.

In all pieces the contracts are named `c`. They come from the table or, in statements `..._BY_SESSION`, from the view by session.
"""

from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, case, cast, func, literal, or_, select, text

from aorch.ledger.queries.expressions import contract_count, contracts, like_ignoring_case, listed
from aorch.ledger.record import COMPLETED, IN_PROGRESS, PENDING, REQUEST, Record
from aorch.ledger.schema import IdempotencyKey, session_contracts, session_positions

_of_table, _by_session = contracts.alias("c"), session_contracts.alias("c")
c, keys, positions = _of_table.c, IdempotencyKey.__table__.c, session_positions.c  # type: ignore[attr-defined]  # SQLModel adds it


# What is selected


def _records(table: Any, **others: Any) -> Select[Any]:
    """The position, and the columns of a record in order, JSON as text; `others` replace columns by name."""
    as_text = {name: cast(table.c[name], Text) for name in ("payload", "result", "metadata")} | others
    return select(table.c.position, *(as_text.get(name, table.c[name]) for name in Record._fields)).select_from(table)


def _shown(table: Any) -> Select[Any]:
    response = contracts.alias("r")
    answer = select(cast(response.c.result, Text)).where(response.c.request_id == table.c.contract_id)
    has_answer = and_(table.c.contract_type == REQUEST, table.c.status == COMPLETED)
    result = case((has_answer, answer.scalar_subquery()), else_=cast(table.c.result, Text))
    return _records(table, result=result.label("result"))


CONTRACTS, CONTRACTS_BY_SESSION = _records(_of_table), _records(_by_session)

SHOWN_CONTRACTS, SHOWN_CONTRACTS_BY_SESSION = _shown(_of_table), _shown(_by_session)
"""The same for a list: a completed REQUEST has the result of its RESPONSE."""

COUNT, COUNT_BY_SESSION = (
    select(func.count(table.c.contract_id).label("count")).select_from(table) for table in (_of_table, _by_session)
)


# Conditions

IN_SESSION = c.session_id == bindparam("session_id")
OF_TYPE = c.contract_type == bindparam("contract_type")
WITH_CAPABILITY = c.capability == bindparam("capability")
WITH_STATUS = c.status == bindparam("status")
NOT_COMPLETED = c.status != COMPLETED
"""The condition of the index on status, which SQLite uses only if a query repeats it literally."""
FROM_AGENT = c.from_agent == bindparam("agent_id")
TO_AGENT = c.to_agent == bindparam("agent_id")
FROM_OR_TO_AGENT = or_(c.from_agent == bindparam("from_agent"), c.to_agent == bindparam("to_agent"))
CREATED_SINCE = c.created_at >= bindparam("since")
CREATED_UNTIL = c.created_at < bindparam("until")
CHANGED_SINCE = or_(
    c.created_at >= bindparam("created_since"),
    c.completed_at >= bindparam("completed_since"),
    c.status.in_((PENDING, IN_PROGRESS)),
)
BEFORE_POSITION = c.position < bindparam("before")
AFTER_POSITION = c.position > bindparam("after")
HAS_ID_IN = c.contract_id.in_(listed("contract_ids"))
ANSWERS_ONE_OF = c.request_id.in_(listed("request_ids"))
DELEGATED_BY_ONE_OF = c.parent_id.in_(listed("request_ids"))
IN_ONE_OF_SESSIONS = c.session_id.in_(listed("session_ids"))


# Orders and the number of rows

OLDEST_FIRST = c.position.asc()
NEWEST_FIRST = c.position.desc()
LIMIT = text("LIMIT :limit")


# Whole statements

POSITION_OF_CONTRACT = select(c.position).where(c.contract_id == bindparam("contract_id"))

IDS_LIKE = (
    select(c.contract_id)
    .where(
        or_(
            like_ignoring_case(c.contract_id, bindparam("beginning")),
            like_ignoring_case(c.contract_id, bindparam("ending")),
        )
    )
    .limit(bindparam("limit"))
)
"""The ids that match one of two patterns: 140 ms for 1,000,000 contracts."""

SESSIONS_BETWEEN = (
    select(c.session_id).distinct().where(c.position > bindparam("after"), c.position <= bindparam("last"))
)
"""The sessions of the contracts after a position and up to another one."""

CONTRACT_COUNT = select(contract_count().label("count"))

COUNT_OF_SESSION = (
    select(func.count().label("count"))
    .select_from(session_positions)
    .where(positions.session_id == bindparam("session_id"))
)

STATUS_COUNTS = select(literal(COMPLETED).label("status"), contract_count().label("count")).union_all(
    select(c.status, func.count()).where(c.status != COMPLETED).group_by(c.status)
)
"""The number of all contracts (first, under `completed`), and of those in each other status."""

REQUEST_OF_KEY = select(keys.fingerprint, keys.request_id).where(
    keys.caller == bindparam("caller"), keys.key == bindparam("key")
)
"""The fingerprint and the REQUEST of an idempotency key."""
