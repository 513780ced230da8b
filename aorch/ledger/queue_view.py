"""The queue as people see it: how many tasks wait and run, since when, who runs them, and the tasks in order."""

from collections.abc import Iterable
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.clock import now, seconds_until
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import Connection, Database, statements
from aorch.ledger.measurements import waiting_since
from aorch.ledger.queue_gauges import STATES, oldest

QUEUED, SCHEDULED, RUNNING = STATES
TASK_FIELDS = (
    *("contract_id", "state", "capability", "priority", "session_id", "agent_id", "waiting_since"),
    *("created_at", "not_before", "expires_at", "attempts", "worker_id"),
)
"""The fields of a task."""


class _Task(NamedTuple):
    """A row of RUNNING_TASKS, and of TASKS_AT after its position."""

    contract_id: str
    session_id: str
    capability: str
    priority: int
    to_agent: str | None
    created_at: str
    due_at: str | None
    expires_at: str | None
    attempts: int | None
    claimed_by: str | None
    metadata: str

    def as_dict(self, state: str) -> dict[str, Any]:
        """The TASK_FIELDS. A task that runs or cannot start yet does not wait."""
        since = self.due_at or waiting_since(self.created_at, self.metadata) if state == QUEUED else None
        return {
            "contract_id": self.contract_id,
            "state": state,
            "capability": self.capability,
            "priority": self.priority,
            "session_id": self.session_id,
            "agent_id": self.to_agent,
            "waiting_since": since,
            "created_at": self.created_at,
            "not_before": self.due_at,
            "expires_at": self.expires_at,
            "attempts": self.attempts or 0,
            "worker_id": self.claimed_by,
        }


def queue_view(path: LedgerLocation, limit: int) -> dict[str, Any]:
    """The queue of the ledger at `path`; that of a file that does not exist is empty. Raises LedgerError.

    `queued`, `scheduled` and `running` are numbers of tasks, and `oldest_s` is how long the oldest queued task could have run
    already (seconds; null if there is none). `groups` have these numbers, and `oldest_at`, for each capability and priority.
    `workers` are the processes that run tasks (`worker_id`, `running`). `tasks` are up to `limit` tasks with the TASK_FIELDS, and
    `more` is the number of the others: running ones, the oldest first; queued ones in the order of the queue; scheduled ones by
    their start. A task whose start time has come is queued, even if no worker has given it a turn yet; it is listed after those
    that have one.
    """
    with Database(path) as database:
        if not database.exists():
            return _view([], [], [])
        with database.read() as connection:
            return _view(
                _groups(connection), connection.execute(statements.WORKERS).fetchall(), _tasks(connection, limit)
            )


def _view(
    groups: list[dict[str, Any]], workers: Iterable[tuple[str, int]], tasks: list[dict[str, Any]]
) -> dict[str, Any]:
    counts = {state: sum(group[state] for group in groups) for state in STATES}
    since = min((group["oldest_at"] for group in groups if group["oldest_at"] is not None), default=None)
    return {
        **counts,
        "oldest_s": None if since is None else round(max(0.0, -seconds_until(since)), 3),
        "groups": groups,
        "workers": [{"worker_id": worker_id, "running": count} for worker_id, count in sorted(workers)],
        "tasks": tasks,
        "more": sum(counts.values()) - len(tasks),
    }


def _groups(connection: Connection) -> list[dict[str, Any]]:
    """The numbers of tasks by priority and capability, the most urgent first."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    moment = now()
    for state, select, values in (
        (QUEUED, statements.QUEUED_BY_PRIORITY, ()),
        (QUEUED, statements.DUE_BY_PRIORITY, (moment,)),
        (SCHEDULED, statements.SCHEDULED_BY_PRIORITY, (moment,)),
        (RUNNING, statements.RUNNING_BY_PRIORITY, ()),
    ):
        for capability, priority, count, first in connection.execute(select, values).fetchall():
            empty = {"capability": capability, "priority": priority, **dict.fromkeys(STATES, 0), "oldest_at": None}
            group = found.setdefault((priority, capability), empty)
            group[state] += count
            if select == statements.QUEUED_BY_PRIORITY:
                first = oldest(connection, first, statements.QUEUED_POSITIONS_OF, capability, priority)
            if state == QUEUED:
                group["oldest_at"] = min(filter(None, (group["oldest_at"], first)), default=None)
    return [found[key] for key in sorted(found)]


def _tasks(connection: Connection, limit: int) -> list[dict[str, Any]]:
    running = [_Task(*row).as_dict(RUNNING) for row in connection.execute(statements.RUNNING_TASKS, (limit,))]
    rows = {row[0]: _Task(*row[1:]) for row in _at(connection, _first_positions(connection, limit - len(running)))}
    queued = [rows[position].as_dict(QUEUED) for position in rows]
    left = limit - len(running) - len(queued)
    moment = now()
    later = [_Task(*row) for row in connection.execute(statements.TASKS_WITH_START, (left,))]
    return [
        *running,
        *queued,
        *(task.as_dict(QUEUED if (task.due_at or "") <= moment else SCHEDULED) for task in later),
    ]


def _first_positions(connection: Connection, limit: int) -> list[int]:
    """The positions of the first `limit` tasks that can start now, in the order of the queue."""
    queues = [required for *required, _ in connection.execute(statements.QUEUED_COUNTS).fetchall()]
    heads = [connection.execute(statements.QUEUE_HEAD, (*required, limit)) for required in queues]
    return [position for _, _, position, *_ in islice(merge(*heads), limit)]


def _at(connection: Connection, positions: list[int]) -> list[Any]:
    """The rows of TASKS_AT, in the order of `positions`."""
    rows = {row[0]: row for row in connection.execute(statements.TASKS_AT, (jsonio.encode(positions),))}
    return [rows[position] for position in positions]
