"""Statements of `aorch ledger check`: each selects the ids of rows that contradict others."""

from typing import Any

from sqlalchemy import Select, and_, exists, or_, select

from aorch.ledger.queries.expressions import contracts
from aorch.ledger.record import CANCELLED, COMPLETED, FAILED, IN_PROGRESS, INTERRUPTED, PENDING, REQUEST, RESPONSE
from aorch.ledger.schema import Attempt, BatchLine, IdempotencyKey, Retry, Webhook

q, r = contracts.alias("q"), contracts.alias("r")
_is_open = q.c.status.in_((PENDING, IN_PROGRESS))
_is_answer = and_(r.c.request_id == q.c.contract_id, r.c.contract_type == RESPONSE)


def _requests(*conditions: Any) -> Select[Any]:
    return select(q.c.contract_id).where(q.c.contract_type == REQUEST, *conditions)


RESPONSES_WITHOUT_REQUEST = select(r.c.contract_id).where(
    r.c.contract_type == RESPONSE,
    r.c.request_id.is_not(None),
    ~exists(select(1).where(q.c.contract_id == r.c.request_id, q.c.contract_type == REQUEST)),
)

ENDED_WITHOUT_RESPONSE = _requests(~_is_open, ~exists(select(1).where(_is_answer)))

OPEN_WITH_RESPONSE = _requests(_is_open, exists(select(1).where(_is_answer)))

OTHER_STATUS_THAN_RESPONSE = (
    select(q.c.contract_id)
    .select_from(r.join(q, _is_answer))
    .where(q.c.contract_type == REQUEST, ~_is_open, q.c.status != r.c.status)
    .where(~and_(q.c.status == FAILED, r.c.status == INTERRUPTED))
)

UNKNOWN_STATUS = select(q.c.contract_id).where(
    q.c.status.not_in((PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, INTERRUPTED))
)

ENDED_BUT_QUEUED = _requests(
    q.c.status != PENDING, or_(q.c.turn.is_not(None), q.c.due_at.is_not(None), q.c.expires_at.is_not(None))
)

ENDED_BUT_CLAIMED = _requests(~_is_open, q.c.claimed_by.is_not(None))


def _without_request(table: Any) -> Select[Any]:
    its = table.__table__.c.request_id
    return select(its).where(~exists(select(1).where(q.c.contract_id == its))).distinct()


(
    ATTEMPTS_WITHOUT_REQUEST,
    KEYS_WITHOUT_REQUEST,
    LINES_WITHOUT_REQUEST,
    RETRIES_WITHOUT_REQUEST,
    WEBHOOKS_WITHOUT_REQUEST,
) = (_without_request(table) for table in (Attempt, IdempotencyKey, BatchLine, Retry, Webhook))
