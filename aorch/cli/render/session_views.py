"""Shows sessions: a table, and one session as a timed tree."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aorch.cli.render.cells import cells, cut, cut_middle
from aorch.cli.render.console import print_table, printable, width
from aorch.cli.render.log_views import (
    DIM,
    ID_LENGTH,
    MARKS,
    RED,
    colored,
    short_age,
    short_duration,
    summary,
)
from aorch.cli.render.wrapping import wrapped
from aorch.cli.streams import has_colors, is_terminal, stdout
from aorch.clock import from_rfc3339

if TYPE_CHECKING:
    from aorch.ledger.exchanges import ExchangeRow
    from aorch.ledger.tree import TreeNode

SESSION_FIELDS = ("session_id", "contracts", "exchanges", "failed", "open", "first_at", "last_at")
"""The names in the JSON form of a session, in order."""
_PIPED = ("session_id", "last_at", "exchanges", "failed", "open")
_NAME, _NARROWEST_TEXT = 40, 16
"""Maximum width of the capability and of the agent in a tree, and minimum width of the text after them."""


def show_sessions(sessions: Iterable[Mapping[str, Any]]) -> None:
    """Print a table; in a pipe, tab-separated columns."""
    if not is_terminal(stdout()):
        return print_table(_PIPED, (tuple(str(session[name]) for name in _PIPED) for session in sessions))
    rows = [
        (
            session["session_id"],
            short_age(session["last_at"]),
            str(session["exchanges"]),
            str(session["failed"] or ""),
            str(session["open"] or ""),
        )
        for session in sessions
    ]
    return print_table(("session", "last", "exchanges", "failed", "open"), rows, cut="session")


def session_heading(session: Mapping[str, Any]) -> str:
    """The first line of a session: its numbers, its age and how long it lasted."""
    first, last = (from_rfc3339(session[name]) for name in ("first_at", "last_at"))
    lasted = short_duration((last - first).total_seconds() * 1000)
    parts = [f"{session['exchanges']:,} exchange{'' if session['exchanges'] == 1 else 's'}"]
    parts += [f"{session[name]:,} {name}" for name in ("failed", "open") if session[name]]
    line = f"{printable(session['session_id'])}  {', '.join(parts)}, {short_age(session['last_at'])} ago, over {lasted}"
    return wrapped(line, width()) if is_terminal(stdout()) else line


class TreeLines:
    """The lines of the trees of a session. `began_at` (RFC 3339) is the start of the session, from which times count."""

    def __init__(self, began_at: str) -> None:
        self._began_at = from_rfc3339(began_at)
        self._colors, self._columns = has_colors(sys.stdout), width() if is_terminal(stdout()) else None

    def tree(self, root: "TreeNode", rows: Mapping[str, "ExchangeRow"]) -> Iterator[str]:
        """The lines of one tree: time, branch, status, capability, agent, duration, id, and the result or the error.

        `rows` are the exchanges of its nodes, by the id of the REQUEST.
        """
        waiting: list[tuple[TreeNode | str, str, str]] = [(root, "", "")]
        while waiting:
            node, own, below = waiting.pop()
            if isinstance(node, str):
                yield f"{'':>8} {own}{node}"
                continue
            yield self._line(node, rows.get(node.contract_id), own)
            children: list[TreeNode | str] = [*node.children]
            if node.omitted:
                children.append(f"… {sum(node.omitted.values()):,} more")
            for number, child in enumerate(reversed(children)):
                branch, further = ("└ ", "  ") if number == 0 else ("├ ", "│ ")
                waiting.append((child, below + branch, below + further))

    def _line(self, node: "TreeNode", row: "ExchangeRow | None", branch: str) -> str:
        mark, color = MARKS.get(node.status, ("?", DIM))
        offset_ms = (from_rfc3339(node.created_at) - self._began_at).total_seconds() * 1000
        start = f"{f'+{short_duration(max(0.0, offset_ms))}':>8} {branch}"
        step = "" if node.step is None else f"{node.step}{'' if node.index is None else f'[{node.index}]'}: "
        took = "" if node.duration_ms is None else short_duration(node.duration_ms)
        capability, agent = (
            cut_middle(printable(name[:200]), _NAME) for name in (f"{step}{node.capability}", node.agent_id or "-")
        )
        request_id = printable(node.contract_id if self._columns is None else node.contract_id[-ID_LENGTH:])
        text = "" if row is None else printable(summary(row)[: self._columns])
        what = "  ".join(word for word in (capability, agent, took, request_id) if word)
        if self._columns is not None:
            columns = self._columns - cells(start) - 2
            if columns - cells(what) < _NARROWEST_TEXT and text:
                what = cut(f"{capability}  {request_id}", max(1, columns - _NARROWEST_TEXT))
            what = cut(what, max(1, columns))
            text = cut(text, max(1, columns - cells(what) - 2))
        shown = colored(text, RED if color == RED else "", wanted=self._colors)
        return f"{start}{colored(mark, color, wanted=self._colors)} {what}{f'  {shown}' if shown else ''}"
