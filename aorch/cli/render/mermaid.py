"""A session as a sequence diagram in Mermaid's language (https://mermaid.js.org/syntax/sequenceDiagram.html)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aorch.cli.render.console import printable
from aorch.cli.render.log_views import short_duration

if TYPE_CHECKING:
    from aorch.ledger.tree import TreeNode

_LONGEST = 60
_NOBODY = "no agent"


def sequence_diagram(session_id: str, roots: Sequence["TreeNode"]) -> Iterator[str]:
    """The lines of the diagram: who called whom with which capability, and how each call ended, in the order of time."""
    tour = list(_tour(roots))
    names = dict.fromkeys(name for node, _ in tour for name in (node.from_agent, node.agent_id or _NOBODY))
    participants = {name: f"p{number}" for number, name in enumerate(names)}
    yield "sequenceDiagram"
    yield f"  accTitle: {_text(f'The session {session_id}')}"
    for name, participant in participants.items():
        yield f"  participant {participant} as {_text(name)}"
    events = [_event(node, participants, is_end=is_end) for node, is_end in tour if not is_end or node.completed_at]
    for _, line in sorted(events, key=lambda event: event[0]):  # at the same time: in the order of the tour
        yield f"  {line}"


def _tour(roots: Sequence["TreeNode"]) -> Iterator[tuple["TreeNode", bool]]:
    """Each node twice: before its children, and as an end after them."""
    waiting = [(root, False) for root in reversed(roots)]
    while waiting:
        node, is_end = waiting.pop()
        yield node, is_end
        if not is_end:
            waiting.append((node, True))
            waiting += ((child, False) for child in reversed(node.children))


def _event(node: "TreeNode", participants: dict[str, str], *, is_end: bool) -> tuple[str, str]:
    """The time of a call or of its end, and its line."""
    caller, agent = participants[node.from_agent], participants[node.agent_id or _NOBODY]
    if is_end:
        arrow = "-->>" if node.status == "completed" else "--x"
        return max(node.created_at, node.completed_at or ""), f"{agent}{arrow}-{caller}: {_text(_end(node))}"
    what = f"{node.step}: {node.capability}" if node.step else node.capability
    if node.completed_at is None:
        return node.created_at, f"{caller}->>{agent}: {_text(what)} ({node.status.replace('_', ' ')})"
    return node.created_at, f"{caller}->>+{agent}: {_text(what)}"


def _end(node: "TreeNode") -> str:
    took = "" if node.duration_ms is None else f" after {short_duration(node.duration_ms)}"
    return f"{node.status}{took}{f': {node.error}' if node.error else ''}"


def _text(text: str) -> str:
    """`text` in one line that no parser takes for syntax: everything but letters, digits and a few signs is a character code."""
    shown = printable(text[:_LONGEST]) + ("…" if len(text) > _LONGEST else "")
    plain = " _.,/()" if shown.strip() else ""  # Mermaid drops a text of spaces
    return "".join(sign if sign.isalnum() or sign in plain else f"#{ord(sign)};" for sign in shown)
