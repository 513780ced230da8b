"""Registered agents, and the states of agents."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.create_table(
        "agents",
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("registered_at", moment, nullable=False),
        sa.Column("ttl_s", sa.Float(), nullable=True),
        sa.Column("lease_ends_at", moment, nullable=True),
        sa.Column("drained_at", moment, nullable=True),
        sa.Column("state", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("since", moment, nullable=True),
        sa.PrimaryKeyConstraint("agent_id", name="pk_agents"),
    )
