"""Shows the queue to people."""

import sys
from typing import Any

from aorch.cli.render.console import print_table, print_text, tell
from aorch.cli.render.times import age, local_time
from aorch.cli.streams import is_terminal

PIPED = ("contract_id", "state", "capability", "priority", "session_id", "agent_id", "waiting_since")
"""The tab-separated columns in a pipe."""
_MARK = 8
"""How many characters of the end of an id are shown; `aorch contracts show` accepts them."""


def show_queue(found: dict[str, Any]) -> None:
    """Print the numbers, the processes and the tasks; in a pipe, the columns of PIPED for each task."""
    if not is_terminal(sys.stdout):
        return print_table(PIPED, [[_text(task[name]) for name in PIPED] for task in found["tasks"]])
    print_text(_summary(found))
    if found["groups"]:
        _show_groups(found["groups"])
        print_text("")
        _show_tasks(found["tasks"])
    if found["more"]:
        tell(f"{found['more']:,} more tasks: --limit N")
    return None


def _summary(found: dict[str, Any]) -> str:
    counts = ", ".join(f"{found[name]:,} {name}" for name in ("queued", "scheduled", "running"))
    waited = "" if found["oldest_s"] is None else f"; the oldest has waited {_seconds(found['oldest_s'])}"
    workers = len(found["workers"])
    by = f" by {workers} process{'' if workers == 1 else 'es'}" if workers else ""
    return f"{counts}{by}{waited}"


def _show_groups(groups: list[dict[str, Any]]) -> None:
    columns = ("capability", "priority", "queued", "scheduled", "running", "oldest")
    rows = [
        (
            group["capability"],
            *(f"{group[name]:,}".rjust(len(name)) for name in columns[1:5]),
            "-" if group["oldest_at"] is None else age(group["oldest_at"]),
        )
        for group in groups
    ]
    print_table(columns, rows, cut="capability", drop=("scheduled", "oldest", "running"))


def _show_tasks(tasks: list[dict[str, Any]]) -> None:
    rows = [
        (
            task["contract_id"][-_MARK:],
            task["state"],
            task["capability"],
            f"{task['priority']}",
            _since(task),
            task["agent_id"] or "-",
            task["session_id"],
        )
        for task in tasks
    ]
    columns = ("task", "state", "capability", "priority", "since or from", "agent", "session")
    print_table(columns, rows, cut="session", drop=("agent", "priority", "since or from", "session"))


def _since(task: dict[str, Any]) -> str:
    """Since when the task waits, or when it starts at the earliest."""
    if task["not_before"] is not None:
        return local_time(task["not_before"], seconds=False)
    return age(task["waiting_since"] or task["created_at"])


def _seconds(seconds: float) -> str:
    for unit, size in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < size:
            return f"{seconds:.0f} {unit}"
        seconds /= size
    return f"{seconds:.0f} days"


def _text(value: Any) -> str:
    return "" if value is None else f"{value}"
