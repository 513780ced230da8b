"""The values of the metrics, and their text."""

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from ledgers import new_ledger, opened
from ledgers import rows as rows_of
from rows import pairs, put, request, response
from scrapes import OPENMETRICS, samples, value
from waiting import WAIT_S

from aorch import Orchestrator
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.config.settings import Config, OtelConfig
from aorch.ledger.database import statements
from aorch.ledger.ledger import Ledger
from aorch.ledger.metric_totals import STORE_EVERY
from aorch.ledger.queue_entry import Entry
from aorch.telemetry.exposition import render
from aorch.telemetry.metric_list import METRICS
from aorch.telemetry.metrics import Metrics

PAST = "2026-01-01T00:00:00.000Z"
HOSTILE = 'quote" back\\slash\nnew {line} \U0001f600'


@pytest.fixture
def path(tmp_path: Path) -> LedgerLocation:
    return new_ledger(tmp_path)


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    yield ledger
    ledger.close()


def metrics_of(ledger: Ledger, kind: str = "serve", **config: Any) -> Metrics:
    return Metrics(Config(ledger.path, **({"trace_url": ""} | config)), ledger, kind)


def text_of(ledger: Ledger, accept: str = "", agents: list[dict[str, Any]] | None = None, **config: Any) -> str:
    """The text that a process with that ledger answers."""
    with closing(metrics_of(ledger, **config)) as metrics:
        return render(metrics.values(agents or []), "1.2.3", accept)[0].decode()


def queue(path: Path, queued: dict[str, Any], due_at: str | None = None, **columns: Any) -> None:
    """Put a REQUEST in the queue."""
    row = request(metadata=f'{{"queue":{queued}}}'.replace("'", '"'), status="pending", completed_at=None, **columns)
    with opened(path) as connection:
        for statement in Entry(row, 3, due_at).statements():
            connection.execute(*statement)


def test_every_metric_has_its_type_and_help_even_if_nothing_has_happened(ledger: Ledger) -> None:
    text = text_of(ledger)
    for metric in METRICS:
        assert f"# HELP {metric.shown} {metric.help}\n# TYPE {metric.shown} {metric.kind}\n" in text


def test_labels_are_those_of_the_list_and_never_a_session(ledger: Ledger) -> None:
    put(ledger.path, *pairs(1, "my_session"))
    queue(ledger.path, {}, session_id="my_session")
    text = text_of(ledger, agents=[{"agent_id": "a", "status": "available", "problem": None}], trace_configured=True)
    assert "my_session" not in text
    known = {metric.shown: {*metric.labels} for metric in METRICS}
    for name, labels in samples(text):
        base = re.sub("_(bucket|count|sum)$", "", name)
        assert {key for key, _ in labels} - {"le"} == known[base], name


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_names_from_outside_are_escaped(ledger: Ledger, accept: str) -> None:
    its = request(capability=HOSTILE, to_agent=HOSTILE)
    put(ledger.path, its, response(its))
    found = samples(text_of(ledger, accept), openmetrics=bool(accept))
    assert value(found, "aorch_exchanges_total", capability=HOSTILE, agent=HOSTILE, status="completed") == 1


def test_the_buckets_of_a_histogram_are_cumulative_and_the_sum_is_in_seconds(ledger: Ledger) -> None:
    for duration_ms in (1, 5, 6, 2000, 4_000_000):
        its = request()
        put(ledger.path, its, response(its, metadata=f'{{"duration_ms":{duration_ms}}}'))
    found, labels = samples(text_of(ledger)), {"capability": "echo", "agent": "agent_example_001"}
    name = "aorch_exchange_duration_seconds"
    counts = {le: value(found, f"{name}_bucket", le=le, **labels) for le in ("0.005", "0.01", "2.5", "1800.0", "+Inf")}
    assert counts == {"0.005": 2, "0.01": 3, "2.5": 4, "1800.0": 4, "+Inf": 5}
    assert value(found, f"{name}_count", **labels) == 5
    assert value(found, f"{name}_sum", **labels) == pytest.approx(4002.012)


def test_the_queue_is_counted_by_capability_and_state(ledger: Ledger) -> None:
    for capability in ("echo", "echo", "sum"):
        queue(ledger.path, {}, capability=capability)
    queue(ledger.path, {}, due_at="2999-01-01T00:00:00.000Z")
    queue(ledger.path, {}, capability="run")
    with opened(ledger.path) as connection:
        connection.execute("UPDATE contracts SET status = 'in_progress', turn = NULL WHERE capability = 'run'")
    found = samples(text_of(ledger))
    counts = {tuple(sorted(labels)): count for (name, labels), count in found.items() if name == "aorch_queue_tasks"}
    assert {tuple(text for _, text in labels): count for labels, count in counts.items()} == {
        ("echo", "queued"): 2,
        ("sum", "queued"): 1,
        ("echo", "scheduled"): 1,
        ("run", "running"): 1,
    }


def test_the_oldest_task_is_the_one_that_could_have_started_first(ledger: Ledger) -> None:
    """Not one that was queued earlier, for a later time."""
    assert value(samples(text_of(ledger)), "aorch_queue_oldest_seconds") == 0
    for _ in range(150):
        queue(ledger.path, {"not_before": now()}, created_at="2025-01-01T00:00:00.000Z")
    queue(ledger.path, {}, created_at=PAST)
    queue(ledger.path, {}, created_at=now())
    age = value(samples(text_of(ledger)), "aorch_queue_oldest_seconds")
    with closing(sqlite3.connect(":memory:")) as clock:
        ((expected,),) = clock.execute("SELECT (julianday('now') - julianday(?)) * 86400", (PAST,))
    assert age == pytest.approx(expected, abs=60)


