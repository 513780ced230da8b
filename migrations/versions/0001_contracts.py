"""The table of contracts, and its full-text index on SQLite."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def _when(condition: str) -> dict[str, sa.TextClause]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql").with_variant(sa.Text(), "sqlite")
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.create_table(
        "contracts",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("contract_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("contract_type", sa.String(), nullable=False),
        sa.Column("from_agent", sa.String(), nullable=False),
        sa.Column("to_agent", sa.String()),
        sa.Column("capability", sa.String(), nullable=False),
        sa.Column("payload", json, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("completed_at", moment),
        sa.Column("result", json),
        sa.Column("error", sa.String()),
        sa.Column("metadata", json, nullable=False),
        sa.Column("request_id", sa.String()),
        sa.Column("parent_id", sa.String()),
        sa.Column("claimed_by", sa.String()),
        sa.PrimaryKeyConstraint("position", name="pk_contracts"),
        sa.UniqueConstraint("contract_id", name="uq_contracts_contract_id"),
    )
    op.create_index("ix_contracts_session_id_position", "contracts", ["session_id", "position"])
    op.create_index("ix_contracts_request_id", "contracts", ["request_id"], unique=True, **_when("request_id IS NOT NULL"))
    op.create_index("ix_contracts_parent_id", "contracts", ["parent_id"], **_when("parent_id IS NOT NULL"))
    op.create_index("ix_contracts_claimed_by", "contracts", ["claimed_by"], **_when("claimed_by IS NOT NULL"))
    op.create_index("ix_contracts_status_position", "contracts", ["status", "position"], **_when("status <> 'completed'"))
    if op.get_context().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE contracts_text USING fts5(words, content='')")
