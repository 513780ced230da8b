"""Contracts are indexed by session in runs of 2048, which makes each write cheaper; a view reads them by session as quickly.

An index on (session_id, position) changes a page in a random place for each row, so that each commit writes as many pages as
it has rows. A sorted run changes each page once. For the same reason the index of claims leaves out REQUESTs in progress, which the
index of the status finds.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

COLUMNS = (
    "contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status, created_at, completed_at,"
    " result, error, metadata, request_id, parent_id, claimed_by, priority, turn, due_at, expires_at, attempts, cancelled_by"
)
INDEXED = "(SELECT value FROM counters WHERE name = 'session_index')"


def upgrade() -> None:
    claimed = sa.text("claimed_by IS NOT NULL AND status = 'pending'")
    op.drop_index("ix_contracts_claimed_by", "contracts")
    op.create_index(
        "ix_contracts_claimed_by", "contracts", ["claimed_by"], sqlite_where=claimed, postgresql_where=claimed
    )
    if op.get_context().dialect.name == "sqlite":
        _index_in_runs()
    else:  # an ordinary index serves there, and nothing is newer than what it has
        op.execute("INSERT INTO counters VALUES ('session_index', 2147483647)")
        op.execute("CREATE VIEW session_index AS SELECT session_id, position FROM contracts")
        op.execute("CREATE VIEW session_positions AS SELECT session_id, position FROM contracts")
        op.execute(f"CREATE VIEW session_contracts AS SELECT position, {COLUMNS} FROM contracts")


def _index_in_runs() -> None:
    op.create_table(
        "session_index",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "position", name="pk_session_index"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO session_index SELECT session_id, position FROM contracts ORDER BY session_id, position")
    op.execute("INSERT INTO counters SELECT 'session_index', coalesce(max(position), 0) FROM contracts")
    op.execute("DROP INDEX ix_contracts_session_id_position")
    op.execute(
        "CREATE TRIGGER contracts_indexed AFTER INSERT ON contracts WHEN new.position % 2048 = 0 BEGIN"
        " INSERT INTO session_index SELECT session_id, position FROM contracts"
        f" WHERE position > {INDEXED} AND position <= new.position ORDER BY session_id, position;"
        " UPDATE counters SET value = new.position WHERE name = 'session_index'; END"
    )
    op.execute("DROP TRIGGER contracts_deleted")
    op.execute(
        "CREATE TRIGGER contracts_deleted AFTER DELETE ON contracts BEGIN"
        " UPDATE counters SET value = value + 1 WHERE name = 'deleted_contracts';"
        " DELETE FROM session_index WHERE session_id = old.session_id AND position = old.position; END"
    )
    op.execute(
        "CREATE TRIGGER contracts_renamed AFTER UPDATE OF session_id ON contracts BEGIN"
        " UPDATE session_index SET session_id = new.session_id WHERE session_id = old.session_id AND position = old.position;"
        " END"
    )
    op.execute(
        "CREATE VIEW session_positions AS SELECT session_id, position FROM session_index"
        f" UNION ALL SELECT session_id, position FROM contracts WHERE position > {INDEXED}"
    )
    its = ", ".join(f"c.{name}" for name in COLUMNS.split(", "))
    op.execute(
        f"CREATE VIEW session_contracts AS SELECT s.position, {its} FROM session_index s"
        " CROSS JOIN contracts c ON c.position = s.position AND c.session_id = s.session_id"
        f" UNION ALL SELECT position, {COLUMNS} FROM contracts WHERE position > {INDEXED}"
    )
