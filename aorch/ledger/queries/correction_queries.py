"""Statements for corrections of memory: REQUESTs that aorch has written for a person (ledger/stored_corrections.py)."""

from sqlalchemy import and_, bindparam, select

from aorch.ledger.queries.expressions import RECORD, contracts, listed
from aorch.ledger.record import COMPLETED, ORCHESTRATOR, REQUEST
from aorch.ledger.stored_corrections import CAPABILITIES

c = contracts.c
answer = contracts.alias("answer")

# these terms, literally, are those of the partial index ix_contracts_corrections
_is_correction = and_(c.contract_type == REQUEST, c.to_agent == ORCHESTRATOR, c.capability.in_(CAPABILITIES))
_is_complete = and_(_is_correction, c.status == COMPLETED)

CORRECTIONS_OF_SESSION = (
    select(c.position, *RECORD).where(_is_complete, c.session_id == bindparam("session_id")).order_by(c.position)
)
"""The corrections of a session, oldest first."""

CORRECTED_SESSIONS = select(c.session_id).distinct().where(_is_complete).order_by(c.session_id)

CORRECTION_POSITIONS = (
    select(c.position, c.contract_id)
    .where(_is_complete, c.session_id == bindparam("session_id"))
    .union_all(
        select(answer.c.position, answer.c.contract_id)
        .select_from(contracts.join(answer, answer.c.request_id == c.contract_id))
        .where(_is_complete, c.session_id == bindparam("answered_session_id"), answer.c.request_id.is_not(None))
    )
)
"""The corrections of a session and the RESPONSEs to them, which are not part of its conversation."""

CORRECTIONS_AMONG = select(c.contract_id).where(_is_complete, c.contract_id.in_(listed("contract_ids")))
