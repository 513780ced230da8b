"""The latest progress of running tasks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql").with_variant(sa.Text(), "sqlite")
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.create_table(
        "task_progress",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("reported_at", moment, nullable=False),
        sa.Column("progress", json, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_task_progress"),
    )
