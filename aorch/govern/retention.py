"""Retention: which finished exchanges are removed, by `[retention]` or by hand, and the loop of a service that does it.

One process per ledger prunes at a time. It holds the lock on the file `LEDGER-retention`, which has the result of the last prune.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from aorch.clock import now, rfc3339, seconds_until
from aorch.config.ledger_location import LedgerLocation
from aorch.config.quantities import duration_s, size_bytes
from aorch.config.sections import RetentionConfig
from aorch.config.settings import Config, statuses_of
from aorch.engine.supervision import Turned
from aorch.errors import LedgerBusy, UsageError
from aorch.ledger import upkeep
from aorch.ledger.database import Database, LockedState, is_running
from aorch.ledger.lost_requests import recover
from aorch.ledger.metric_totals import MetricStore
from aorch.ledger.outbox import Outbox
from aorch.ledger.pruning import Pruned, Pruner, Rules
from aorch.process.threads import in_thread

INTERVAL_S = 300.0
"""Pause between two prunes of a service."""
LOOK_S = 10.0
"""How soon a process that waits for its turn looks again."""
YOUNGEST_S = 600.0
"""`max_size` removes nothing that ended less than this long ago: its caller may still read it."""
KEY_S = 86_400.0
"""How long an exchange with an Idempotency-Key stays at least, so that a request that is sent again does not run again."""
REST = 19.0
"""A service rests 19 times as long as it prunes, so that its tasks hardly notice."""
_NAME = "retention"


class LastPrune(msgspec.Struct):
    """The last prune of a ledger: when it ended (RFC 3339), and how many exchanges it removed."""

    ended_at: str
    exchanges: int


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune removed (or would remove, with `dry_run`), and the sizes of the file after it, in bytes.

    `used_bytes` is the size without free pages. `is_small_enough`: whether that is within `max_size` (None: no limit is
    set). In a dry run, it is an estimate, as are the sizes. `shrinks`: the file returns free pages to the disk by itself.
    """

    pruned: Pruned
    dry_run: bool
    used_bytes_before: int
    used_bytes: int
    file_bytes: int
    shrinks: bool
    is_small_enough: bool | None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        pruned = {**asdict(self.pruned), "kept": dict(self.pruned.kept)}
        others = {name: getattr(self, name) for name in self.__slots__ if name != "pruned"}
        return {**pruned, **others}


def rules_of(config: Config, retention: RetentionConfig, *, without_trace: bool = False) -> Rules:
    """The rules of `retention` now. Contracts that Trace has not received stay, unless `without_trace`.

    They count as due if Trace is configured, or has received contracts of this ledger before. Raises UsageError if
    `retention` sets neither an age nor a size, and LedgerError.
    """
    if not (retention.keep or retention.max_size):
        raise UsageError(
            "no limit is set: neither an age nor a size",
            'Pass --keep or --max-size, or set them in aorch.toml: [retention] keep = "90d".',
        )
    statuses = statuses_of(retention)
    return Rules(
        before=_ago(duration_s(retention.keep) or 0) if retention.keep else None,
        max_bytes=size_bytes(retention.max_size) if retention.max_size else None,
        young_after=_ago(YOUNGEST_S),
        keyed_after=_ago(KEY_S),
        statuses=frozenset(statuses) if statuses else None,
        due_after=None if without_trace else _due_after(config),
    )


def prune(path: LedgerLocation, rules: Rules, progress: Callable[[Pruned], None] | None = None) -> PruneReport:
    """Remove what `rules` allow from the ledger at `path`, and return free pages to the disk if the file allows it.

    Raises NotFound, LedgerBusy while another process prunes it, and LedgerError.
    """
    upkeep.require(path)
    recover(path)  # so that what a dead process left open has ended
    try:
        state = LockedState(path, _NAME)
    except BlockingIOError:
        raise LedgerBusy(f"another process prunes the ledger {path}", "Try again when it has finished.") from None
    with closing(state):
        return _prune(path, rules, state, progress=progress)


