"""On PostgreSQL, the index of the queue has the order of the queue, so that a claim does not read and sort all queued tasks."""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP INDEX IF EXISTS ix_contracts_queue")
        op.execute(
            "CREATE INDEX ix_contracts_queue ON contracts (capability, coalesce(to_agent, ''), coalesce(required_labels, ''),"
            " priority, turn, position) WHERE turn IS NOT NULL"
        )
