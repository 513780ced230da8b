"""Statistics of exchanges: what counts as what, exact percentiles, waits, tokens, cost and grouped errors."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledger_state import change
from ledgers import new_ledger
from rows import put, request, response

from aorch.clock import rfc3339
from aorch.config.prices import ModelPrice
from aorch.govern.error_patterns import error_pattern
from aorch.govern.statistics import statistics
from aorch.ids import Ids
from aorch.ledger.exchanges import ExchangeFilter
from aorch.ledger.reader import Reader
from aorch.ledger.record import Record

NOW = datetime.now(UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return new_ledger(tmp_path)


def stats_of(ledger: Path, by: str = "capability", *, prices: Any = None, limit: int = 100, **which: Any) -> Any:
    with Reader(ledger) as reader:
        return statistics(reader, by, ExchangeFilter(**which), prices or {}, limit=limit)


def groups_of(ledger: Path, by: str = "capability", **options: Any) -> dict[str | None, dict[str, Any]]:
    return {group["key"]: group for group in stats_of(ledger, by, **options)["groups"]}


def exchange(outcome: str = "completed", ms: float | None = 1.5, **more: Any) -> Iterator[Record]:
    """An exchange that ended so; `more` are columns of its REQUEST, `metadata` that of its RESPONSE, `error` its error."""
    error, metadata = more.pop("error", None), more.pop("metadata", {})
    status = {"rejected": "failed", "interrupted": "failed", "open": "in_progress"}.get(outcome, outcome)
    asked = request(status=status, **more)
    yield asked
    if outcome != "open":
        yield response(
            asked,
            status="interrupted" if outcome == "interrupted" else status,
            from_agent="orchestrator" if outcome in ("rejected", "interrupted") else asked.to_agent,
            error=error or (None if outcome == "completed" else f"{outcome} it was"),
            metadata=json.dumps({**({} if ms is None else {"duration_ms": ms}), **metadata}),
        )


def test_every_exchange_counts_as_what_became_of_it(ledger: Path) -> None:
    outcomes = ("completed", "completed", "failed", "rejected", "interrupted", "cancelled", "open")
    put(ledger, *(row for outcome in outcomes for row in exchange(outcome)))
    total = stats_of(ledger)["total"]
    assert [
        total[name] for name in ("count", "completed", "failed", "rejected", "interrupted", "cancelled", "open")
    ] == [*(7, 2, 3, 1, 1, 1, 1)]
    assert total["count"] == total["completed"] + total["failed"] + total["cancelled"] + total["open"]


def test_a_response_that_was_imported_without_its_end_counts_as_open(ledger: Path) -> None:
    asked = request(status="in_progress")
    put(ledger, asked, response(asked))
    total = stats_of(ledger)["total"]
    assert (total["count"], total["open"], total["p50_ms"]) == (1, 1, None)


def test_only_tasks_that_an_agent_executed_have_a_duration(ledger: Path) -> None:
    durations = {"completed": 10, "failed": 30, "rejected": 0.1, "interrupted": 5, "cancelled": 7}
    put(ledger, *(row for outcome, ms in durations.items() for row in exchange(outcome, ms)))
    total = stats_of(ledger)["total"]
    assert (total["p50_ms"], total["p95_ms"], total["max_ms"]) == (10, 30, 30)
    put(ledger, *exchange(ms=None, capability="other"))
    assert groups_of(ledger)["other"]["p50_ms"] is None


def nearest_rank(values: Iterable[float], percent: int) -> float | None:
    """The smallest value such that at least that percentage of the values are not greater."""
    values = sorted(values)
    return next(
        (each for each in values if 100 * sum(other <= each for other in values) >= percent * len(values)), None
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    some.lists(
        some.tuples(
            some.sampled_from("ab"),
            some.sampled_from(("completed", "failed", "rejected", "open")),
            some.floats(0, 1e6).map(lambda ms: round(ms, 3)) | some.integers(0, 10),
        ),
        max_size=30,
    )
)
def test_percentiles_are_those_of_the_durations(tmp_path: Path, wild: list[tuple[str, str, float]]) -> None:
    ledger = new_ledger(tmp_path)
    put(ledger, *(row for capability, outcome, ms in wild for row in exchange(outcome, ms, capability=capability)))
    expected: defaultdict[str, list[float]] = defaultdict(list)
    for capability, outcome, ms in wild:
        if outcome in ("completed", "failed"):
            expected[capability].append(ms)
    found = groups_of(ledger)
    assert found.keys() == {capability for capability, _, _ in wild}
    for key, group in found.items():
        own = expected[key or ""]
        assert [group["p50_ms"], group["p95_ms"], group["max_ms"]] == [
            nearest_rank(own, percent) for percent in (50, 95, 100)
        ]


def test_percentiles_of_many_durations_are_not_off_by_one(ledger: Path) -> None:
    put(ledger, *(row for ms in range(1, 221) for row in exchange(ms=ms)))
    total = stats_of(ledger)["total"]
    assert (total["p50_ms"], total["p95_ms"], total["max_ms"]) == (110, 209, 220)


def test_a_wait_is_the_time_since_a_queued_task_could_have_started(ledger: Path) -> None:
    def queued(not_before: str | None = None) -> Iterator[Record]:
        asked = request(created_at=rfc3339(NOW), metadata=json.dumps({"queue": {"not_before": not_before}}))
        yield asked
        yield response(asked, created_at=rfc3339(NOW + timedelta(seconds=10)), metadata='{"duration_ms": 2500}')

    put(ledger, *queued(), *queued(rfc3339(NOW + timedelta(seconds=6))), *exchange())
    change(ledger, "UPDATE contracts SET priority = 3 WHERE metadata LIKE ?", "%queue%")
    total = stats_of(ledger)["total"]
    assert (total["wait_p50_ms"], total["wait_p95_ms"], total["wait_max_ms"]) == (1500, 7500, 7500)
    assert total["count"] == 3


def test_tokens_and_cost_stay_unknown_until_they_are_known(ledger: Path) -> None:
    def asked(model: str, capability: str, *usage: int | None) -> Iterator[Record]:
        told = dict(zip(("input", "output", "cached"), usage, strict=False))
        return exchange(capability=capability, metadata={"model": model, "usage": told})

    put(ledger, *asked("m-1", "a", 1_000_000, 500_000, 200_000), *asked("m-1", "a", 100, 10, None))
    put(ledger, *asked("unpriced", "a", 5, 5, 0), *asked("m-1", "a", 7, None, None))
    put(ledger, *asked("other", "b", 3, 4, 1), *exchange(capability="c"))
    prices = {"m-*": ModelPrice(input=1.0, output=4.0, cached=0.1), "other": ModelPrice(input=1, output=1)}
    found = groups_of(ledger, prices=prices)
    a, b, c = (found[name] for name in "abc")
    assert (a["tokens_in"], a["tokens_out"], a["tokens_cached"]) == (1_000_112, 500_015, 200_000)
    assert a["cost"] == pytest.approx(0.8 + 0.02 + 2.0 + 0.0001 + 0.00004)
    assert a["unpriced"] == 2
    assert (b["tokens_in"], b["cost"], b["unpriced"]) == (3, None, 1)
    assert (c["tokens_in"], c["tokens_out"], c["cost"], c["unpriced"]) == (None, None, None, 0)
    assert groups_of(ledger)["a"]["cost"] is None


@pytest.mark.parametrize(
    "metadata", ['{"duration_ms": "x"}', "[1]", "not json", '{"duration_ms": 1e999}', '{"usage": 3}']
)
def test_what_another_program_wrote_counts_without_figures(ledger: Path, metadata: str) -> None:
    asked = request()
    put(ledger, asked, response(asked, metadata=metadata))
    total = stats_of(ledger)["total"]
    assert (total["count"], total["p50_ms"], total["tokens_in"], total["cost"]) == (1, None, None, None)


def test_groups_are_agents_sessions_callers_and_periods(ledger: Path) -> None:
    at = datetime(2026, 1, 31, 9, 59, 59, tzinfo=UTC)
    ids = Ids(lambda: at.timestamp())
    named = json.dumps({"caller": {"name": "ci", "id": "x"}})
    for moment, session, agent, more in (
        (at, "one", "a", {}),
        (at + timedelta(seconds=2), "one", "b", {}),
        (at + timedelta(hours=30), "two", "b", {"from_agent": "boss"}),
    ):
        asked = request(session, to_agent=agent, created_at=rfc3339(moment), contract_id=ids.next(), **more)
        put(ledger, asked, response(asked, contract_id=ids.next()))
    put(
        ledger,
        request("two", to_agent=None, created_at=rfc3339(at), contract_id=ids.next(), metadata=named, status="pending"),
    )

    def counts(by: str) -> list[tuple[str | None, int]]:
        found = stats_of(ledger, by, since=at - timedelta(days=1))["groups"]
        return [(group["key"], group["count"]) for group in found]

    assert counts("agent") == [("b", 2), (None, 1), ("a", 1)]
    assert counts("session") == [("one", 2), ("two", 2)]
    assert counts("caller") == [("orchestrator", 2), ("boss", 1), ("ci", 1)]
    assert counts("minute") == [
        (f"2026-{minute}:00.000Z", count)
        for minute, count in (("01-31T09:59", 2), ("01-31T10:00", 1), ("02-01T15:59", 1))
    ]
    assert counts("hour") == [
        (f"2026-{hour}:00:00.000Z", count) for hour, count in (("01-31T09", 2), ("01-31T10", 1), ("02-01T15", 1))
    ]
    assert counts("day") == [("2026-01-31T00:00:00.000Z", 3), ("2026-02-01T00:00:00.000Z", 1)]


def test_without_since_the_last_day_counts_whatever_the_order_of_commits(ledger: Path) -> None:
    def at(moment: datetime) -> Record:
        return request(created_at=rfc3339(moment), contract_id=Ids(lambda: moment.timestamp()).next())

    put(
        ledger,
        at(NOW - timedelta(hours=23)),
        at(NOW - timedelta(hours=25)),
        at(NOW - timedelta(minutes=1)),
        at(NOW - timedelta(days=90)),
    )
    put(ledger, request(contract_id="an-id-of-another-program", created_at=rfc3339(NOW - timedelta(hours=2))))
    found = stats_of(ledger)
    assert found["total"]["count"] == 3
    assert datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["since"]) == timedelta(hours=24)
    assert stats_of(ledger, since=NOW - timedelta(days=100))["total"]["count"] == 5
    assert stats_of(ledger, since=NOW - timedelta(days=100), until=NOW - timedelta(hours=24))["total"]["count"] == 2


def test_the_same_error_is_one_group_with_its_newest_example(ledger: Path) -> None:
    errors = ("port 8080 is in use (pid 17)", "port 9090 is in use (pid 4)", "disk full")
    for error in errors:
        put(ledger, *exchange("failed", error=error))
    put(ledger, *exchange("rejected", error="disk full"), *exchange("cancelled"), *exchange())
    first, second = stats_of(ledger, "error")["groups"]
    assert (first["key"], first["count"], first["last_error"]) == ("disk full", 2, "disk full")
    assert (second["key"], second["count"]) == ("port <n> is in use (pid <n>)", 2)
    assert second["last_error"] == errors[1]
    with Reader(ledger) as reader:
        newest = reader.find(second["last_error_id"])
    assert newest.created_at == second["last_error_at"]


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        ("task 01K8VF9XK83SYH1HAX57ZGJDYS failed", "task <id> failed"),
        ("no 9f1c2d3e-0a1b-4c5d-8e9f-001122334455", "no <id>"),
        ("object at 0x7f3a9c", "object at <id>"),
        ("commit deadbeef01 is missing", "commit <id> is missing"),
        ("at 2026-01-31T09:00:00.123Z it broke", "at <time> it broke"),
        ("took 1,234.5 s of 10", "took <n> s of <n>"),
        ("line\n  two", "line two"),
        ("defaced facade", "defaced facade"),
    ],
)
def test_a_pattern_leaves_out_what_differs_between_occurrences(error: str, pattern: str) -> None:
    assert error_pattern(error) == pattern


@given(some.text(max_size=2000))
def test_any_error_has_a_short_pattern_on_one_line(error: str) -> None:
    pattern = error_pattern(error)
    assert "\n" not in pattern
    assert len(pattern) <= 240 * 3


def test_the_largest_groups_and_the_newest_periods_are_shown(ledger: Path) -> None:
    before = datetime.now(UTC)
    for number in range(5):
        put(ledger, *(row for _ in range(number + 1) for row in exchange(capability=f"c{number}")))
    found = stats_of(ledger, limit=2)
    assert ([group["key"] for group in found["groups"]], found["more"]) == (["c4", "c3"], 3)
    assert found["total"]["count"] == 15
    old = NOW - timedelta(hours=5)
    put(ledger, request(created_at=rfc3339(old), contract_id=Ids(lambda: old.timestamp()).next()))
    (newest,) = stats_of(ledger, "day", since=NOW - timedelta(days=2), limit=1)["groups"]
    assert newest["key"][:10] in {rfc3339(moment)[:10] for moment in (before, datetime.now(UTC))}


def test_a_ledger_that_does_not_exist_has_no_groups(tmp_path: Path) -> None:
    found = stats_of(tmp_path / "none.db")
    assert (found["groups"], found["total"]["count"], found["more"]) == ([], 0, 0)
    assert not (tmp_path / "none.db").exists()
