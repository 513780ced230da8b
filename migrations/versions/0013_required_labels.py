"""A queued REQUEST has the labels that its agent must have, so that any agent that has them can take it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

COLUMNS = (
    "contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status, created_at, completed_at,"
    " result, error, metadata, request_id, parent_id, claimed_by, priority, turn, due_at, expires_at, attempts, cancelled_by,"
    " required_labels"
)
INDEXED = "(SELECT value FROM counters WHERE name = 'session_index')"


def upgrade() -> None:
    op.add_column("contracts", sa.Column("required_labels", sa.String(), nullable=True))
    op.drop_index("ix_contracts_capability_to_agent_priority_turn", "contracts")
    _index(["capability", "to_agent", "required_labels", "priority", "turn"], "turn IS NOT NULL")
    _index(["required_labels"], "turn IS NOT NULL AND required_labels IS NOT NULL")
    op.execute("DROP VIEW session_contracts")
    if op.get_context().dialect.name == "sqlite":
        its = ", ".join(f"c.{name}" for name in COLUMNS.split(", "))
        op.execute(
            f"CREATE VIEW session_contracts AS SELECT s.position, {its} FROM session_index s"
            " CROSS JOIN contracts c ON c.position = s.position AND c.session_id = s.session_id"
            f" UNION ALL SELECT position, {COLUMNS} FROM contracts WHERE position > {INDEXED}"
        )
    else:
        op.execute(f"CREATE VIEW session_contracts AS SELECT position, {COLUMNS} FROM contracts")


def _index(columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        f"ix_contracts_{'_'.join(columns)}", "contracts", columns, sqlite_where=where, postgresql_where=where
    )
