"""Pieces of the selects of exchanges: each row is a REQUEST (`c`), to which exchanges.py adds its RESPONSE.

The other conditions are those of contracts (reading_queries.py).
"""

from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, case, cast, exists, func, literal, literal_column, or_, select

from aorch.ledger.queries.expressions import (
    contract_count,
    contracts,
    cross_join,
    like_ignoring_case,
    metadata_text,
    position_in,
)
from aorch.ledger.record import CANCELLED, COMPLETED, FAILED, INTERRUPTED, REQUEST
from aorch.ledger.schema import Attempt, session_contracts

_of_table, _by_session, matched = contracts.alias("c"), session_contracts.alias("c"), contracts.alias("m")
_answers = contracts.alias("r")
c, r = _of_table.c, _answers.c
attempts = Attempt.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it

REQUEST_COLUMNS = (
    *("contract_id", "session_id", "parent_id", "capability", "from_agent", "to_agent"),
    *("status", "created_at", "completed_at"),
)
RESPONSE_COLUMNS = ("contract_id", "from_agent", "status", "completed_at", "error")


def _requests(table: Any, source: Any = None) -> Select[Any]:
    columns = (table.c[name] for name in REQUEST_COLUMNS)
    return select(table.c.position, *columns, cast(table.c.metadata, Text).label("metadata")).select_from(
        table if source is None else source
    )


EXCHANGES, EXCHANGES_BY_SESSION = _requests(_of_table), _requests(_by_session)

EXCHANGES_BY_MATCH = _requests(_of_table, cross_join(matched, _of_table)).add_columns(
    matched.c.position.label("matched")
)
"""The same for each contract (`m`) that the full-text search finds; last its position."""

RESPONSE_IN_EXCHANGE = select(
    r.position, *(r[name] for name in RESPONSE_COLUMNS), cast(r.result, Text), cast(r.metadata, Text)
).where(r.request_id == bindparam("request_id"))

MATCHED_POSITIONS = select(matched.c.position)
"""The contracts that the full-text search finds."""


# Counts

EXCHANGE_COUNT = select(
    (
        contract_count()
        - select(func.count()).select_from(contracts).where(contracts.c.request_id.is_not(None)).scalar_subquery()
    ).label("count")
)
"""The number of REQUESTs, and of RESPONSEs without one: all contracts but those in the index of answers."""

_requests_not_completed = (
    select(c.status, literal(0).label("was_interrupted"), func.count().label("count"))
    .where(c.status != COMPLETED, c.contract_type == REQUEST)
    .group_by(c.status)
)
_interrupted = (
    select(c.status, literal(1), func.count())
    .select_from(cross_join(_answers, _of_table))
    .where(r.status == INTERRUPTED, r.status != COMPLETED, c.contract_id == r.request_id)
    .where(c.status != COMPLETED, c.contract_type == REQUEST)
    .group_by(c.status)
)
EXCHANGE_STATUS_COUNTS = _requests_not_completed.union_all(_interrupted)
"""The number of REQUESTs in each status but `completed`, then of those among them whose RESPONSE is `interrupted`. Reads the
index of contracts with another status, and looks up only the REQUESTs of these RESPONSEs.
"""


# Conditions

IS_REQUEST = c.contract_type == REQUEST
IS_EXCHANGE_OF_MATCH = c.contract_id == case(
    (matched.c.contract_type == REQUEST, matched.c.contract_id), else_=matched.c.request_id
)
MATCH_IS_NOT_COMPLETED = matched.c.status != COMPLETED
"""Likewise, before the REQUEST is looked up: it has the status of its RESPONSE, or `failed` if that is `interrupted`."""
HAS_ENDED_BADLY = and_(c.status.in_((FAILED, CANCELLED)), c.status != COMPLETED)
"""Lets SQLite use the index on status."""
_answers_it = r.request_id == literal_column("c.contract_id")
"""A column of `c` itself would add `c` to the FROM of the subquery, because a condition is generated without its select."""
IS_INTERRUPTED = exists().where(_answers_it, r.status == INTERRUPTED)
IS_NOT_INTERRUPTED = ~IS_INTERRUPTED
ERROR_CONTAINS = exists().where(_answers_it, like_ignoring_case(r.error, bindparam("pattern")))
CALLED_AGENT = or_(
    c.to_agent == bindparam("agent_id"),
    c.contract_id.in_(select(attempts.request_id).where(attempts.agent_id == bindparam("other_agent_id"))),
)
"""Exchanges for which that agent was chosen, or called by any attempt."""
WITH_CALLER = or_(
    c.from_agent == bindparam("from_agent"),
    and_(
        position_in(c.metadata, '"caller"') > 0,
        or_(
            metadata_text(_of_table, "caller.name") == bindparam("name"),
            metadata_text(_of_table, "caller.id") == bindparam("id"),
        ),
    ),
)
"""Exchanges of that agent, or of the token with that name or id."""
MATCHES_UP_TO = matched.c.position <= bindparam("last")
