"""The totals of the metrics, which are computed from the RESPONSEs of the ledger in the order of their positions.

An exchange counts at the position of its RESPONSE, with its REQUEST wherever that is; an exchange without a RESPONSE does not
count yet. So a sum up to one position, and the sum from there to another, add up to the same totals in every process.

The table `metric_totals` has the totals up to some position, the deleted contracts included. It is written rarely: by
`MetricStore.store` in the background of a service, and by `count_before_removal` before contracts are deleted. A reader adds
the contracts after that position.

All totals are whole numbers, because sums of floating-point numbers depend on their order, and a total must never fall.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple, Self

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import Connection, Database, exclusive, statements
from aorch.ledger.measurements import Measured, measured, queue_wait_s
from aorch.ledger.record import INTERRUPTED, ORCHESTRATOR, finite

EXCHANGES, DURATION, WAIT, ATTEMPTS, TOKENS = "exchanges", "duration", "wait", "attempts", "tokens"
"""The metrics, and their labels in order: EXCHANGES capability, agent, status; DURATION capability, agent, bucket; WAIT
capability, bucket; ATTEMPTS agent, outcome; TOKENS direction.
"""
SUM = "sum"
"""The bucket of DURATION and WAIT that contains the sum (µs). The others contain numbers of exchanges, and are not cumulative."""
DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
WAIT_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
"""The upper limits of the buckets, inclusive (seconds). Totals are stored by bucket: a change needs a migration."""
OTHER = "other"
"""The value of a label for all values after the first MOST_VALUES, for longer ones, and for capabilities that no agent has."""
MOST_VALUES, LONGEST_VALUE = 100, 128
LONGEST_S = 31 * 86400.0
"""A longer duration counts as this one. So no imported contract can make a sum too large for the database."""
MOST_TOKENS = 10**9
"""Likewise for the tokens of an exchange, of which more are not counted."""
STEP = 2000
"""Number of positions to read at a time, and to store in one transaction (about 5 ms)."""
PAUSE_S = 0.02
"""The pause between two of these transactions, in which other processes write."""
STORE_EVERY = 5000
"""The totals are stored when they are this many positions behind. A reader that starts reads so many contracts (20 ms)."""

_POSITION = ("position",)
_NOT_FOUND = ("no_agent", "not_found")
"""The codes of tasks whose capability may be any text, because no agent has it."""
_CAPPED = {EXCHANGES: ("capability", "agent"), ATTEMPTS: ("agent", "outcome")}
"""The labels whose values are capped, in the metrics that have all of them."""
_STATUSES = frozenset(("completed", "failed", "cancelled", INTERRUPTED))
_CANCELLED = "cancelled"

Labels = tuple[str, ...]
"""A metric and the values of its labels."""


class _Row(NamedTuple):
    """A row of MEASURED_RESPONSES."""

    capability: str
    from_agent: str
    status: str
    created_at: str
    metadata: str
    request_id: str | None
    to_agent: str | None
    asked_at: str | None
    priority: int | None
    asked_metadata: str | None


class MetricTotals:
    """The totals over all contracts up to `position`, by metric and labels."""

    def __init__(self, stored: Iterable[tuple[str, str, int]] = ()) -> None:
        self.position = 0
        self.counts: dict[Labels, int] = {}
        self._known: dict[str, set[str]] = {"capability": set(), "agent": set(), "outcome": set()}
        self._changed: set[Labels] = set()
        for metric, labels, value in stored:
            if metric == _POSITION[0]:
                self.position = value
                continue
            values = jsonio.decode(labels)
            self.counts[metric, *values] = value
            for name, known in zip(_CAPPED.get(metric, ()), values, strict=False):
                self._known[name].add(known)
        for names in self._known.values():
            names.discard(OTHER)

    def add_up_to(self, connection: Connection, last: int) -> None:
        """Add the contracts after `position` up to `last`."""
        while self.position < last:
            end = min(self.position + STEP, last)
            rows = [_Row(*row) for row in connection.execute(statements.MEASURED_RESPONSES, (self.position, end))]
            answers = [measured(row.metadata) for row in rows]
            attempts = _attempts(connection, rows, answers)
            for row, answer in zip(rows, answers, strict=True):
                self._add(row, answer, attempts.get(row.request_id or "", ()))
            self.position = end

    def store(self, connection: Connection) -> None:
        """Write the totals that have changed to the table, inside the caller's transaction."""
        changed = [(metric, jsonio.encode(labels), self.counts[metric, *labels]) for metric, *labels in self._changed]
        connection.executemany(statements.PUT_METRIC_TOTAL, [*changed, (*_POSITION, "[]", self.position)])
        self._changed.clear()

    def capabilities(self, names: Iterable[str]) -> list[str]:
        """The labels of these capabilities for a gauge: OTHER for those that have not counted yet and have no room."""
        room, labels = MOST_VALUES - len(self._known["capability"]), []
        for name in names:
            is_known = name in self._known["capability"]
            labels.append(self._label("capability", name, is_real=is_known or room > 0, keep=False))
            room -= not is_known
        return labels

    def _add(self, row: _Row, answer: Measured, attempts: Iterable[tuple[str, str]]) -> None:
        is_real = not (row.from_agent == ORCHESTRATOR and answer.code in _NOT_FOUND)
        capability = self._label("capability", row.capability, is_real=is_real)
        was_lost = row.status == INTERRUPTED and answer.delivered is None
        agent = self._label("agent", (row.to_agent if was_lost else None) or row.from_agent)
        self._count(EXCHANGES, capability, agent, row.status if row.status in _STATUSES else OTHER)
        duration_s = _duration_s(answer)
        if duration_s is not None:
            if row.from_agent != ORCHESTRATOR:
                self._observe((DURATION, capability, agent), DURATION_BUCKETS_S, duration_s)
            if row.priority is not None and (wait_s := _wait_s(row, duration_s)) is not None:
                self._observe((WAIT, capability), WAIT_BUCKETS_S, wait_s)
        for agent_id, outcome in attempts or _only_attempt(row, answer, was_lost=was_lost):
            self._count(ATTEMPTS, self._label("agent", agent_id), self._label("outcome", outcome))
        if isinstance(answer.usage, dict):
            for direction in ("input", "output"):
                tokens = answer.usage.get(direction)
                if type(tokens) is int and 0 < tokens <= MOST_TOKENS:
                    self._count(TOKENS, direction, by=tokens)

    def _count(self, *labels: str, by: int = 1) -> None:
        self.counts[labels] = self.counts.get(labels, 0) + by
        self._changed.add(labels)

    def _observe(self, labels: Labels, buckets: tuple[float, ...], seconds: float) -> None:
        index = bisect_left(buckets, seconds)
        self._count(*labels, str(buckets[index]) if index < len(buckets) else "+Inf")
        self._count(*labels, SUM, by=round(seconds * 1_000_000))

    def _label(self, name: str, value: str, *, is_real: bool = True, keep: bool = True) -> str:
        """`value`, or OTHER if it is new and there is no room for it, or is not `is_real`."""
        known = self._known[name]
        if not isinstance(value, str):
            return OTHER  # another program wrote it
        if value in known:
            return value
        if not is_real or len(known) >= MOST_VALUES or len(value) > LONGEST_VALUE or value == OTHER:
            return OTHER
        if keep:
            known.add(value)
        return value


