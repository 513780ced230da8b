"""`aorch queue`: queued, scheduled and running tasks."""

from typing import Any

import typer

from aorch.cli.listing import ListingOptions, print_listing
from aorch.cli.options import LedgerOption, LimitOption

app = typer.Typer(
    add_completion=False, help="Show queued, scheduled and running tasks. `aorch queue` runs `aorch queue list`."
)


class TaskListing(ListingOptions):
    """A listing of tasks."""

    items = "tasks"
    known = (
        *("contract_id", "state", "capability", "priority", "session_id", "agent_id", "waiting_since"),
        *("created_at", "not_before", "expires_at", "attempts", "worker_id"),
    )


@app.callback()
def _queue() -> None:
    """Makes `list` a command of a group; a Typer with a single command would be that command."""


@app.command("list")
def list_(listing: TaskListing, limit: LimitOption = 50, ledger: LedgerOption = None) -> None:
    """Show how many tasks wait and run, since when, which processes run them, and the tasks in order.

    Running tasks come first, then queued ones in the order in which they start, then scheduled ones by their start time.
    `aorch queue` is short for `aorch queue list`.

    In a pipe: tab-separated ID, state, capability, priority, session, agent, and the time since which the task waits. With
    --json, also the numbers by capability and priority, and the processes that run tasks.

    \b
    Examples:
      aorch queue
      aorch queue --json --jq .oldest_s
      aorch queue list --fields contract_id,state --limit 1000
    """
    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.queue_text import show_queue

    with open_view(ledger) as view:
        found = view.queue(limit)
    tasks: list[dict[str, Any]] = found.pop("tasks")
    print_listing(listing, tasks, lambda rows: show_queue({**found, "tasks": list(rows)}), **found)
