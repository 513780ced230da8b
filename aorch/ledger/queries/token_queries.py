"""Statements for access tokens."""

from sqlalchemy import bindparam, insert, select, update

from aorch.ledger.schema import Token

tokens = Token.__table__  # type: ignore[attr-defined]  # SQLModel adds it

ALL_TOKENS = select(*tokens.c).order_by(tokens.c.token_id)

INSERT_TOKEN = insert(tokens).values({each.name: bindparam(each.name) for each in tokens.c})

REVOKE_TOKEN = (
    update(tokens)
    .where(tokens.c.token_id == bindparam("revoked_id"), tokens.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("now"))
)
