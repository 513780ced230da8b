"""Memory blocks: what the contracts of a session came to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql").with_variant(sa.Text(), "sqlite")
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.create_table(
        "memory_blocks",
        sa.Column("block_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("last_position", sa.Integer(), nullable=False),
        sa.Column("block", json, nullable=False),
        sa.Column("beside", json),
        sa.PrimaryKeyConstraint("block_id", name="pk_memory_blocks"),
    )
    op.create_index("ix_memory_blocks_session_id_last_position", "memory_blocks", ["session_id", "last_position"])
