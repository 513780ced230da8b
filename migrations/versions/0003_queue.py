"""The queue: what a pending REQUEST waits for, and who is to hear of its end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _when(condition: str) -> dict[str, sa.TextClause]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.add_column("contracts", sa.Column("priority", sa.Integer()))
    op.add_column("contracts", sa.Column("turn", sa.Integer()))
    op.add_column("contracts", sa.Column("due_at", moment))
    op.add_column("contracts", sa.Column("expires_at", moment))
    op.add_column("contracts", sa.Column("attempts", sa.Integer()))
    op.add_column("contracts", sa.Column("cancelled_by", sa.String()))
    waits = _when("turn IS NOT NULL")
    op.create_index(
        "ix_contracts_capability_to_agent_priority_turn",
        "contracts",
        ["capability", "to_agent", "priority", "turn"],
        **waits,
    )
    op.create_index("ix_contracts_session_id_priority_turn", "contracts", ["session_id", "priority", "turn"], **waits)
    op.create_index("ix_contracts_due_at", "contracts", ["due_at"], **_when("due_at IS NOT NULL"))
    op.create_index("ix_contracts_expires_at", "contracts", ["expires_at"], **_when("expires_at IS NOT NULL"))
    op.create_index(
        "ix_contracts_cancelled", "contracts", ["claimed_by"], **_when("cancelled_by IS NOT NULL AND claimed_by IS NOT NULL")
    )
    clock = op.create_table(
        "queue_clock",
        sa.Column("priority", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("priority", name="pk_queue_clock"),
    )
    op.bulk_insert(clock, [{"priority": priority, "turn": 0} for priority in (1, 2, 3, 4, 5)])
    op.create_table(
        "webhooks",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", moment),
        sa.Column("error", sa.String()),
        sa.PrimaryKeyConstraint("request_id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_due_at", "webhooks", ["due_at"], **_when("due_at IS NOT NULL"))
