"""Memory blocks."""

from sqlalchemy import bindparam, func, insert, select

from aorch.ledger.schema import StoredBlock

blocks = StoredBlock.__table__  # type: ignore[attr-defined]  # SQLModel adds it

INSERT_BLOCK = insert(blocks).values({each.name: bindparam(each.name) for each in blocks.c})

COVERED_POSITION = select(func.max(blocks.c.last_position).label("position")).where(
    blocks.c.session_id == bindparam("session_id")
)
"""The position up to which memory blocks cover the contracts of a session; NULL if there are none."""
