"""Where old contracts are, so that a prune reads only these parts of the ledger.

Contracts are usually written in the order of their age, but an import adds old ones after younger ones. The table
`contract_ages` has the oldest `created_at` of each run of RUN positions. A prune adds the runs that were completed since the
prune before, and corrects those from which it removed contracts. Positions are not reused, so a complete run never gets older.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from aorch.ledger.contract_units import Part
from aorch.ledger.database import Connection, statements, transaction

RUN = 2048
"""Number of positions per run."""
STORED = 200
"""Number of runs that are stored in one transaction."""


class ContractAges:
    """The oldest contract of each run of positions; `keeps` them in the table through `connection`."""

    def __init__(self, connection: Connection, *, keeps: bool) -> None:
        self._connection, self._keeps = connection, keeps
        self._oldest: dict[int, str] = dict(self._rows(statements.CONTRACT_AGES))
        self._runs = sorted(self._oldest)
        self._tail = self._runs[-1] if self._runs else 0
        self._changed: set[int] = set()
        self._read: set[int] = set()
        self._has_old: set[int] = set()

    def catch_up(self, rest_after: Callable[[float], None]) -> None:
        """Read the runs that were completed since the last prune. The first time, these are all contracts.

        Calls `rest_after` with the time at which the read of a run began.
        """
        ((newest,),) = self._rows(statements.LAST_POSITION)
        new: dict[int, str] = {}
        started = time.monotonic()
        while (run := self._next_run(self._tail)) is not None and run <= newest:
            new[run] = self._oldest[run] = self._oldest_in(run) or ""
            self._runs.append(run)
            self._tail = run
            if len(new) == STORED:
                self._store(new)
                new = {}
            rest_after(started)
            started = time.monotonic()
        self._store(new)

    def next_old(self, after: int, before: str) -> int:
        """The position after which the next contracts that were created before that time may be; at least `after`.

        Contracts after the last complete run count as old.
        """
        for place in range(bisect_right(self._runs, after), len(self._runs)):
            run = self._runs[place]
            if self._oldest[run] < before:
                return max(after, run - RUN)
        return max(after, self._tail)

    def saw(self, parts: Iterable[Part], before: str) -> None:
        """Note the contracts that a prune has read."""
        for part in parts:
            run = _run_of(part.position)
            self._read.add(run)
            if part.created_at < before:
                self._has_old.add(run)

    def removed(self, positions: Iterable[int]) -> None:
        """Note that the contracts at `positions` were removed."""
        self._changed.update(map(_run_of, positions))

    def correct(self) -> None:
        """Read again the runs whose oldest contract was removed, and forget those without contracts."""
        changed = [run for run in self._changed | (self._read - self._has_old) if run in self._oldest]
        found = {run: self._oldest_in(run) for run in changed}
        self._store({run: oldest for run, oldest in found.items() if oldest is not None})
        gone = [(run,) for run, oldest in found.items() if oldest is None]
        if gone and self._keeps:
            with transaction(self._connection):
                self._connection.executemany(statements.DELETE_CONTRACT_AGE, gone)
        self._changed, self._read, self._has_old = set(), set(), set()

    def _next_run(self, after: int) -> int | None:
        ((position,),) = self._rows(statements.NEXT_POSITION, after)
        return None if position is None else _run_of(position)

    def _oldest_in(self, run: int) -> str | None:
        ((oldest,),) = self._rows(statements.OLDEST_BETWEEN, run - RUN, run)
        return oldest  # type: ignore[no-any-return]  # rows have no types

    def _store(self, oldest: dict[int, str]) -> None:
        self._oldest |= oldest
        if oldest and self._keeps:
            with transaction(self._connection):
                self._connection.executemany(statements.PUT_CONTRACT_AGE, list(oldest.items()))

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()


def _run_of(position: int) -> int:
    """The last position of the run of that position."""
    return -(-position // RUN) * RUN
