"""Statements for the rates of callers."""

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.expressions import listed
from aorch.ledger.work_tables import RateBucket

buckets = RateBucket.__table__  # type: ignore[attr-defined]  # SQLModel adds it

RATE_BUCKETS = select(buckets.c.caller, buckets.c.full_at).where(buckets.c.caller.in_(listed("callers")))
"""The buckets of these callers (a JSON list)."""
_put = postgresql.insert(buckets).values({each.name: bindparam(each.name) for each in buckets.c})
PUT_RATE_BUCKET = _put.on_conflict_do_update(index_elements=["caller"], set_={"full_at": _put.excluded.full_at})
DELETE_FULL_BUCKETS = delete(buckets).where(buckets.c.full_at <= bindparam("moment"))