def test_a_task_whose_start_time_has_come_is_queued_even_if_no_worker_runs(ledger: Ledger) -> None:
    queue(ledger.path, {"not_before": PAST}, due_at=PAST, created_at="2025-01-01T00:00:00.000Z")
    found = samples(text_of(ledger))
    assert value(found, "aorch_queue_tasks", capability="echo", state="queued") == 1
    assert value(found, "aorch_queue_tasks", capability="echo", state="scheduled") is None
    assert (value(found, "aorch_queue_oldest_seconds") or 0) > 0


def test_an_agent_is_up_if_it_can_execute_tasks(ledger: Ledger) -> None:
    agents = [
        {"agent_id": "free", "status": "available", "problem": None},
        {"agent_id": "busy", "status": "busy", "problem": None},
        {"agent_id": "away", "status": "offline", "problem": None},
        {"agent_id": "absent", "status": "available", "problem": "no such program"},
    ]
    found = samples(text_of(ledger, agents=agents))
    up = {dict(labels)["agent"]: is_up for (name, labels), is_up in found.items() if name == "aorch_agent_up"}
    assert up == {"free": 1, "busy": 1, "away": 0, "absent": 0}


def test_due_deliveries_count_if_trace_is_configured_or_has_received_something(ledger: Ledger) -> None:
    its = request()
    put(ledger.path, its, response(its))
    trace = {"trace_url": "http://127.0.0.1:9"}
    assert value(samples(text_of(ledger, **trace)), "aorch_outbox_due", destination="trace") is None
    found = samples(text_of(ledger, **trace, trace_configured=True))
    assert value(found, "aorch_outbox_due", destination="trace") == 2
    with opened(ledger.path) as connection:
        connection.execute(statements.ADVANCE_OUTBOX, ("trace", 1, 1))
    assert value(samples(text_of(ledger, **trace)), "aorch_outbox_due", destination="trace") == 1


def test_contracts_count_as_due_to_a_configured_receiver_of_spans(ledger: Ledger) -> None:
    put(ledger.path, *pairs(2))
    found = samples(text_of(ledger, otel=OtelConfig(endpoint="http://127.0.0.1:9")))
    assert value(found, "aorch_outbox_due", destination="otel") == 4


async def test_the_commits_of_each_process_count_and_continue_after_it_ends(path: Path) -> None:
    """A process that starts gets the first free name; one that does not run is not shown."""
    name = "aorch_ledger_commit_duration_seconds_count"

    async def commit(ledger: Ledger) -> None:
        its = request(status="in_progress", completed_at=None)
        await ledger.write_request(its)
        await ledger.write_response(response(its), "completed")

    first, second = Ledger(path), Ledger(path)
    one, two = metrics_of(first), metrics_of(second)
    worker = metrics_of(second, "worker")
    await commit(first)
    found = samples(render(one.values([]), "1", "")[0].decode())
    assert value(found, name, process="serve-1") == 2
    assert value(found, name, process="serve-2") == value(found, name, process="worker-1") == 0
    one.close()
    assert value(samples(render(two.values([]), "1", "")[0].decode()), name, process="serve-1") is None
    again = metrics_of(second)
    await commit(second)
    found = samples(render(again.values([]), "1", "")[0].decode())
    assert value(found, name, process="serve-1") == 4
    for each in (two, worker, again):
        each.close()
    first.close()
    second.close()


async def test_the_loop_stores_the_totals_once_they_are_far_behind(path: Path) -> None:
    rows = pairs(STORE_EVERY // 2)
    put(path, *rows[:-2])
    ledger = Ledger(path)
    metrics = metrics_of(ledger)

    async def stored() -> int:
        """The position of the stored totals after a turn of the loop."""
        turned = asyncio.Event()
        running = asyncio.ensure_future(metrics.run(turned.set))
        async with asyncio.timeout(WAIT_S):
            await turned.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        found = rows_of(path, "SELECT value FROM metric_totals WHERE metric = 'position'")
        return int(found[0][0]) if found else 0

    assert await stored() == 0
    put(path, *rows[-2:])
    assert await stored() == STORE_EVERY
    metrics.close()
    ledger.close()


async def test_tasks_of_the_python_api_count(orchestrator: Orchestrator) -> None:
    await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "hi"}})
    await orchestrator.orchestrate("s", {"capability": "no_such", "parameters": {}})
    with closing(metrics_of(orchestrator.executor.ledger)) as metrics:
        found = samples(render(metrics.values(orchestrator.list_agents()), "1", "")[0].decode())
    by = {"capability": "echo", "agent": "agent_example_001", "status": "completed"}
    assert value(found, "aorch_exchanges_total", **by) == 1
    by = {"capability": "other", "agent": "orchestrator", "status": "failed"}
    assert value(found, "aorch_exchanges_total", **by) == 1
    assert value(found, "aorch_agent_up", agent="agent_example_001") == 1
    assert not [labels for name, labels in found if "duration" in name and ("agent", "orchestrator") in labels]
