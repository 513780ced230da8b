"""The listing of agents."""

from collections.abc import Iterable
from typing import Any

from aorch.cli.listing import ListingOptions

LEASE = ("owner", "lease ends at")
"""The columns that only registered agents fill."""


class AgentListing(ListingOptions):
    """A listing of agents."""

    items = "agents"
    known = (
        *("agent_id", "name", "description", "kind", "version", "endpoint", "labels", "concurrency"),
        *("rate_per_min", "env", "status", "problem", "changes", "since", "capabilities"),
        *("tasks_completed", "tasks_failed", "registered_at", "last_heartbeat", "owner", "lease_ends_at"),
        *("breaker",),
    )


def show_agents(agents: Iterable[dict[str, Any]]) -> None:
    """Print a table."""
    from aorch.cli.render.console import print_table

    agents = list(agents)
    registered = any(a["owner"] is not None for a in agents)
    rows = [
        (
            a["agent_id"],
            a["kind"],
            f"{a['status']}, changed" if a["changes"] else a["status"],
            ", ".join(c["name"] for c in a["capabilities"]),
            a["description"],
            ", ".join(a["env"]),
            *((a["owner"] or "", a["lease_ends_at"] or "") if registered else ()),
        )
        for a in agents
    ]
    columns = ("agent", "kind", "status", "capabilities", "description", "env")
    lease = LEASE if registered else ()
    print_table((*columns, *lease), rows, cut="description", drop=("env", *lease, "description", "kind"))
