"""Removes finished exchanges from the ledger, the oldest first, in small transactions while other processes work.

A transaction removes whole units (contract_units.py) with everything that belongs to them: words in the full-text index,
attempts, webhooks, idempotency keys, lines of batches, retries and parked deliveries. So a process that is killed leaves whole
exchanges.
Triggers keep the counts and the session index right. The metrics keep counting what was removed.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.ledger.contract_ages import ContractAges
from aorch.ledger.contract_units import Part, Unit, heads_of, units_of
from aorch.ledger.database import Connection, statements, transaction
from aorch.ledger.metric_totals import count_before_removal
from aorch.ledger.upkeep import empty_bytes, remove_words, sees_removals, used_bytes

OPEN, TRACE, WEBHOOK, KEY, BATCH, STATUS, RECENT = "open", "trace", "webhook", "key", "batch", "status", "recent"
CORRECTION = "correction"
"""Why a unit stays: an exchange in it is open; Trace has not received all of it; a webhook is due; it has an Idempotency-Key
that is less than a day old; it is part of a batch that can be resumed and has newer lines; another status; it is too young; or
it corrects memory.
"""
CHUNK = 400
"""Contracts that are read at a time."""
MOST = 200
"""Contracts that a transaction removes, unless one unit has more. It holds the write lock for about 10 ms."""
LINES = 200
"""Lines of a batch that are looked at together."""


class Rules(NamedTuple):
    """What to remove: exchanges that ended before `before` (RFC 3339; None: none by age); then, while the pages in use take more
    than `max_bytes`, those that ended before `young_after`, the oldest first.

    `statuses`: only units whose exchanges all have one of these statuses (None: any). Contracts after the position
    `due_after` are due to Trace and stay (None: none is due). Keys that were used after `keyed_after` protect their exchange.
    """

    before: str | None
    max_bytes: int | None
    young_after: str
    keyed_after: str
    statuses: frozenset[str] | None = None
    due_after: int | None = None


@dataclass(slots=True)
class Pruned:
    """What was removed, or would be: exchanges, contracts, the bytes of their content, when the oldest was written and when the
    newest ended; and `batches`, which cannot be resumed any more. `kept`: how many exchanges that are old enough stay, by reason.
    """

    exchanges: int = 0
    contracts: int = 0
    content_bytes: int = 0
    oldest_at: str | None = None
    newest_at: str | None = None
    batches: list[str] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)

    def add(self, unit: Unit) -> None:
        """Count a unit."""
        self.exchanges += unit.exchanges
        self.contracts += len(unit.parts)
        self.oldest_at = min(self.oldest_at or "~", min(part.created_at for part in unit.parts))
        self.newest_at = max(self.newest_at or "", unit.ended_at)


class Pruner:
    """Removes what `rules` allow through `connection`, as long as it is `wanted`.

    After each transaction, and each read, it pauses for `rest` times as long as that took, so that others get their turn. With
    `dry_run` it only counts; how much `max_bytes` needs is then an estimate. Unless it `counts_kept`, it stops at the first
    contracts that are due to Trace. While it `remembers_all`, it keeps the ids of all contracts as if a memory block covered
    them.
    """

    def __init__(
        self,
        connection: Connection,
        rules: Rules,
        *,
        dry_run: bool = False,
        counts_kept: bool = True,
        remembers_all: Callable[[], bool] = lambda: False,
        rest: float = 1.0,
        wanted: Callable[[], bool] = lambda: True,
        progress: Callable[[Pruned], None] | None = None,
    ) -> None:
        self.pruned = Pruned()
        self._connection, self._rules = connection, rules
        self._dry_run, self._counts_kept, self._rest = dry_run, counts_kept, rest
        self._wanted, self._progress, self._remembers_all = wanted, progress, remembers_all
        self._batches: dict[str, str] = dict(self._rows(statements.RESUMABLE_GENERATIONS))
        self._may_go: dict[str, bool] = {}
        self._ages = ContractAges(connection, keeps=not dry_run)
        self._before = ""
        self._all_content: int | None = None

    def run(self) -> Pruned:
        """Remove by age, then by size. Raises LedgerError."""
        self._ages.catch_up(self._rest_after)
        if self._rules.before is not None:
            self._remove_all(self._rules.before, lambda: False)
        if self._rules.max_bytes is not None and not self._is_small():
            self.pruned.kept.clear()
            self._remove_all(self._rules.young_after, self._is_small)
        self._ages.correct()
        return self.pruned

    def estimated_bytes(self) -> int:
        """By how much the pages in use shrink in a dry run: their share is that of the content, or, if the database cannot tell
        the pages in use after each transaction, that of the contracts.
        """
        if not sees_removals(self._connection):
            used, contracts, counted = self._size_at_first
            return round(used * min(1.0, (self.pruned.contracts - counted) / max(1, contracts)))
        if not self.pruned.content_bytes:
            return 0
        if self._all_content is None:
            self._all_content = int(self._rows(statements.ALL_CONTENT_BYTES)[0][0])
        rows = max(0, used_bytes(self._connection) - empty_bytes(self._connection))
        return round(rows * self.pruned.content_bytes / self._all_content)

    def _is_small(self) -> bool:
        assert self._rules.max_bytes is not None
        if not sees_removals(self._connection):
            if self._size_at_first[0] - self.estimated_bytes() > self._rules.max_bytes or self._dry_run:
                return self._size_at_first[0] - self.estimated_bytes() <= self._rules.max_bytes
            del self._size_at_first  # measured again
            return self._size_at_first[0] <= self._rules.max_bytes
        freed = self.estimated_bytes() if self._dry_run else 0
        return used_bytes(self._connection) - freed <= self._rules.max_bytes

    @cached_property
    def _size_at_first(self) -> tuple[int, int, int]:
        """The size when it is first needed, the number of contracts, and how many of those in `pruned` are not among them."""
        (contracts,) = self._rows(statements.CONTRACT_TOTAL)[0]
        return used_bytes(self._connection), contracts, 0 if self._dry_run else self.pruned.contracts

    def _remove_all(self, before: str, is_enough: Callable[[], bool]) -> None:
        """Remove the units that ended before that time, in the order in which they ended, until it `is_enough`."""
        counted_before, self._before, self._may_go = self._before, before, {}
        waiting: list[Unit] = []
        for unit in self._in_order(before):
            if not self._wanted() or (not waiting and is_enough()):
                return
            if self._dry_run and counted_before and unit.ended_at < counted_before:
                continue  # the pass before has counted it
            waiting.append(unit)
            if sum(len(each.parts) for each in waiting) >= MOST:
                self._remove(waiting)
                waiting = []
        if waiting:
            self._remove(waiting)

    def _in_order(self, before: str) -> Iterator[Unit]:
        """All units that may be old enough, in the order of their last contracts."""
        heap: list[tuple[int, Unit]] = []
        after, last = 0, self._rules.due_after
        while True:
            started = time.monotonic()
            after = self._ages.next_old(after, before)
            parts = [Part(*row) for row in self._rows(statements.PARTS_AFTER, after, CHUNK)]
            if not parts:
                break
            self._ages.saw(parts, before)
            heads = heads_of(self._rows, parts)
            firsts = {part.position for part in heads}
            for unit in units_of(self._rows, heads):
                if unit.first.position in firsts:  # otherwise an earlier chunk had it
                    heapq.heappush(heap, (unit.last_position, unit))
            self._rest_after(started)
            after = parts[-1].position
            while heap and heap[0][0] <= after:
                yield heapq.heappop(heap)[1]
            if not self._counts_kept and last is not None and after > last:
                return
        yield from (unit for _, unit in sorted(heap, key=lambda each: each[0]))

    def _remove(self, units: Sequence[Unit]) -> None:
        """Remove those of `units` that may go, in one transaction."""
        going = self._judge(units, count=True)
        if not going:
            return
        if self._dry_run:
            self._count(going)
        else:
            started = time.monotonic()
            firsts = jsonio.encode([unit.first.contract_id for unit in going])
            with transaction(self._connection):
                parts = [Part(*row) for row in self._rows(statements.PARTS, firsts)]
                going = self._judge(units_of(self._rows, parts), count=False)  # they may have changed meanwhile
                if going:
                    self._count(going)
                    self._delete(going)
            self._rest_after(started)
        if self._progress is not None:
            self._progress(self.pruned)

    def _count(self, units: Iterable[Unit]) -> None:
        for unit in units:
            self.pruned.add(unit)
        positions = jsonio.encode([each for unit in units for each in unit.positions])
        self.pruned.content_bytes += self._rows(statements.CONTENT_BYTES, positions)[0][0]

    def _delete(self, units: Sequence[Unit]) -> None:
        execute = self._connection.execute
        ids = jsonio.encode([each for unit in units for each in unit.ids])
        positions = [each for unit in units for each in unit.positions]
        for generation in {generation for _, generation in self._rows(statements.GENERATIONS_OF, ids)}:
            if (name := self._batches.pop(generation, None)) is not None:
                execute(statements.UNREGISTER_BATCH, (name, generation))
                self.pruned.batches.append(name)
        count_before_removal(self._connection, max(positions))
        self._remember(units)
        remove_words(self._connection, positions)
        for statement in (
            statements.DELETE_ATTEMPTS_OF,
            statements.DELETE_PROGRESS_OF,
            statements.DELETE_WEBHOOKS_OF,
            statements.DELETE_KEYS_OF,
            statements.DELETE_LINES_OF,
            statements.DELETE_RETRIES_OF,
        ):
            execute(statement, (ids,))
        execute(statements.DELETE_PARKED_AT, (jsonio.encode(positions),))
        execute(statements.DELETE_CONTRACTS_AT, (jsonio.encode(positions),))
        self._ages.removed(positions)

    def _remember(self, units: Iterable[Unit]) -> None:
        """Keep the ids of contracts that a memory block covers, or may cover soon."""
        parts = [part for unit in units for part in unit.parts]
        sessions = jsonio.encode(list({part.session_id for part in parts}))
        covered = dict(self._rows(statements.COVERED_POSITIONS, sessions))
        remembers_all = self._remembers_all()
        rows = [
            (part.session_id, part.position, part.contract_id)
            for part in parts
            if remembers_all or part.position <= covered.get(part.session_id, 0)
        ]
        if rows:
            self._connection.executemany(statements.INSERT_PRUNED, rows)

    def _judge(self, units: Iterable[Unit], *, count: bool, batches: bool = True) -> list[Unit]:
        """Those of `units` that may be removed. The others are counted by reason if they are old enough and `count`."""
        old = [unit for unit in units if not unit.ended_at >= self._before or (count and unit.is_open)]
        ids = jsonio.encode([each for unit in old for each in unit.ids])
        waiting = {each for (each,) in self._rows(statements.PENDING_WEBHOOKS_OF, ids)}
        keyed = {each for (each,) in self._rows(statements.KEYED_REQUESTS, ids)}
        corrections = {each for (each,) in self._rows(statements.CORRECTIONS_AMONG, ids)}
        generations: dict[str, set[str]] = {}
        for request_id, generation in self._rows(statements.GENERATIONS_OF, ids) if batches else ():
            if generation in self._batches:
                generations.setdefault(request_id, set()).add(generation)
        positions = jsonio.encode([each for unit in old for each in unit.positions])
        due_again = {each for (each,) in self._rows(statements.DUE_AGAIN_AT, positions)}
        going = []
        for unit in old:
            reason = self._reason(unit, waiting, keyed, due_again)
            if reason is None and not corrections.isdisjoint(unit.ids):
                reason = CORRECTION
            if reason is None and not all(
                self._batch_may_go(each) for name in unit.ids for each in generations.get(name, ())
            ):
                reason = BATCH
            if reason is None:
                going.append(unit)
            elif count and reason != RECENT:
                self.pruned.kept[reason] += unit.exchanges
        return going

    def _reason(self, unit: Unit, waiting: set[str], keyed: set[str], due_again: set[int]) -> str | None:
        rules, ids = self._rules, unit.ids
        if unit.is_open:
            return OPEN if unit.first.created_at < self._before else RECENT
        if unit.ended_at >= self._before:
            return RECENT
        if rules.statuses is not None and not unit.statuses <= rules.statuses:
            return STATUS
        if rules.due_after is not None and (
            unit.last_position > rules.due_after or not due_again.isdisjoint(unit.positions)
        ):
            return TRACE
        if not waiting.isdisjoint(ids):
            return WEBHOOK
        if unit.ended_at >= rules.keyed_after and not keyed.isdisjoint(ids):
            return KEY
        return None

    def _batch_may_go(self, generation: str) -> bool:
        """Whether all lines of the batch may be removed, so that no part of a batch that can be resumed goes alone."""
        if generation not in self._batches:
            return True
        if generation not in self._may_go:
            self._may_go[generation] = all(self._lines_may_go(ids) for ids in self._lines_of(generation))
        return self._may_go[generation]

    def _lines_of(self, generation: str) -> Iterator[list[str]]:
        after = ""
        while rows := self._rows(statements.REQUESTS_OF_GENERATION, generation, after, LINES):
            after = rows[-1][0]
            yield [request_id for _, request_id in rows]

    def _lines_may_go(self, request_ids: list[str]) -> bool:
        parts = [Part(*row) for row in self._rows(statements.PARTS, jsonio.encode(request_ids))]
        units = units_of(self._rows, parts)
        return len(self._judge(units, count=False, batches=False)) == len(units)

    def _rest_after(self, started: float) -> None:
        """Pause in proportion to the time since `started` (time.monotonic)."""
        time.sleep(self._rest * (time.monotonic() - started))

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()
