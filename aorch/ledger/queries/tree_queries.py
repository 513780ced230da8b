"""The REQUESTs of a tree of delegations (tree.py), without payloads and results."""

from typing import Any

from sqlalchemy import FromClause, Select, bindparam, func, or_, select

from aorch.ledger.queries.expressions import contracts, listed
from aorch.ledger.record import ORCHESTRATOR, REQUEST
from aorch.ledger.schema import session_contracts

c, answer, s = contracts.c, contracts.alias("r"), session_contracts.c


def _nodes(source: FromClause = contracts) -> Select[Any]:
    return select(
        c.contract_id,
        c.parent_id,
        c.capability,
        func.coalesce(func.nullif(answer.c.from_agent, ORCHESTRATOR), c.to_agent).label("agent_id"),
        c.status,
        c.created_at,
        c.completed_at,
        c.from_agent,
        c.metadata,
        answer.c.status.label("answer_status"),
        answer.c.error.label("answer_error"),
        answer.c.metadata.label("answer_metadata"),
    ).select_from(source.outerjoin(answer, answer.c.request_id == c.contract_id))


_children = (c.parent_id.in_(listed("request_ids")), c.contract_type == REQUEST)


def _numbered() -> Any:
    number = func.row_number().over(partition_by=c.parent_id, order_by=c.position).label("n")
    return select(c.position.label("position"), number).where(*_children).subquery("numbered")


def _first_children() -> Select[Any]:
    numbered = _numbered()
    shown = _nodes(contracts.join(numbered, numbered.c.position == c.position))
    return shown.where(numbered.c.n <= bindparam("most")).order_by(c.position)


def _omitted() -> Select[Any]:
    numbered = _numbered()
    more = select(c.parent_id, c.status, func.count().label("count")).select_from(
        contracts.join(numbered, numbered.c.position == c.position)
    )
    return more.where(numbered.c.n > bindparam("most")).group_by(c.parent_id, c.status)


TREE_NODE = _nodes().where(c.contract_id == bindparam("request_id"), c.contract_type == REQUEST)

ALL_CHILDREN = _nodes().where(*_children).order_by(c.position)
"""The REQUESTs below each of those (a JSON list), oldest first."""

FIRST_CHILDREN = _first_children()
"""The first REQUESTs below each of those, oldest first."""

OMITTED_CHILDREN = _omitted()
"""The number of further REQUESTs below each of those, by status."""


def _roots() -> Select[Any]:
    parent = contracts.alias("p").c
    has_parent = select(parent.position).where(
        parent.contract_id == s.parent_id, parent.session_id == s.session_id, parent.contract_type == REQUEST
    )
    return select(s.position, s.contract_id).where(
        s.session_id == bindparam("session_id"),
        s.contract_type == REQUEST,
        s.position > bindparam("after"),
        s.position < bindparam("before"),
        or_(s.parent_id.is_(None), ~has_parent.exists()),
    )


OLDEST_ROOTS_OF_SESSION = _roots().order_by(s.position).limit(bindparam("limit"))
"""The REQUESTs of a session that no REQUEST of the same session delegated."""

NEWEST_ROOTS_OF_SESSION = _roots().order_by(s.position.desc()).limit(bindparam("limit"))

TREE_NODES = _nodes().where(c.contract_id.in_(listed("request_ids")), c.contract_type == REQUEST)
