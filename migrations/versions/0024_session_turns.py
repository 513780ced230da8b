"""On SQLite, a table has the turns of queued REQUESTs by session, so that a claim changes a quarter as many pages of a long queue."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

NEW = "session_id = new.session_id AND priority = new.priority"
OLD = "session_id = old.session_id AND priority = old.priority"
UPDATE = "AFTER UPDATE OF turn ON contracts"
JOIN = (
    f"UPDATE OR IGNORE session_turns SET turn = new.turn WHERE {NEW} AND turn = new.turn - 1;"
    " INSERT OR IGNORE INTO session_turns VALUES (new.session_id, new.priority, new.turn, new.turn);"
)
LEAVE = (
    "INSERT OR IGNORE INTO session_turns SELECT session_id, priority, old.turn - 1, first_turn FROM session_turns"
    f" WHERE {OLD} AND turn = (SELECT min(turn) FROM session_turns WHERE {OLD} AND turn >= old.turn)"
    " AND first_turn < old.turn AND old.turn - 1 > (SELECT turn FROM queue_clock WHERE priority = old.priority);"
    f" UPDATE session_turns SET first_turn = old.turn + 1 WHERE {OLD}"
    f" AND turn = (SELECT min(turn) FROM session_turns WHERE {OLD} AND turn > old.turn) AND first_turn <= old.turn;"
    f" DELETE FROM session_turns WHERE {OLD} AND turn = old.turn;"
)


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        op.execute(
            "CREATE VIEW session_turns AS SELECT session_id, priority, turn, turn AS first_turn FROM contracts"
            " WHERE turn IS NOT NULL"
        )
        return
    op.drop_index("ix_contracts_session_id_priority_turn", "contracts")
    op.create_table(
        "session_turns",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("first_turn", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "priority", "turn", name="pk_session_turns"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO session_turns SELECT session_id, priority, max(turn), min(turn) FROM (SELECT session_id, priority, turn,"
        " turn - dense_rank() OVER (PARTITION BY session_id, priority ORDER BY turn) AS run FROM contracts"
        " WHERE turn IS NOT NULL AND priority IS NOT NULL) GROUP BY session_id, priority, run"
    )
    op.execute(f"CREATE TRIGGER contracts_queued AFTER INSERT ON contracts WHEN new.turn IS NOT NULL BEGIN {JOIN} END")
    op.execute(
        f"CREATE TRIGGER contracts_due {UPDATE} WHEN new.turn IS NOT NULL AND new.turn > (SELECT turn FROM queue_clock"
        f" WHERE priority = new.priority) BEGIN {JOIN} END"
    )
    op.execute(
        f"CREATE TRIGGER contracts_claimed {UPDATE} WHEN new.claimed_by IS NOT NULL AND old.turn IS NOT NULL BEGIN"
        f" DELETE FROM session_turns WHERE {OLD} AND turn = old.turn; END"
    )
    op.execute(
        f"CREATE TRIGGER contracts_withdrawn {UPDATE} WHEN new.claimed_by IS NULL AND old.turn IS NOT NULL BEGIN {LEAVE} END"
    )
    op.execute(f"CREATE TRIGGER contracts_unqueued AFTER DELETE ON contracts WHEN old.turn IS NOT NULL BEGIN {LEAVE} END")
