"""The tree of delegated REQUESTs around a contract: up to the root, and all REQUESTs below it.

It is read level by level, with only the children of each REQUEST that are shown, so that even a fan-out of a million is one
page. Payloads and results are not read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aorch import jsonio
from aorch.ledger.database import statements
from aorch.ledger.record import INTERRUPTED, number_in

Rows: TypeAlias = Callable[..., Sequence[Any]]
"""Executes a statement with the values of its parameters."""

DEEPEST = 64
"""Maximum number of levels of delegation in a tree, above and below."""
CHUNK = 1000
"""Maximum number of ids in one select."""
SHOWN = 50
"""Default number of children of one REQUEST in a tree."""


@dataclass(slots=True)
class TreeNode:
    """A REQUEST in the tree, with the REQUESTs that it delegated as `children`, oldest first.

    `status` is `interrupted` if the RESPONSE has that status. `from_agent` is the caller. `duration_ms` is None without a
    RESPONSE that contains it. `step` and `index` are those of a pipeline. `omitted` is the number of children that are not in
    the tree, by status. `asked_for` is true for the REQUEST for which the tree was built.
    """

    contract_id: str
    parent_id: str | None
    capability: str
    agent_id: str | None
    status: str
    created_at: str
    completed_at: str | None = None
    from_agent: str = ""
    duration_ms: float | None = None
    error: str | None = None
    step: str | None = None
    index: int | None = None
    resumes: str | None = None
    reused: int = 0
    asked_for: bool = False
    omitted: dict[str, int] = field(default_factory=dict)
    children: list["TreeNode"] = field(default_factory=list)

    def walk(self) -> "Iterator[TreeNode]":
        """This node and all nodes below it, in no particular order."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.children

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: every field by its name, `children` in the same form."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "children"}
        return {**plain, "children": [child.as_dict() for child in self.children]}


def build_tree(rows: Rows, request_id: str, most: int | None) -> TreeNode | None:
    """The root of the tree around the REQUEST with that id; None if there is no such REQUEST.

    Above it the tree is a chain, without other children. In a cycle, it ends before the first REQUEST that would occur
    twice.
    """
    found = rows(statements.TREE_NODE, request_id)
    if not found:
        return None
    root = _node(found[0])
    root.asked_for = True
    seen = {root.contract_id}
    _add_children(rows, [root], seen, most)
    for _ in range(DEEPEST):
        above = rows(statements.TREE_NODE, root.parent_id) if root.parent_id and root.parent_id not in seen else []
        if not above:
            break
        parent = _node(above[0])
        parent.children, root = [root], parent
        seen.add(root.contract_id)
    return root


def session_trees(
    rows: Rows, session_id: str, *, after: int, before: int, limit: int, newest_first: bool, most: int | None
) -> list[tuple[int, TreeNode]]:
    """Up to `limit` trees of a session, between two positions of their roots, each with the position of its root.

    A root is a REQUEST that no REQUEST of the same session delegated.
    """
    statement = statements.NEWEST_ROOTS_OF_SESSION if newest_first else statements.OLDEST_ROOTS_OF_SESSION
    found = rows(statement, jsonio.storable_text(session_id), after, before, limit)
    ids = [contract_id for _, contract_id in found]
    nodes = {row[0]: _node(row) for row in rows(statements.TREE_NODES, jsonio.encode(ids))}
    _add_children(rows, list(nodes.values()), set(nodes), most)
    return [(position, nodes[contract_id]) for position, contract_id in found if contract_id in nodes]


def _add_children(rows: Rows, level: list[TreeNode], seen: set[str], most: int | None) -> None:
    for _ in range(DEEPEST):
        parents = {each.contract_id: each for each in level}
        ids, level = list(parents), []
        for start in range(0, len(ids), CHUNK):
            some = jsonio.encode(ids[start : start + CHUNK])
            if most is None:
                found = rows(statements.ALL_CHILDREN, some)
            else:
                found = rows(statements.FIRST_CHILDREN, some, most)
                for parent_id, status, number in rows(statements.OMITTED_CHILDREN, some, most):
                    parents[parent_id].omitted[status] = number
            level += [each for each in map(_node, found) if each.contract_id not in seen]
        if not level:
            break
        for each in level:
            seen.add(each.contract_id)
            parents[each.parent_id or ""].children.append(each)


def _node(row: Any) -> TreeNode:
    *columns, about, answered, error, told = row
    about, told = jsonio.decode(about), jsonio.decode(told) if told else {}
    node = TreeNode(*columns)
    node.error = error
    if answered == INTERRUPTED:
        node.status = INTERRUPTED
    node.reused = len(told["reused"]) if isinstance(told.get("reused"), list) else 0
    # imported metadata may contain anything
    node.duration_ms = number_in(told, "duration_ms")
    for name, kind in (("step", str), ("index", int), ("resumes", str)):
        if isinstance(value := about.get(name), kind):
            setattr(node, name, value)
    return node
