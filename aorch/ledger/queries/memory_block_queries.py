"""Statements for memory blocks and the contracts that none of them covers."""

from typing import Any

from sqlalchemy import Select, bindparam, func, insert, select

from aorch.ledger.queries.expressions import contracts, json_values
from aorch.ledger.record import IN_PROGRESS, ORCHESTRATOR, PENDING, REQUEST
from aorch.ledger.schema import StoredBlock, session_contracts, session_positions
from aorch.ledger.stored_corrections import CAPABILITIES
from aorch.ledger.upkeep_tables import ErasedContract, PrunedContract

blocks = StoredBlock.__table__  # type: ignore[attr-defined]  # SQLModel adds it
pruned = PrunedContract.__table__  # type: ignore[attr-defined]  # likewise
erased = ErasedContract.__table__  # type: ignore[attr-defined]  # likewise
b, s, positions = blocks.c, session_contracts.c, session_positions.c

INSERT_BLOCK = insert(blocks).values({each.name: bindparam(each.name) for each in b})

COVERED_POSITION = select(func.max(b.last_position).label("position")).where(b.session_id == bindparam("session_id"))
"""The position up to which memory blocks cover the contracts of a session; NULL if there are none."""

BLOCK_BY_ID = select(*b).where(b.block_id == bindparam("block_id"))

BLOCKS_OF_SESSION = (
    select(*b)
    .where(b.session_id == bindparam("session_id"), b.last_position > bindparam("after"))
    .order_by(b.last_position)
    .limit(bindparam("limit"))
)

NEWEST_BLOCKS = select(*b).where(b.block_id < bindparam("before")).order_by(b.block_id.desc()).limit(bindparam("limit"))

NEWEST_BLOCKS_OF_SESSION = (
    select(*b)
    .where(b.session_id == bindparam("session_id"), b.block_id < bindparam("before"))
    .order_by(b.block_id.desc())
    .limit(bindparam("limit"))
)

COMPANIONS_OF_SESSION = select(b.beside).where(b.session_id == bindparam("session_id"), b.beside.is_not(None))

SESSIONS_WITH_BLOCKS = select(b.session_id).distinct().order_by(b.session_id)

NEWEST_CONTRACT_OF_SESSION = (
    select(s.created_at, s.position).where(s.session_id == bindparam("session_id")).order_by(s.position.desc()).limit(1)
)

_is_open_request = (s.contract_type == REQUEST) & s.status.in_((PENDING, IN_PROGRESS))
_corrects = s.capability.in_(CAPABILITIES)  # or answers a correction
_with_aorch = (s.to_agent == ORCHESTRATOR) | (s.from_agent == ORCHESTRATOR)
LAST_CLOSED_POSITION = (
    select(s.position)
    .where(s.session_id == bindparam("session_id"), s.position > bindparam("after"), ~_is_open_request)
    .where(~(_corrects & _with_aorch))
    .order_by(s.position.desc())
    .limit(1)
)
"""The last contract of a session after a position that is neither an open REQUEST nor a correction of memory."""


SENDERS_BETWEEN = (
    select(s.from_agent)
    .distinct()
    .where(s.session_id == bindparam("session_id"), s.contract_type == REQUEST)
    .where(s.position > bindparam("after"), s.position <= bindparam("last"))
)
"""Who sent a REQUEST in a part of a session."""

FIRST_SENDER = (
    select(s.from_agent, s.position).where(s.session_id == bindparam("session_id")).order_by(s.position).limit(1)
)

_oldest = (
    select(positions.position)
    .where(positions.session_id == bindparam("session_id"), positions.position <= bindparam("last"))
    .order_by(positions.position.desc())
    .limit(1)
    .offset(20_000)
)
CALLED_BEFORE = (
    select(s.position)
    .where(s.session_id == bindparam("session_id"), s.position <= bindparam("last"))
    .where(s.position > func.coalesce(_oldest.scalar_subquery(), 0), s.contract_type == REQUEST)
    .where(s.to_agent == bindparam("agent"), ~((s.to_agent == ORCHESTRATOR) & s.capability.in_(CAPABILITIES)))
    .order_by(s.position.desc())
    .limit(1)
)
"""The last of a session's 20,000 contracts up to a position that is a REQUEST to an agent: a compression must not read the whole
session.
"""


COUNT_BETWEEN_POSITIONS = (
    select(func.count().label("count"))
    .select_from(session_positions)
    .where(positions.session_id == bindparam("session_id"))
    .where(positions.position > bindparam("after"), positions.position <= bindparam("last"))
)

COUNT_AFTER = (
    select(func.count().label("count"))
    .select_from(session_positions)
    .where(positions.session_id == bindparam("session_id"), positions.position > bindparam("after"))
)

_between_or_pruned = (
    select(contracts.c.contract_id)
    .select_from(session_positions.join(contracts, contracts.c.position == positions.position))
    .where(positions.session_id == bindparam("session_id"))
    .where(positions.position > bindparam("after"), positions.position <= bindparam("last"))
    .union_all(
        select(pruned.c.contract_id)
        .where(pruned.c.session_id == bindparam("pruned_session_id"))
        .where(pruned.c.position > bindparam("pruned_after"), pruned.c.position <= bindparam("pruned_last"))
    )
    .subquery("contracts_between")
)
ERASED_BETWEEN = (
    select(func.count().label("count"))
    .select_from(_between_or_pruned)
    .where(_between_or_pruned.c.contract_id.in_(select(erased.c.contract_id)))
)
"""The number of erased contracts of a session after a position and up to another, with those that were pruned since."""


def _sessions_with_news() -> Select[Any]:
    sessions = json_values(bindparam("session_ids")).table_valued("value").alias("sessions")
    newest = (
        select(positions.position)
        .where(positions.session_id == sessions.c.value)
        .order_by(positions.position.desc())
        .limit(1)
        .scalar_subquery()
    )
    covered = (
        select(func.coalesce(func.max(b.last_position), 0)).where(b.session_id == sessions.c.value).scalar_subquery()
    )
    return select(sessions.c.value, (newest > covered).label("has_news")).order_by(sessions.c.value)


SESSIONS_WITH_NEWS = _sessions_with_news()
"""The given sessions (a JSON list), each with whether it has contracts that no block covers."""
