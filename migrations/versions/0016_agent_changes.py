"""What has changed on a registered MCP server since its tools were written to its registration."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("agents", sa.Column("changes", sa.String(), nullable=True))
