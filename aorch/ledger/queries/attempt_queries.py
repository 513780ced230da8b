"""Statements for the attempts and the progress of tasks."""

from sqlalchemy import bindparam, delete, exists, select
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.expressions import contracts, listed
from aorch.ledger.record import IN_PROGRESS
from aorch.ledger.schema import Attempt, TaskProgress

attempts = Attempt.__table__  # type: ignore[attr-defined]  # SQLModel adds it

_put = postgresql.insert(attempts).values({each.name: bindparam(each.name) for each in attempts.c})
PUT_ATTEMPT = _put.on_conflict_do_update(
    index_elements=["request_id", "number"],
    set_={name: _put.excluded[name] for name in ("ended_at", "code", "error")},
)

ATTEMPTS_OF = (
    select(*attempts.c)
    .where(attempts.c.request_id.in_(listed("request_ids")))
    .order_by(attempts.c.request_id, attempts.c.number)
)
"""The attempts of these REQUESTs (a JSON list of ids)."""

progress = TaskProgress.__table__  # type: ignore[attr-defined]  # likewise

_report = postgresql.insert(progress).values({each.name: bindparam(each.name) for each in progress.c})
PUT_PROGRESS = _report.on_conflict_do_update(
    index_elements=["request_id"],
    set_={name: _report.excluded[name] for name in ("reported_at", "progress")},
)

PROGRESS_OF = select(progress.c.reported_at, progress.c.progress).where(
    progress.c.request_id == bindparam("request_id")
)

DELETE_PROGRESS = delete(progress).where(progress.c.request_id == bindparam("request_id"))

DELETE_ENDED_PROGRESS = delete(progress).where(
    ~exists().where(contracts.c.contract_id == progress.c.request_id, contracts.c.status == IN_PROGRESS)
)
"""The rows that a killed process has left."""
