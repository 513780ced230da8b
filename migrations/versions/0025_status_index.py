"""The index of contracts that are not completed also has their type, so that `aorch status` counts exchanges without reading them."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    where = sa.text("status <> 'completed'")
    op.drop_index("ix_contracts_status_position", "contracts")
    op.create_index(
        "ix_contracts_status_position_contract_type",
        "contracts",
        ["status", "position", "contract_type"],
        sqlite_where=where,
        postgresql_where=where,
    )
