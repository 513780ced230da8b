"""The agents that workers over HTTP offer, in the form in which agents are listed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from aorch import jsonio
from aorch.clock import from_rfc3339, rfc3339
from aorch.ledger.database import statements
from aorch.ledger.work_leases import LeaseRow

KIND = "worker"
"""The kind of an agent that a worker over HTTP offers."""
_NAMED = 3
"""Number of workers to name."""


def offered_agents(rows: Callable[..., list[Any]]) -> list[dict[str, Any]]:
    """The JSON forms of the agents that the leases of a ledger offer, by ID; those that several workers offer once. `rows`
    returns those of a generated statement.
    """
    found: dict[str, list[tuple[LeaseRow, dict[str, Any]]]] = {}
    documents: dict[str, list[dict[str, Any]]] = {}
    for row in rows(statements.WORK_LEASES):
        lease = LeaseRow(*row)
        if lease.offer_id not in documents:
            offers = rows(statements.WORK_OFFER, lease.offer_id)
            documents[lease.offer_id] = jsonio.decode(offers[0][0]) if offers else []
        for agent in documents[lease.offer_id]:
            found.setdefault(agent["agent_id"], []).append((lease, agent))
    return [_form(agent_id, offers) for agent_id, offers in sorted(found.items())]


def _form(agent_id: str, offers: list[tuple[LeaseRow, dict[str, Any]]]) -> dict[str, Any]:
    lease, agent = offers[-1]
    names = [each.worker for each, _ in offers]
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} others" if len(names) > _NAMED else "")
    renewed_at = rfc3339(from_rfc3339(lease.ends_at) - timedelta(seconds=lease.lease_s))
    labels = {name: value for name, value in agent["labels"].items() if name != "version"}
    return {
        "agent_id": agent_id,
        "name": agent_id,
        "description": f"Works through {'the worker' if len(names) == 1 else 'the workers'} {shown}; queue tasks for it",
        "kind": KIND,
        "version": agent["labels"].get("version", ""),
        "endpoint": None,
        "labels": labels,
        "concurrency": None,
        "rate_per_min": None,
        "env": [],
        "status": "available",
        "problem": None,
        "changes": [],
        "since": lease.created_at,
        "capabilities": agent["capabilities"],
        "tasks_completed": 0,
        "tasks_failed": 0,
        "registered_at": lease.created_at,
        "last_heartbeat": renewed_at,
        "owner": lease.owner,
        "lease_ends_at": lease.ends_at,
        "breaker": None,
    }
