"""An index of the corrections of memory (pins, notes, …), so that a compression finds those of a session without reading it."""

from alembic import op

revision = "0021"
down_revision = "0020"

IS_CORRECTION = (
    "contract_type = 'REQUEST' AND to_agent = 'orchestrator'"
    " AND capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo')"
)


def upgrade() -> None:
    from sqlalchemy import text

    condition = text(IS_CORRECTION)
    op.create_index(
        "ix_contracts_corrections", "contracts", ["session_id"], sqlite_where=condition, postgresql_where=condition
    )
