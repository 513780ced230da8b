"""Shows a tree of REQUESTs: drawn at a terminal, indented in a pipe."""

import sys
from typing import TYPE_CHECKING

from aorch.cli.render.console import print_text, printable
from aorch.cli.streams import is_terminal

if TYPE_CHECKING:
    from rich.tree import Tree

    from aorch.ledger.tree import TreeNode

_COLOURS = {"completed": "green", "failed": "red", "interrupted": "red", "cancelled": "yellow"}
_LONGEST = 60


def show_tree(root: "TreeNode") -> None:
    """Print one line per REQUEST: capability, agent, status, duration and id."""
    if not is_terminal(sys.stdout):
        print_text("\n".join(_lines(root, 0)))
        return
    from rich.console import Console

    Console().print(_drawn(root, None))


def _lines(branch: "TreeNode", depth: int) -> "list[str]":
    lines = ["  " * depth + "  ".join(_words(branch))]
    for child in branch.children:
        lines += _lines(child, depth + 1)
    if branch.omitted:
        lines.append("  " * (depth + 1) + _more(branch))
    return lines


def _drawn(branch: "TreeNode", above: "Tree | None") -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    title, status, *words = _words(branch)
    colour = _COLOURS.get(branch.status, "cyan")
    label = Text.assemble((title, "bold" if branch.asked_for else ""), "  ", (status, colour), "  ", "  ".join(words))
    drawn = Tree(label) if above is None else above.add(label)
    for child in branch.children:
        _drawn(child, drawn)
    if branch.omitted:
        drawn.add(Text(_more(branch), style="dim"))
    return drawn


def _words(branch: "TreeNode") -> "list[str]":
    index = "" if branch.index is None else f"[{branch.index}]"
    step = f"{_short(branch.step)}{index}: " if branch.step else ""
    words = [f"{step}{_short(branch.capability)} by {_short(branch.agent_id or '-')}", branch.status]
    if branch.duration_ms is not None:
        words.append(_duration(branch.duration_ms))
    words.append(branch.contract_id)
    if branch.resumes:
        reused = f", {branch.reused:,} reused" if branch.reused else ""
        words.append(f"resumes {_short(branch.resumes)}{reused}")
    if branch.error:
        words.append(_short(branch.error))
    return words


def _more(branch: "TreeNode") -> str:
    statuses = ", ".join(f"{number:,} {status}" for status, number in branch.omitted.items())
    return f"… {sum(branch.omitted.values()):,} more ({statuses}); --all shows them"


def _duration(duration_ms: float) -> str:
    return f"{duration_ms:.0f} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.1f} s"


def _short(text: str) -> str:
    shown = printable(text[:_LONGEST])
    return f"{shown}…" if len(text) > _LONGEST else shown
