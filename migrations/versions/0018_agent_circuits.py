"""The circuit breaker of an agent, so that all processes of a ledger know that it is open."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.add_column("agents", sa.Column("circuit_until", moment, nullable=True))
    op.add_column("agents", sa.Column("circuit_since", moment, nullable=True))
