"""Statements for spans: the exchanges that have ended after a position."""

from sqlalchemy import Text, bindparam, cast, func, select

from aorch.ledger.queries.expressions import contracts
from aorch.ledger.record import RESPONSE

c, asked = contracts.c, contracts.alias("r")
r = asked.c

ENDED_EXCHANGES = (
    select(c.position, c.contract_id, c.session_id, c.from_agent, c.capability, c.status, c.created_at, c.error)
    .add_columns(cast(c.metadata, Text), c.request_id, c.parent_id)
    .add_columns(r.from_agent, r.to_agent, r.created_at, cast(r.metadata, Text), r.priority)
    .select_from(contracts.outerjoin(asked, r.contract_id == c.request_id))
    .where(c.position > bindparam("after"), c.position <= bindparam("last"), c.contract_type == RESPONSE)
    .order_by(c.position)
    .limit(bindparam("limit"))
)
"""The RESPONSEs after a position up to another one, each with its REQUEST, whose columns are NULL if it is not in the ledger."""

ENDED_EXCHANGES_WITH_CONTENT = ENDED_EXCHANGES.add_columns(cast(c.result, Text), cast(r.payload, Text))


PARENT_OF = select(c.parent_id, cast(c.metadata, Text)).where(c.contract_id == bindparam("contract_id"))

CONTRACTS_BEYOND = select(func.count().filter(c.position > bindparam("after")).label("beyond"))
"""The number of contracts after a position, which reads the smallest index."""

FEW_BEYOND = select(func.count()).select_from(
    select(c.position).where(c.position > bindparam("after")).limit(bindparam("limit")).subquery("some")
)
"""The same, counted one by one up to a limit."""
