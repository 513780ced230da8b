"""Selects of exchanges for statistics: each row is a REQUEST (`c`) with what its RESPONSE (`r`) tells.

The conditions are those of exchanges and contracts (exchange_queries.py, reading_queries.py).
"""

from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, case, cast, func, literal, select

from aorch.ledger.queries.expressions import contracts, listed_numbers, position_in
from aorch.ledger.record import CANCELLED, COMPLETED, FAILED, INTERRUPTED, ORCHESTRATOR

asked, answer = contracts.alias("c"), contracts.alias("r")
c, r = asked.c, answer.c

_outcome = case(
    (r.contract_id.is_(None), case((c.status.in_((COMPLETED, FAILED, CANCELLED)), c.status), else_=literal("open"))),
    (and_(r.status == FAILED, r.from_agent == ORCHESTRATOR), literal("rejected")),
    else_=r.status,
)
"""The status of the RESPONSE; `rejected` if the task failed before an agent was called, `open` without a RESPONSE."""
_asked_metadata = cast(c.metadata, Text)
HAS_FAILED = r.status.in_((FAILED, INTERRUPTED))


def _statistics(*keys: Any) -> Select[Any]:
    """`keys`; the outcome and the RESPONSE's metadata; for a queued task its end, its beginning and the REQUEST's metadata; for a
    failed one its position.
    """
    was_queued = c.priority.is_not(None)
    return select(
        *keys,
        _outcome.label("outcome"),
        cast(r.metadata, Text).label("told"),
        case((was_queued, r.created_at)).label("ended_at"),
        case((was_queued, c.created_at)).label("queued_at"),
        case((was_queued, _asked_metadata)).label("asked"),
        case((HAS_FAILED, c.position)).label("failed"),
    ).select_from(asked.outerjoin(answer, r.request_id == c.contract_id))


STATS_BY_CAPABILITY = _statistics(c.capability)
STATS_BY_AGENT = _statistics(func.coalesce(func.nullif(r.from_agent, ORCHESTRATOR), c.to_agent).label("agent_id"))
STATS_BY_SESSION = _statistics(c.session_id)
STATS_BY_TIME = _statistics(c.created_at)
STATS_BY_CALLER = _statistics(
    c.from_agent, case((position_in(_asked_metadata, '"caller"') > 0, _asked_metadata)).label("caller")
)
STATS_BY_ERROR = _statistics(r.error)

FAILURES_AT = (
    select(c.position, c.contract_id, c.created_at, r.error)
    .select_from(asked.join(answer, r.request_id == c.contract_id))
    .where(c.position.in_(listed_numbers("positions")))
)
"""The failed exchanges whose REQUESTs are at those positions (a JSON list)."""

SINCE_ID = c.contract_id >= bindparam("first_id")
"""Finds contracts by the time in their ids."""
