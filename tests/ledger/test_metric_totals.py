"""The totals of the metrics: the same in every process, whatever is stored, deleted and imported meanwhile."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from ledgers import new_ledger, opened, rows
from rows import empty_ledger, put, request, response

from aorch import jsonio
from aorch.ledger.database import Connection, statements, transaction
from aorch.ledger.metric_totals import MOST_VALUES, MetricStore, MetricTotals, count_before_removal
from aorch.ledger.queue_entry import Entry
from aorch.ledger.record import Record


def exchange(asked: dict[str, Any] | None = None, told: Any = None, **answered: Any) -> list[Record]:
    """A REQUEST with the columns `asked`, and its RESPONSE with `told` as its metadata."""
    its = request(**(asked or {}))
    metadata = {"metadata": jsonio.encode(told)} if told is not None else {}
    return [its, response(its, **(metadata | answered))]


def counts(ledger: Path) -> dict[tuple[str, ...], int]:
    """The totals as a process that starts now computes them."""
    with MetricStore(ledger) as store:
        return store.current().counts.copy()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return new_ledger(tmp_path)


def test_an_exchange_counts_with_its_agent_status_duration_and_tokens(ledger: Path) -> None:
    put(ledger, *exchange(told={"duration_ms": 1.5, "usage": {"input": 7, "output": 2, "cached": None}}))
    assert counts(ledger) == {
        ("exchanges", "echo", "agent_example_001", "completed"): 1,
        ("duration", "echo", "agent_example_001", "0.005"): 1,
        ("duration", "echo", "agent_example_001", "sum"): 1500,
        ("attempts", "agent_example_001", "completed"): 1,
        ("tokens", "input"): 7,
        ("tokens", "output"): 2,
    }


def test_a_request_does_not_count_until_its_response_is_in_the_ledger(ledger: Path) -> None:
    """Also if the totals up to the REQUEST were stored meanwhile: the RESPONSE finds it by its id."""
    its = request()
    put(ledger, its)
    with MetricStore(ledger) as store:
        assert store.current().counts == {}
        store.catch_up()
        put(ledger, response(its))
        assert store.current().counts["exchanges", "echo", "agent_example_001", "completed"] == 1


def test_the_wait_of_a_queued_task_counts_from_when_it_could_start(ledger: Path) -> None:
    """Without the time that its agent needed; with `not_before`, from then on."""
    started = {"created_at": "2026-01-01T00:00:00.000Z"}
    now, later = (request(**started, metadata=jsonio.encode({"queue": queue})) for queue in (
        {"priority": 3}, {"priority": 3, "not_before": "2026-01-01T00:01:00.000Z"}
    ))  # fmt: skip
    with opened(ledger) as connection:
        for each in (now, later):
            for statement in Entry(each, 3).statements():
                connection.execute(*statement)
    told = {"metadata": '{"duration_ms":2000}', "created_at": "2026-01-01T00:01:03.000Z"}
    put(ledger, response(now, **told), response(later, **told), *exchange(started))
    found = {labels: count for labels, count in counts(ledger).items() if labels[0] == "wait"}
    assert found == {("wait", "echo", "300.0"): 1, ("wait", "echo", "1.0"): 1, ("wait", "echo", "sum"): 62_000_000}


def test_each_attempt_counts_with_its_agent_and_its_outcome(ledger: Path) -> None:
    its, lost = request(to_agent="b"), request(to_agent="c")
    put(
        ledger,
        *(its, response(its, metadata='{"attempts":2,"duration_ms":1}')),
        *exchange({"to_agent": "d"}, {"code": "agent_failed", "delivered": True}, status="failed"),
        *exchange({"to_agent": None}, {"code": "no_agent", "delivered": False}, status="failed"),
        *exchange({"to_agent": "e"}, {"code": "cancelled", "delivered": False}, status="cancelled"),
        *(lost, response(lost, from_agent="orchestrator", status="interrupted", metadata='{"delivered":null}')),
    )
    with opened(ledger) as connection:
        for row in ((1, "a", "agent_busy"), (2, "b", None)):
            connection.execute(statements.PUT_ATTEMPT, (its.contract_id, *row[:2], "t", "t", row[2], None))
    assert {labels[1:]: count for labels, count in counts(ledger).items() if labels[0] == "attempts"} == {
        ("a", "agent_busy"): 1,
        ("b", "completed"): 1,
        ("d", "agent_failed"): 1,
        ("c", "interrupted"): 1,
    }


def test_an_interrupted_exchange_counts_for_the_agent_that_had_its_task(ledger: Path) -> None:
    lost = request(to_agent="slow")
    put(ledger, lost, response(lost, from_agent="orchestrator", status="interrupted", metadata='{"delivered":null}'))
    assert counts(ledger)["exchanges", "echo", "slow", "interrupted"] == 1


def test_the_values_of_a_label_are_capped_in_the_order_of_positions(ledger: Path) -> None:
    """So a series never becomes part of another one. A name that no agent has takes no place, nor does a long one."""
    unknown = [exchange({"capability": f"typo{n}", "to_agent": None}, {"code": "no_agent"}) for n in range(9)]
    known = [exchange({"capability": f"c{n}"}) for n in range(MOST_VALUES + 5)]
    long = exchange({"capability": "x" * 200})
    put(ledger, *[row for each in (*unknown, long, *known) for row in each], *exchange({"capability": "other"}))
    found = counts(ledger)
    names = {labels[1] for labels in found if labels[0] == "exchanges"}
    assert names == {"other", *(f"c{n}" for n in range(MOST_VALUES))}
    assert found["exchanges", "other", "orchestrator", "completed"] == 9
    assert found["exchanges", "other", "agent_example_001", "completed"] == 1 + 5 + 1


@pytest.mark.parametrize(
    "metadata",
    ["[]", "{", "7", '{"duration_ms":"long"}', '{"duration_ms":-1}', '{"usage":{"input":-5}}', '{"usage":1}'],
)
def test_odd_metadata_of_an_imported_contract_is_not_measured(ledger: Path, metadata: str) -> None:
    put(ledger, *exchange(metadata=metadata))
    assert {labels[0] for labels in counts(ledger)} == {"exchanges", "attempts"}


def test_a_duration_of_another_program_cannot_make_a_sum_too_large(ledger: Path) -> None:
    put(ledger, *[row for _ in range(50) for row in exchange(told={"duration_ms": 1e300, "usage": {"input": 10**30}})])
    with MetricStore(ledger) as store:
        store.catch_up()
    assert counts(ledger)["duration", "echo", "agent_example_001", "+Inf"] == 50


EXCHANGES = [
    row
    for n in range(12)
    for row in exchange(
        {"capability": f"c{n % 5}", "to_agent": f"a{n % 3}"},
        {"duration_ms": n * 0.1, "attempts": 1, "usage": {"input": n, "output": 1}},
        status="failed" if n % 4 == 0 else "completed",
    )
]


@settings(deadline=None)
@given(steps=some.lists(some.sampled_from(["write", "store", "delete", "read", "restart"]), max_size=25))
def test_no_total_falls_whatever_is_stored_and_deleted(tmp_path_factory: Any, steps: list[str]) -> None:
    """Two readers, of which one starts again and again, always find the totals of all that was ever written."""
    ledger = new_ledger(tmp_path_factory.mktemp("totals"))
    written: list[Record] = []
    with MetricStore(ledger) as reader, MetricStore(ledger) as writer, opened(ledger) as connection:
        for step in [*steps, "read", "restart"]:
            if step == "write" and len(written) < len(EXCHANGES):
                put(ledger, *EXCHANGES[len(written) : len(written) + 2])
                written = EXCHANGES[: len(written) + 2]
            elif step == "store":
                writer.catch_up()
            elif step == "delete":
                _delete_oldest(connection)
            elif step == "read":
                assert reader.current().counts == _expected(written)
            elif step == "restart":
                assert counts(ledger) == _expected(written)


def _delete_oldest(connection: Connection) -> None:
    oldest = connection.execute("SELECT position FROM contracts ORDER BY position LIMIT 4").fetchall()
    if oldest:
        with transaction(connection):
            count_before_removal(connection, oldest[-1][0])
            connection.execute("DELETE FROM contracts WHERE position <= ?", (oldest[-1][0],))


def _expected(written: list[Record]) -> dict[tuple[str, ...], int]:
    """The totals of these contracts in a ledger of their own."""
    with closing(sqlite3.connect(":memory:")) as copy, closing(sqlite3.connect(empty_ledger())) as blank:
        blank.backup(copy)
        copy.executemany(statements.INSERT_CONTRACT, written)
        totals = MetricTotals()
        totals.add_up_to(copy, 10**6)  # type: ignore[arg-type]
        return totals.counts


def test_contracts_that_are_deleted_while_a_process_reads_still_count(ledger: Path) -> None:
    """It notices that the stored totals have changed, and starts from them."""
    put(ledger, *EXCHANGES[:8])
    with MetricStore(ledger) as reader, opened(ledger) as connection:
        reader.current()
        put(ledger, *EXCHANGES[8:])
        with transaction(connection):
            count_before_removal(connection, 20)
            connection.execute("DELETE FROM contracts WHERE position <= 20")
        assert reader.current().counts == _expected(EXCHANGES)


def test_totals_are_stored_only_if_there_is_something_to_store(ledger: Path) -> None:
    put(ledger, *EXCHANGES)
    with MetricStore(ledger) as store:
        assert store.behind() == len(EXCHANGES)
        assert store.store() == 0
        assert store.behind() == 0
        before = _stored(ledger)
        assert store.store() == 0
        assert _stored(ledger) == before != []


def _stored(ledger: Path) -> list[Any]:
    return rows(ledger, "SELECT * FROM metric_totals ORDER BY metric, labels")
