"""The oldest contract of each run of positions, so that a prune reads only the parts of the ledger with old contracts."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "contract_ages",
        sa.Column("last_position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oldest_at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("last_position", name="pk_contract_ages"),
    )
