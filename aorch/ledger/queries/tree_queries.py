"""The REQUESTs of a tree of delegations (tree.py), without payloads and results."""

from typing import Any

from sqlalchemy import FromClause, Select, bindparam, func, select

from aorch.ledger.queries.expressions import contracts, listed
from aorch.ledger.record import ORCHESTRATOR, REQUEST

c, answer = contracts.c, contracts.alias("r")


def _nodes(source: FromClause = contracts) -> Select[Any]:
    return select(
        c.contract_id,
        c.parent_id,
        c.capability,
        func.coalesce(c.to_agent, func.nullif(answer.c.from_agent, ORCHESTRATOR)).label("agent_id"),
        c.status,
        c.created_at,
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
