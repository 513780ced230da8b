"""The tree of REQUESTs that a contract stands in: up to the root of its delegation, and all that was asked for below it.

Read level by level, and of each REQUEST only so many children as are to be shown, so that a fan-out of a million is a
page as well. Payloads and results are not read.
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
"""What runs a select."""

DEEPEST = 64
"""Levels of delegation that a tree shows, above and below."""
CHUNK = 1000
"""Ids in one select."""
SHOWN = 50
"""Children of one REQUEST that a tree shows unless it is told to show all."""

_answer = aliased(Contract)
_position: ColumnElement[Any] = col(Contract.position)  # type: ignore[assignment]  # Mapped is one, untold
_parent_id: ColumnElement[Any] = col(Contract.parent_id)  # type: ignore[assignment]  # likewise
_is_request = col(Contract.contract_type) == REQUEST


@dataclass(slots=True)
class TreeNode:
    """A REQUEST in the tree, with the REQUESTs that were made on its behalf, oldest first.

    `status` is `interrupted` where the RESPONSE says so. `duration_ms` is None until there is a RESPONSE that tells it.
    `step` and `index` are a pipeline's. `omitted` counts the children that are not shown, by status. `asked_for` is true
    for the one whose tree this is.
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
    """The tree that the REQUEST of that id stands in, from its root; None where it is not there.

    What is above it is a chain: what else was asked for there is not shown. Circles end where they close.
    """
    found = rows(_of(request_id))
    if not found:
        return None
    root = _branch(found[0])
    root.asked_for = True
    seen = {root.contract_id}
    _grow_down(rows, [root], seen, most)
    for _ in range(DEEPEST):
        above = rows(_of(root.parent_id)) if root.parent_id and root.parent_id not in seen else []
        if not above:
            break
        parent = _branch(above[0])
        parent.children, root = [root], parent
        seen.add(root.contract_id)
    return root


def _grow_down(rows: Rows, level: list[TreeNode], seen: set[str], most: int | None) -> None:
    for _ in range(DEEPEST):
        parents = {each.contract_id: each for each in level}
        ids, level = list(parents), []
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            level += [each for each in map(_branch, rows(_children(some, most))) if each.contract_id not in seen]
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
    """How many more there are below each, by status: parent_id, status, number."""
    numbered = _numbered(parent_ids)
    more = select(_parent_id, col(Contract.status), func.count()).join(numbered, numbered.c.position == _position)
    return more.where(numbered.c.n > most).group_by(_parent_id, col(Contract.status))


def _numbered(parent_ids: list[str]) -> Any:
    n = func.row_number().over(partition_by=_parent_id, order_by=_position).label("n")
    return select(_position.label("position"), n).where(_parent_id.in_(parent_ids), _is_request).subquery()


def _columns() -> Statement:
    """The columns that `_branch` takes."""
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


def _branch(row: Any) -> TreeNode:
    contract_id, parent_id, capability, agent_id, status, created_at, about, answered, error, told = row
    told = told or {}
    branch = TreeNode(contract_id, parent_id, capability, agent_id, status, rfc3339(created_at), error=error)
    if answered == INTERRUPTED:
        branch.status = INTERRUPTED
    branch.reused = len(told["reused"]) if isinstance(told.get("reused"), list) else 0
    # metadata comes from outside as well, and says anything
    branch.duration_ms = number_in(told, "duration_ms")
    for name, kind, said in (
        ("step", str, about),
        ("index", int, about),
        ("resumes", str, about),
    ):
        if isinstance(value := said.get(name), kind):
            setattr(branch, name, value)
    return branch
