"""Leases of workers that claim tasks over HTTP, and the capabilities that a token allows them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql").with_variant(sa.Text(), "sqlite")
    moment = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.add_column("tokens", sa.Column("capabilities", json, nullable=True))
    op.create_table(
        "work_leases",
        sa.Column("lease_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("lease_s", sa.Float(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("ends_at", moment, nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("unconfirmed", json, nullable=True),
        sa.PrimaryKeyConstraint("lease_id", name="pk_work_leases"),
    )
    op.create_index("ix_work_leases_ends_at", "work_leases", ["ends_at"])
    op.create_index("ix_work_leases_offer_id", "work_leases", ["offer_id"])
    op.create_table(
        "work_offers",
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("document", json, nullable=False),
        sa.PrimaryKeyConstraint("offer_id", name="pk_work_offers"),
    )
