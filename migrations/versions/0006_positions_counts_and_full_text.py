"""Positions are never given twice, deletions are counted, and the full text of scripts without spaces is indexed in pairs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

COLUMNS = (
    "position, contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status, created_at,"
    " completed_at, result, error, metadata, request_id, parent_id, claimed_by, priority, turn, due_at, expires_at, attempts,"
    " cancelled_by"
)


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    if op.get_context().dialect.name == "sqlite":
        _renew_contracts()
        _count_deletions()
        op.execute("DROP TABLE contracts_text")
        op.execute(
            "CREATE VIRTUAL TABLE contracts_text USING fts5("
            "words, content='', tokenize=\"unicode61 categories 'L* N* Co Mn Mc'\")"
        )


def _renew_contracts() -> None:
    """SQLite adds AUTOINCREMENT only to a new table."""
    connection = op.get_bind()
    indexes = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'contracts' AND sql IS NOT NULL"
    ).scalars().all()
    op.create_table(
        "contracts_new",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("contract_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("contract_type", sa.String(), nullable=False),
        sa.Column("from_agent", sa.String(), nullable=False),
        sa.Column("to_agent", sa.String()),
        sa.Column("capability", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("completed_at", sa.Text()),
        sa.Column("result", sa.Text()),
        sa.Column("error", sa.String()),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("request_id", sa.String()),
        sa.Column("parent_id", sa.String()),
        sa.Column("claimed_by", sa.String()),
        sa.Column("priority", sa.Integer()),
        sa.Column("turn", sa.Integer()),
        sa.Column("due_at", sa.Text()),
        sa.Column("expires_at", sa.Text()),
        sa.Column("attempts", sa.Integer()),
        sa.Column("cancelled_by", sa.String()),
        sa.PrimaryKeyConstraint("position", name="pk_contracts"),
        sa.UniqueConstraint("contract_id", name="uq_contracts_contract_id"),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO contracts_new ({COLUMNS}) SELECT {COLUMNS} FROM contracts ORDER BY position")
    op.execute("DROP TABLE contracts")
    op.execute("ALTER TABLE contracts_new RENAME TO contracts")
    for sql in indexes:
        op.execute(sa.text(sql.replace(":", "\\:")))


def _count_deletions() -> None:
    """Positions that were given once and are known to deliveries or memory blocks are not given again either."""
    op.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'contracts', 0"
        " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'contracts')"
    )
    op.execute(
        "UPDATE sqlite_sequence SET seq = max(seq,"
        " (SELECT coalesce(max(max(position, reach)), 0) FROM outbox),"
        " (SELECT coalesce(max(position), 0) FROM parked_deliveries),"
        " (SELECT coalesce(max(last_position), 0) FROM memory_blocks)) WHERE name = 'contracts'"
    )
    op.execute(
        "INSERT INTO counters (name, value) SELECT 'deleted_contracts',"
        " (SELECT seq FROM sqlite_sequence WHERE name = 'contracts') - (SELECT count(*) FROM contracts)"
    )
    op.execute(
        "CREATE TRIGGER contracts_deleted AFTER DELETE ON contracts BEGIN"
        " UPDATE counters SET value = value + 1 WHERE name = 'deleted_contracts'; END"
    )
