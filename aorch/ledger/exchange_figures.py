"""The figures of exchanges for statistics: one row per exchange, by one of its properties."""

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ids import earliest_id_at
from aorch.ledger.database import statements
from aorch.ledger.exchanges import ExchangeFilter, narrowed_to
from aorch.ledger.measurements import Measured, measured, queue_wait_s
from aorch.ledger.record import COMPLETED, FAILED, finite, object_in, text_in
from aorch.ledger.selection import Selection

REJECTED = "rejected"
"""The outcome of a task that failed before an agent was called. The others are the statuses of RESPONSEs, and `open`."""
EXECUTED = (COMPLETED, FAILED)
"""The outcomes of tasks that an agent has executed."""
CLOCK_SLACK_S = 3600.0
"""How much older than `created_at` the time in a contract's ID may be, because of clocks that were set."""

EachRow: TypeAlias = Callable[..., Iterable[Any]]
"""Executes a statement with the values of its parameters, and yields its rows."""


class Failure(NamedTuple):
    """How an exchange failed, and when it was created. `error` is None if an imported RESPONSE has none."""

    request_id: str
    created_at: str
    error: str | None


Figures: TypeAlias = tuple[str | None, str, float | None, float | None, Measured, int | None]
"""The figures of an exchange: its key, its outcome, its duration and its wait in the queue (ms), what else its RESPONSE tells,
and its position if it failed. The key is None if there is none (no agent), the duration unless an agent executed it, the wait
unless it was queued.

(A class would take a tenth of the time of statistics.)
"""


def _caller(row: Any) -> str:
    """The name of the token; without one, the agent that the caller named."""
    if row[1] is not None:
        try:
            found = jsonio.decode(row[1])
        except InvalidJSON:
            found = None
        if isinstance(found, dict) and (name := text_in(object_in(found, "caller"), "name")) is not None:
            return name
    return str(row[0])


_first = itemgetter(0)
SELECTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "capability": (statements.STATS_BY_CAPABILITY, _first),
    "agent": (statements.STATS_BY_AGENT, _first),
    "session": (statements.STATS_BY_SESSION, _first),
    "caller": (statements.STATS_BY_CALLER, _caller),
    "error": (statements.STATS_BY_ERROR, _first),
    "minute": (statements.STATS_BY_TIME, lambda row: row[0][:16]),
    "hour": (statements.STATS_BY_TIME, lambda row: row[0][:13]),
    "day": (statements.STATS_BY_TIME, lambda row: row[0][:10]),
}
"""The select for each property of exchanges, and the key in its rows. Times are the first characters of RFC 3339, in UTC."""


def figures_by(each_row: EachRow, by: str, which: ExchangeFilter) -> Iterator[Figures]:
    """The figures of each exchange that matches `which`, in no particular order; by `error`, only of those that failed.

    Exchanges since `which.since` are found by the times in their ids (ULIDs), within CLOCK_SLACK_S. Those of imported contracts
    with other ids can be missed, if the id sorts before that of this time. `which.text` is ignored.
    """
    select, key_of = SELECTS[by]
    selection = narrowed_to(Selection(select), which)
    if which.since is not None:
        selection = selection.where(statements.SINCE_ID, earliest_id_at(which.since.timestamp() - CLOCK_SLACK_S))
    if by == "error":
        selection = selection.where(statements.HAS_FAILED)
    sql, values = selection.unordered()
    for row in each_row(sql, *values):
        outcome, told, ended_at, queued_at, asked, failed = row[-6:]
        answer = measured(told)
        duration_ms = wait_ms = None
        if outcome in EXECUTED:
            duration_ms = answer.duration_ms
            if type(duration_ms) is not float or not isfinite(duration_ms):
                duration_ms = finite(duration_ms)
            if ended_at is not None and duration_ms is not None:
                wait_s = queue_wait_s(asked, queued_at, ended_at, duration_ms / 1000)
                wait_ms = None if wait_s is None else wait_s * 1000
        yield key_of(row), outcome, duration_ms, wait_ms, answer, failed


def failures_at(each_row: EachRow, positions: Iterable[int]) -> dict[int, Failure]:
    """How the exchanges failed whose REQUESTs are at those positions."""
    rows = each_row(statements.FAILURES_AT, jsonio.encode(list(positions)))
    return {position: Failure(*columns) for position, *columns in rows}
