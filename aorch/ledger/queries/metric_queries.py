"""Statements for metrics: the exchanges after a position, the totals up to one, and the queue."""

from typing import Any

from sqlalchemy import Select, Text, bindparam, cast, func, select
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.expressions import contracts, listed_numbers
from aorch.ledger.record import COMPLETED, IN_PROGRESS, RESPONSE
from aorch.ledger.schema import MetricTotal

totals = MetricTotal.__table__  # type: ignore[attr-defined]  # SQLModel adds it
c, asked = contracts.c, contracts.alias("r")
r = asked.c

MEASURED_RESPONSES = (
    select(c.capability, c.from_agent, c.status, c.created_at, cast(c.metadata, Text), c.request_id)
    .add_columns(r.to_agent, r.created_at, r.priority, cast(r.metadata, Text))
    .select_from(contracts.outerjoin(asked, r.contract_id == c.request_id))
    .where(c.position > bindparam("after"), c.position <= bindparam("last"), c.contract_type == RESPONSE)
    .order_by(c.position)
)
"""The RESPONSEs after a position up to another one, each with its REQUEST, whose columns are NULL if it is not in the ledger."""

METRIC_TOTALS = select(totals.c.metric, totals.c.labels, totals.c.value)

METRIC_POSITION = select(totals.c.value).where(totals.c.metric == "position", totals.c.labels == "[]")
"""The position up to which contracts are part of the totals."""

_put = postgresql.insert(totals).values({each.name: bindparam(each.name) for each in totals.c})
PUT_METRIC_TOTAL = _put.on_conflict_do_update(index_elements=["metric", "labels"], set_={"value": _put.excluded.value})


def _by_capability(*conditions: Any) -> Select[Any]:
    counts = select(c.capability, func.count().label("count"), func.min(c.position).label("first_position"))
    return counts.where(*conditions).group_by(c.capability)


QUEUED_BY_CAPABILITY = _by_capability(c.turn.is_not(None))
"""The tasks that have a turn: their number, and the position of the first one."""

DUE_BY_CAPABILITY = _by_capability(c.due_at <= bindparam("now"))
"""The tasks whose start time has come, and to which no worker has given a turn yet."""

FIRST_DUE_AT = select(func.min(c.due_at)).where(c.due_at.is_not(None))

SCHEDULED_BY_CAPABILITY = _by_capability(c.due_at > bindparam("now"))
"""The queued tasks that cannot start yet."""

RUNNING_BY_CAPABILITY = _by_capability(c.status == IN_PROGRESS, c.status != COMPLETED, c.priority.is_not(None))
"""The tasks of the queue that run now."""

QUEUED_POSITIONS = select(c.position).where(c.turn.is_not(None))

WAITING_SINCE = (
    select(c.created_at, cast(c.metadata, Text)).where(c.position.in_(listed_numbers("positions"))).order_by(c.position)
)
"""When these REQUESTs (a JSON list of positions) were queued, and their options."""
