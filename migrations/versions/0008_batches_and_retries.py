"""Batches, their lines and retries have tables of their own; their rows were idempotency keys of callers that do not exist."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("generation", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_batches"),
    )
    op.create_table(
        "batch_lines",
        sa.Column("generation", sa.String(), nullable=False),
        sa.Column("line_key", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "line_key", name="pk_batch_lines"),
    )
    op.create_table(
        "retries",
        sa.Column("contract_id", sa.String(), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("contract_id", "command", name="pk_retries"),
    )
    op.execute(
        "INSERT INTO batches (name, generation) SELECT key, request_id FROM idempotency_keys WHERE caller = 'batch'"
    )
    op.execute(
        "INSERT INTO batch_lines (generation, line_key, request_id)"
        " SELECT substr(caller, 7), key, request_id FROM idempotency_keys WHERE caller LIKE 'batch:%'"
    )
    op.execute(
        "INSERT INTO retries (contract_id, command, request_id)"
        " SELECT key, caller, request_id FROM idempotency_keys WHERE caller IN ('retry', 'resume')"
    )
    op.execute(
        "DELETE FROM idempotency_keys WHERE caller IN ('batch', 'retry', 'resume') OR caller LIKE 'batch:%'"
    )
