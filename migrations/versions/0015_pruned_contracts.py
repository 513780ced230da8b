"""Contracts that were pruned although memory blocks cover them; keys and lines of batches are found by their REQUEST."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "pruned_contracts",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("contract_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "position", name="pk_pruned_contracts"),
    )
    op.create_index("ix_idempotency_keys_request_id", "idempotency_keys", ["request_id"])
    op.create_index("ix_batch_lines_request_id", "batch_lines", ["request_id"])