def _attempts(connection: Connection, rows: list[_Row], answers: list[Measured]) -> dict[str, list[tuple[str, str]]]:
    """The attempts of those exchanges that needed several: by REQUEST, the agent and the outcome of each."""
    ids = [
        row.request_id
        for row, answer in zip(rows, answers, strict=True)
        if row.request_id is not None and (answer.attempts is not None or row.status == INTERRUPTED)
    ]
    found: dict[str, list[tuple[str, str]]] = {}
    if ids:
        for request_id, _, agent_id, _, ended_at, code, _ in connection.execute(
            statements.ATTEMPTS_OF, (jsonio.encode(ids),)
        ):
            outcome = INTERRUPTED if ended_at is None else code or "completed"
            found.setdefault(request_id, []).append((agent_id, outcome))
    return found


def _only_attempt(row: _Row, answer: Measured, *, was_lost: bool) -> list[tuple[str, str]]:
    """The attempt of an exchange without rows in `attempts`: none if no agent was called."""
    if was_lost:
        return [(row.to_agent, INTERRUPTED)] if row.to_agent else []
    code = answer.code if isinstance(answer.code, str) else None
    if row.from_agent == ORCHESTRATOR or (code == _CANCELLED and answer.delivered is False):
        return []
    return [(row.from_agent, code or row.status)]


