"""Statements that describe a whole ledger."""

from sqlalchemy import func, select

from aorch.ledger.queries.expressions import contracts
from aorch.ledger.schema import Webhook

c = contracts.c
webhooks = Webhook.__table__  # type: ignore[attr-defined]  # SQLModel adds it

CONTRACT_TOTAL = select(func.count().label("count")).select_from(contracts)
"""The number of contracts, counted."""

OLDEST_CONTRACT = select(c.created_at, c.position).order_by(c.position).limit(1)

NEWEST_CONTRACT = select(c.created_at, c.position).order_by(c.position.desc()).limit(1)

DUE_WEBHOOK_COUNT = select(func.count().label("count")).select_from(webhooks).where(webhooks.c.due_at.is_not(None))
