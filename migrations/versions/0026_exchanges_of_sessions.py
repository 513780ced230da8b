"""The index of contracts by session says which are REQUESTs, so that the exchanges of sessions are counted without reading them."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

INDEXED = "(SELECT value FROM counters WHERE name = 'session_index')"
ROWS = "SELECT session_id, position, contract_type = 'REQUEST' FROM contracts"


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        op.execute(
            "CREATE OR REPLACE VIEW session_index AS"
            " SELECT session_id, position, (contract_type = 'REQUEST')::int AS is_request FROM contracts"
        )
        return
    op.execute("DROP TRIGGER contracts_indexed")
    op.drop_table("session_index")
    op.create_table(
        "session_index",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_request", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "position", name="pk_session_index"),
        sqlite_with_rowid=False,
    )
    op.execute(f"INSERT INTO session_index {ROWS} WHERE position <= {INDEXED} ORDER BY session_id, position")
    op.execute(
        "CREATE TRIGGER contracts_indexed AFTER INSERT ON contracts WHEN new.position % 2048 = 0 BEGIN"
        f" INSERT INTO session_index {ROWS}"
        f" WHERE position > {INDEXED} AND position <= new.position ORDER BY session_id, position;"
        " UPDATE counters SET value = new.position WHERE name = 'session_index'; END"
    )
