"""The queue as metrics show it: how many tasks wait and run, by capability, and how long the oldest one has waited."""

from collections import Counter
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.clock import now, seconds_until
from aorch.ledger.database import Connection, statements
from aorch.ledger.measurements import waiting_since

STATES = ("queued", "scheduled", "running")
"""`queued` tasks can start now, `scheduled` ones later."""
ROWS = 100
"""Number of REQUESTs to read at a time."""


class QueueGauges(NamedTuple):
    """`tasks`: their number by capability and state. `oldest_s`: how long the oldest queued task could have run already
    (seconds); 0 if there is none. A task whose start time has come is queued, even if no worker has noticed it.
    """

    tasks: dict[tuple[str, str], int]
    oldest_s: float


def queue_gauges(connection: Connection) -> QueueGauges:
    """The queue now. Reads one index, and the rows of scheduled and running tasks (1 µs each)."""
    moment, tasks, first = now(), Counter[tuple[str, str]](), []
    queued, scheduled, running = STATES
    for capability, count, position in connection.execute(statements.QUEUED_BY_CAPABILITY):
        tasks[capability, queued] += count
        first.append(position)
    for state, select in ((queued, statements.DUE_BY_CAPABILITY), (scheduled, statements.SCHEDULED_BY_CAPABILITY)):
        for capability, count, _ in connection.execute(select, (moment,)):
            tasks[capability, state] += count
    for capability, count, _ in connection.execute(statements.RUNNING_BY_CAPABILITY):
        tasks[capability, running] += count
    since = [each for (each,) in connection.execute(statements.FIRST_DUE_AT) if each is not None]
    if first and (found := oldest(connection, min(first), statements.QUEUED_POSITIONS)) is not None:
        since.append(found)
    return QueueGauges(dict(tasks), max(0.0, -seconds_until(min(since))) if since else 0.0)


def oldest(connection: Connection, first: int, positions_of_all: str, *values: Any) -> str | None:
    """Since when the oldest of some queued tasks has waited (RFC 3339). `first` is the first of their positions, which the
    statement `positions_of_all` selects with `values`.

    REQUESTs are created in the order of their positions. So the first one is the oldest, unless it could not start at once:
    then later ones may be older, up to one that was created after the oldest of them could start.
    """
    found, positions = None, [first]
    rest: list[int] | None = None
    while positions:
        for created_at, metadata in connection.execute(statements.WAITING_SINCE, (jsonio.encode(positions),)):
            since = waiting_since(created_at, metadata)
            found = since if found is None else min(found, since)
            if created_at >= found:
                return found
        if rest is None:
            rest = sorted(position for (position,) in connection.execute(positions_of_all, values))
        positions, rest = rest[:ROWS], rest[ROWS:]
    return found
