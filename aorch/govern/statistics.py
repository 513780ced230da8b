"""Statistics of exchanges: counts, durations, waits in the queue, tokens and cost, by one of their properties.

Everything is computed from the contracts. Percentiles are exact: the nearest rank, which is the duration of one of the exchanges.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aorch.clock import rfc3339
from aorch.config.prices import ModelPrice, cost_of, price_of
from aorch.govern.error_patterns import error_pattern
from aorch.ledger.exchange_figures import REJECTED, SELECTS, Failure, failures_at, figures_by
from aorch.ledger.exchanges import ExchangeFilter
from aorch.ledger.measurements import Measured
from aorch.ledger.reader import Reader
from aorch.ledger.record import CANCELLED, COMPLETED, FAILED, INTERRUPTED

BY = tuple(SELECTS)
"""The properties by which exchanges can be grouped."""
_PERIODS = {"minute": ":00.000Z", "hour": ":00:00.000Z", "day": "T00:00:00.000Z"}
"""The properties that are times, and the end of their keys."""
DEFAULT_WINDOW = timedelta(hours=24)
MOST_GROUPS = 10_000
FIELDS = (
    *("key", "count", "completed", "failed", "rejected", "interrupted", "cancelled", "open"),
    *("p50_ms", "p95_ms", "max_ms", "wait_p50_ms", "wait_p95_ms", "wait_max_ms"),
    *("tokens_in", "tokens_out", "tokens_cached", "cost", "unpriced", "last_error", "last_error_at", "last_error_id"),
)
"""The fields of a group."""


@dataclass(slots=True)
class Tally:
    """The figures of several exchanges. `tokens` are None until one is known, and `cost` until one is.

    `unpriced` counts exchanges that used a model and whose cost is not known: no price, or no number of tokens.
    """

    outcomes: "Counter[str]" = field(default_factory=Counter)
    durations_ms: list[float] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    cost: float | None = None
    unpriced: int = 0
    last_failed: int = 0

    def add_tokens(self, told: Measured, prices: Mapping[str, ModelPrice]) -> None:
        """Count the tokens of an exchange that used a model, and what they cost."""
        told_in, told_out, cached = (_tokens(told.usage, name) for name in ("input", "output", "cached"))
        self.tokens_in = _plus(self.tokens_in, told_in)
        self.tokens_out = _plus(self.tokens_out, told_out)
        self.tokens_cached = _plus(self.tokens_cached, cached)
        price = price_of(prices, told.model) if isinstance(told.model, str) else None
        cost = None
        if price is not None and told_in is not None and told_out is not None:
            cost = cost_of(price, told_in, told_out, cached)
        if cost is None:
            self.unpriced += 1
        else:
            self.cost = (self.cost or 0.0) + cost

    def merge(self, other: "Tally") -> None:
        """Count the exchanges of another tally."""
        self.outcomes.update(other.outcomes)
        self.durations_ms += other.durations_ms
        self.waits_ms += other.waits_ms
        self.tokens_in = _plus(self.tokens_in, other.tokens_in)
        self.tokens_out = _plus(self.tokens_out, other.tokens_out)
        self.tokens_cached = _plus(self.tokens_cached, other.tokens_cached)
        self.cost = self.cost if other.cost is None else (self.cost or 0.0) + other.cost
        self.unpriced += other.unpriced
        self.last_failed = max(self.last_failed, other.last_failed)

    def count(self) -> int:
        """The number of exchanges."""
        return self.outcomes.total()

    def size(self, sort: str) -> float:
        """The figure by which groups are sorted (one of SORTS); -1 if there is none."""
        said = self.outcomes
        if sort == "count":
            return self.count()
        if sort == "failed":
            return said[FAILED] + said[REJECTED] + said[INTERRUPTED]
        if sort == "cost":
            return -1 if self.cost is None else self.cost
        figures = dict(zip(("p50", "p95", "max"), _percentiles(self.durations_ms), strict=True))
        found = _percentiles(self.waits_ms)[1] if sort == "wait" else figures[sort]
        return -1 if found is None else found

    def as_dict(self, key: str | None, failures: Mapping[int, Failure]) -> dict[str, Any]:
        """The FIELDS. `failed` includes `rejected` and `interrupted`. `failures` contains the one at `last_failed`."""
        said = self.outcomes
        failed = said[FAILED] + said[REJECTED] + said[INTERRUPTED]
        p50, p95, longest = _percentiles(self.durations_ms)
        wait_p50, wait_p95, longest_wait = _percentiles(self.waits_ms)
        last = failures.get(self.last_failed)
        return {
            "key": key,
            "count": self.count(),
            "completed": said[COMPLETED],
            "failed": failed,
            "rejected": said[REJECTED],
            "interrupted": said[INTERRUPTED],
            "cancelled": said[CANCELLED],
            "open": self.count() - said[COMPLETED] - failed - said[CANCELLED],
            "p50_ms": p50,
            "p95_ms": p95,
            "max_ms": longest,
            "wait_p50_ms": wait_p50,
            "wait_p95_ms": wait_p95,
            "wait_max_ms": longest_wait,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "tokens_cached": self.tokens_cached,
            "cost": None if self.cost is None else round(self.cost, 9),
            "unpriced": self.unpriced,
            "last_error": None if last is None else last.error,
            "last_error_at": None if last is None else last.created_at,
            "last_error_id": None if last is None else last.request_id,
        }


SORTS = ("count", "failed", "p50", "p95", "max", "wait", "cost")
"""By what groups can be sorted, the largest first: `wait` is the 95th percentile of waits in the queue."""


def statistics(
    reader: Reader,
    by: str,
    which: ExchangeFilter,
    prices: Mapping[str, ModelPrice],
    *,
    limit: int = 100,
    sort: str | None = None,
) -> dict[str, Any]:
    """The statistics of the exchanges that match `which`, by one of BY; without `which.since`, those of the DEFAULT_WINDOW.

    Returns `by`, `since` and `until` (RFC 3339), `groups` (up to `limit`), `more` (the number of groups that were left out) and
    `total` over all groups, whose key is null. Groups are sorted by `sort` (one of SORTS, default: count), the largest first,
    those without that figure last. Without `sort`, periods are in order, and the newest ones are kept. `last_error` is that of
    the failed exchange that was recorded last. Raises LedgerError.
    """
    now = datetime.now(UTC)
    which = replace(which, since=which.since or now - DEFAULT_WINDOW)
    assert which.since is not None
    tallies: defaultdict[str | None, Tally] = defaultdict(Tally)
    for key, outcome, duration_ms, wait_ms, told, failed in figures_by(reader.each_row, by, which):
        tally = tallies[key if by != "error" else error_pattern(key or "")]
        tally.outcomes[outcome] += 1
        if duration_ms is not None:
            tally.durations_ms.append(duration_ms)
        if wait_ms is not None:
            tally.waits_ms.append(wait_ms)
        if failed is not None and failed > tally.last_failed:
            tally.last_failed = failed
        if told.usage is not None or told.model is not None:
            tally.add_tokens(told, prices)
    total = Tally()
    for tally in tallies.values():
        total.merge(tally)
    if by in _PERIODS and sort is None:
        shown = sorted(tallies.items(), key=lambda item: item[0] or "")[-limit:]
    else:
        order = {key: tally.size(sort or "count") for key, tally in tallies.items()}
        shown = sorted(tallies.items(), key=lambda item: (-order[item[0]], item[0] or ""))[:limit]
    failures = failures_at(reader.each_row, {tally.last_failed for _, tally in ((None, total), *shown)})
    period_end = _PERIODS.get(by, "")
    return {
        "by": by,
        "since": rfc3339(which.since),
        "until": rfc3339(which.until or now),
        "groups": [tally.as_dict(key and f"{key}{period_end}", failures) for key, tally in shown],
        "more": len(tallies) - len(shown),
        "total": total.as_dict(None, failures),
    }


def _percentiles(values: list[float]) -> Sequence[float | None]:
    """The median, the 95th percentile and the maximum, to the microsecond (of values in ms)."""
    if not values:
        return None, None, None
    values.sort()
    return [round(values[(len(values) * percent + 99) // 100 - 1], 3) for percent in (50, 95, 100)]


def _tokens(usage: Any, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and count >= 0 else None


def _plus(first: int | None, second: int | None) -> int | None:
    return first if second is None else (first or 0) + second