def _duration_s(answer: Measured) -> float | None:
    duration_ms = finite(answer.duration_ms)
    return min(duration_ms / 1000, LONGEST_S) if duration_ms is not None and duration_ms >= 0 else None


def _wait_s(row: _Row, duration_s: float) -> float | None:
    wait_s = queue_wait_s(row.asked_metadata, row.asked_at or "", row.created_at, duration_s)
    return None if wait_s is None else min(wait_s, LONGEST_S)


def count_before_removal(connection: Connection, last_position: int) -> None:
    """Add the contracts up to `last_position` to the stored totals, inside the caller's transaction.

    Call it before contracts up to that position are deleted, or lose their metadata (duration, tokens): then the metrics
    keep counting them, and no total falls. Contracts are added in the order of positions, each once, so this takes 5 µs for each
    contract since the last call and nothing for earlier ones. Before a long removal, bring the stored totals up to date
    with `MetricStore.catch_up`, which uses short transactions.
    """
    found = connection.execute(statements.METRIC_POSITION).fetchone()
    if found is not None and found[0] >= last_position:
        return
    totals = MetricTotals(connection.execute(statements.METRIC_TOTALS))
    totals.add_up_to(connection, last_position)
    totals.store(connection)


class MetricStore:
    """The stored totals of the ledger at `path`, which must exist; open inside a `with` block or until `close`, for any thread.

    Every method raises LedgerError.
    """

    def __init__(self, path: LedgerLocation) -> None:
        self.database = Database(path)
        """For other reads of the same ledger."""
        self._totals: MetricTotals | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def current(self) -> MetricTotals:
        """The totals over all contracts: those of the last call, or the stored ones, and the contracts since."""
        with self._lock:
            totals, stored = self._totals, self._stored()
            while True:
                if totals is None or totals.position < stored:
                    with self.database.read() as connection:
                        totals = MetricTotals(connection.execute(statements.METRIC_TOTALS))
                self._add_new(totals)
                before, stored = stored, self._stored()
                if before == stored:
                    self._totals = totals
                    return totals
                totals = None  # contracts may have been deleted while this read them, after they were added to the stored totals

    def _add_new(self, totals: MetricTotals) -> None:
        """Add the contracts up to the newest one, in steps, between which another thread can close the file."""
        with self.database.read() as connection:
            last = _last_position(connection)
        while totals.position < last:
            with self.database.read() as connection:
                totals.add_up_to(connection, min(totals.position + STEP, last))

    def _stored(self) -> int:
        with self.database.read() as connection:
            return _stored_position(connection)

    def behind(self) -> int:
        """By how many positions the stored totals are behind."""
        with self.database.read() as connection:
            return max(0, _last_position(connection) - _stored_position(connection))

    def store(self) -> int:
        """Add STEP positions to the stored totals, in one transaction. Returns by how many they are behind."""
        behind = self.behind()
        if behind:
            with self.database.write() as connection:
                count_before_removal(connection, _stored_position(connection) + min(STEP, behind))
        return max(0, behind - STEP)

    def store_if_behind(self) -> None:
        """Bring the stored totals up to date if they are STORE_EVERY positions behind, unless another process does that now."""
        if self.behind() >= STORE_EVERY:
            with exclusive(self.database.path, "metrics") as is_alone:
                if is_alone:
                    self.catch_up()

    def catch_up(self) -> None:
        """Bring the stored totals up to date, in short transactions."""
        while self.store():
            time.sleep(PAUSE_S)


def _last_position(connection: Connection) -> int:
    return int(connection.execute(statements.LAST_POSITION).fetchone()[0])


def _stored_position(connection: Connection) -> int:
    found = connection.execute(statements.METRIC_POSITION).fetchone()
    return 0 if found is None else int(found[0])
