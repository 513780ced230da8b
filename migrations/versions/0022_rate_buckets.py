"""The rates of callers, which all servers of a ledger share."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "rate_buckets",
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("full_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("caller", name="pk_rate_buckets"),
    )