def _prune(path: LedgerLocation, rules: Rules, state: LockedState, **options: Any) -> PruneReport:
    """Prune while this process holds the lock; `options` are those of Pruner."""
    with MetricStore(path) as metrics:
        metrics.catch_up()
    with Database(path) as database, database.transactions() as connection:
        connection.commit_without_sync()  # what a power failure undoes is removed by the next prune
        before = upkeep.used_bytes(connection)
        # a compression that runs now may cite what it has read already
        pruned = Pruner(connection, rules, remembers_all=lambda: is_running(path, "compress"), **options).run()
        upkeep.release_pages(connection, options.get("wanted", lambda: True))
        used = upkeep.used_bytes(connection)
        report = PruneReport(
            pruned,
            dry_run=False,
            used_bytes_before=before,
            used_bytes=used,
            file_bytes=upkeep.file_bytes(connection),
            shrinks=upkeep.can_release_pages(connection),
            is_small_enough=None if rules.max_bytes is None else used <= rules.max_bytes,
        )
    state.write(msgspec.json.encode(LastPrune(now(), pruned.exchanges)))
    return report


def plan(path: LedgerLocation, rules: Rules) -> PruneReport:
    """What `prune` would remove now. Changes nothing. Raises NotFound and LedgerError."""
    upkeep.require(path)
    with Database(path) as database, database.read() as connection:
        pruner = Pruner(connection, rules, dry_run=True, rest=0)
        pruned, before = pruner.run(), upkeep.used_bytes(connection)
        after = before - pruner.estimated_bytes()
        shrinks = upkeep.can_release_pages(connection)
        size = upkeep.file_bytes(connection)
    is_small_enough = None if rules.max_bytes is None else after <= rules.max_bytes
    return PruneReport(pruned, True, before, after, after if shrinks else size, shrinks, is_small_enough)


def last_prune(path: LedgerLocation) -> LastPrune | None:
    """The last prune of the ledger at `path`; None if there was none."""
    try:
        return msgspec.json.decode(LockedState.peek(path, _NAME)[0], type=LastPrune)
    except msgspec.MsgspecError:
        return None


class Retention:
    """Prunes the ledger of a service by its `[retention]`, one process per ledger at a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopped = threading.Event()

    async def run(self, turned: Turned) -> None:
        """Prune every INTERVAL_S until cancelled. A loop for supervision.py."""
        self._stopped = stopped = threading.Event()
        try:
            while True:
                if self._is_due():
                    await in_thread(self._prune, stopped)
                turned()
                await asyncio.sleep(LOOK_S)
        finally:
            stopped.set()  # the thread ends after its transaction

    def _is_due(self) -> bool:
        last = last_prune(self._config.ledger)
        return last is None or not -INTERVAL_S < seconds_until(last.ended_at) <= 0

    def _prune(self, stopped: threading.Event) -> None:
        ledger = self._config.ledger
        try:
            state = LockedState(ledger, _NAME)
        except BlockingIOError:  # another process prunes it
            return
        with closing(state):
            if self._is_due():  # not: another process has just done it
                rules = rules_of(self._config, self._config.retention)
                _prune(ledger, rules, state, wanted=lambda: not stopped.is_set(), rest=REST, counts_kept=False)


def _due_after(config: Config) -> int | None:
    """The position after which contracts are due to Trace; None if it does not receive any."""
    if not Database(config.ledger).exists():
        return None
    with Outbox(config.ledger, reading=True) as outbox:
        reached, reach = outbox.reached()
    return reached if config.trace_configured or reach else None


def _ago(seconds: float) -> str:
    try:
        return rfc3339(datetime.now(UTC) - timedelta(seconds=seconds))
    except OverflowError:  # before the year 1
        return rfc3339(datetime.min.replace(tzinfo=UTC))
