"""The tree of delegated REQUESTs around a contract: up to the root, and all REQUESTs below it.

It is read level by level, with only the children of each REQUEST that are shown, so that even a fan-out of a million is one
page. Payloads and results are not read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import aliased
from sqlmodel import col

from aorch.clock import rfc3339
from aorch.ledger.record import INTERRUPTED, ORCHESTRATOR, REQUEST, number_in
from aorch.ledger.schema import Contract

Statement: TypeAlias = Select[*tuple[Any, ...]]

Rows: TypeAlias = Callable[[Statement], Sequence[Any]]
"""Executes a select."""

DEEPEST = 64
"""Maximum number of levels of delegation in a tree, above and below."""
CHUNK = 1000
"""Maximum number of ids in one select."""
SHOWN = 50
"""Default number of children of one REQUEST in a tree."""

_answer = aliased(Contract)
_position: ColumnElement[Any] = col(Contract.position)  # type: ignore[assignment]  # Mapped is one, untyped
_parent_id: ColumnElement[Any] = col(Contract.parent_id)  # type: ignore[assignment]  # likewise
_is_request = col(Contract.contract_type) == REQUEST


@dataclass(slots=True)
class TreeNode:
    """A REQUEST in the tree, with the REQUESTs that it delegated as `children`, oldest first.

    `status` is `interrupted` if the RESPONSE has that status. `duration_ms` is None without a RESPONSE that contains it.
    `step` and `index` are those of a pipeline. `omitted` is the number of children that are not in the tree, by status.
    `asked_for` is true for the REQUEST for which the tree was built.
    """

    contract_id: str
    parent_id: str | None
    capability: str
    agent_id: str | None
    status: str
    created_at: str
    duration_ms: float | None = None
    error: str | None = None
    step: str | None = None
    index: int | None = None
    resumes: str | None = None
    reused: int = 0
    asked_for: bool = False
    omitted: dict[str, int] = field(default_factory=dict)
    children: list["TreeNode"] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: every field by its name, `children` in the same form."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "children"}
        return {**plain, "children": [child.as_dict() for child in self.children]}


def build_tree(rows: Rows, request_id: str, most: int | None) -> TreeNode | None:
    """The root of the tree around the REQUEST with that id; None if there is no such REQUEST.

    Above it the tree is a chain, without other children. In a cycle, it ends before the first REQUEST that would occur
    twice.
    """
    found = rows(_of(request_id))
    if not found:
        return None
    root = _node(found[0])
    root.asked_for = True
    seen = {root.contract_id}
    _add_children(rows, [root], seen, most)
    for _ in range(DEEPEST):
        above = rows(_of(root.parent_id)) if root.parent_id and root.parent_id not in seen else []
        if not above:
            break
        parent = _node(above[0])
        parent.children, root = [root], parent
        seen.add(root.contract_id)
    return root


def _add_children(rows: Rows, level: list[TreeNode], seen: set[str], most: int | None) -> None:
    for _ in range(DEEPEST):
        parents = {each.contract_id: each for each in level}
        ids, level = list(parents), []
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            level += [each for each in map(_node, rows(_children(some, most))) if each.contract_id not in seen]
            for parent_id, status, number in rows(_omitted(some, most)) if most is not None else ():
                parents[parent_id].omitted[status] = number
        if not level:
            break
        for each in level:
            seen.add(each.contract_id)
            parents[each.parent_id or ""].children.append(each)


def _of(contract_id: str) -> Statement:
    return _columns().where(col(Contract.contract_id) == contract_id, _is_request)


def _children(parent_ids: list[str], most: int | None) -> Statement:
    """The first `most` (None: all) REQUESTs below each of those, oldest first."""
    if most is None:
        return _columns().where(_parent_id.in_(parent_ids), _is_request).order_by(_position)
    numbered = _numbered(parent_ids)
    return _columns().join(numbered, numbered.c.position == _position).where(numbered.c.n <= most).order_by(_position)


def _omitted(parent_ids: list[str], most: int) -> Statement:
    """The number of further children of each, by status: parent_id, status, number."""
    numbered = _numbered(parent_ids)
    more = select(_parent_id, col(Contract.status), func.count()).join(numbered, numbered.c.position == _position)
    return more.where(numbered.c.n > most).group_by(_parent_id, col(Contract.status))


def _numbered(parent_ids: list[str]) -> Any:
    n = func.row_number().over(partition_by=_parent_id, order_by=_position).label("n")
    return select(_position.label("position"), n).where(_parent_id.in_(parent_ids), _is_request).subquery()


def _columns() -> Statement:
    """The columns that `_node` takes."""
    return select(
        col(Contract.contract_id),
        _parent_id,
        col(Contract.capability),
        func.coalesce(col(Contract.to_agent), func.nullif(col(_answer.from_agent), ORCHESTRATOR)),
        col(Contract.status),
        col(Contract.created_at),
        col(Contract.details),
        col(_answer.status),
        col(_answer.error),
        col(_answer.details),
    ).outerjoin(_answer, col(_answer.request_id) == col(Contract.contract_id))


def _node(row: Any) -> TreeNode:
    contract_id, parent_id, capability, agent_id, status, created_at, about, answered, error, told = row
    told = told or {}
    node = TreeNode(contract_id, parent_id, capability, agent_id, status, rfc3339(created_at), error=error)
    if answered == INTERRUPTED:
        node.status = INTERRUPTED
    node.reused = len(told["reused"]) if isinstance(told.get("reused"), list) else 0
    # imported metadata may contain anything
    node.duration_ms = number_in(told, "duration_ms")
    for name, kind in (("step", str), ("index", int), ("resumes", str)):
        if isinstance(value := about.get(name), kind):
            setattr(node, name, value)
    return node
