"""Erasures, and the contracts whose content was erased."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql").with_variant(sa.Text(), "sqlite")
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.String(), nullable=False),
        sa.Column("erased_at", moment, nullable=False),
        sa.Column("erased_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("selection", json, nullable=False),
        sa.Column("cleaned_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("erasure_id", name="pk_erasures"),
    )
    op.create_table(
        "erased_contracts",
        sa.Column("contract_id", sa.String(), nullable=False),
        sa.Column("erasure_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("contract_id", name="pk_erased_contracts"),
    )
