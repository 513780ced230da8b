"""What Trace cannot stand is never asked of it, and `aorch trace status` says how deliveries stand."""

import json
import sqlite3
from contextlib import closing

import pytest
from api import ask
from conftest import Home
from rows import pairs, put, request, response
from serving import serving
from test_trace import WaitFor, expected, push, standing, status
from trace_double import Double

from aorch.ledger.record import Row
from aorch.trace.payload import can_be_read_back, event_data


def large(exchanges: int, session: str = "s") -> list[Row]:
    """Exchanges whose two events take 4 KiB each in Trace."""
    requests = [request(session, f"{number:04}" + "x" * 4000) for number in range(exchanges)]
    return [row for each in requests for row in (each, response(each, "y" * 4000))]


def remove(home: Home, where: str) -> None:
    """Remove contracts with another program."""
    with closing(sqlite3.connect(home.ledger)) as connection:
        connection.execute(f"DELETE FROM contracts WHERE {where}")
        connection.commit()


def test_a_delivery_in_doubt_in_a_large_session_is_parked_without_a_read_that_breaks_trace(
    told: Home, double: Double
) -> None:
    put(told.ledger, *pairs(2, "small"), *large(50))
    push(told)
    more = pairs(2)
    put(told.ledger, *more)
    double.mode(only="POST", answer="drop", times=1)
    push(told, 3)
    assert push(told, 13).out == "3 delivered, 1 parked, 0 due\n"
    (parked,) = status(told)["parked_deliveries"]
    assert (parked["contract_id"], parked["state"]) == (more[0].contract_id, "unknown")
    assert "64 KiB" in parked["reason"]
    assert told.aorch("trace", "retry", more[0].contract_id).code == 0  # on a person's word it is sent, also unread
    assert standing(told) == (0, 108, 0)
    refused = told.aorch("trace", "import", "s")
    assert refused.code == 3
    assert "'s' may have passed 64 KiB in Trace" in refused.err
    assert told.aorch("trace", "import", "elsewhere").code == 12
    assert told.aorch("trace", "import", "small").code == 0
    assert double.large_reads == []


def test_however_many_sessions_trace_has_they_are_never_listed(told: Home, double: Double) -> None:
    double.kill()
    others = [{"session_id": f"other{number}", "event_type": "note", "data": {}} for number in range(4000)]
    (double.folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in others))
    double.start()
    put(told.ledger, *pairs(3))
    push(told)
    put(told.ledger, *pairs(3))
    push(told)
    assert double.large_reads == []
    assert [event["data"]["idempotency_key"] for event in double.events[4000:]] == expected(told)


@pytest.mark.torture
def test_after_any_number_of_kills_and_restarts_nothing_is_due_and_nothing_doubled(
    told: Home, double: Double, wait_for: WaitFor
) -> None:
    put(told.ledger, *large(60), *pairs(60, "t"))
    double.mode(delay_s=0.01)
    for number in range(1, 11):
        pushing = told.start("trace", "push")
        wait_for(lambda so_many=20 * number, end=pushing.poll: double.count >= so_many or end() is not None)
        if number % 2:
            pushing.kill()
        double.restart()
        pushing.communicate(timeout=30)
    double.mode()
    told.aorch("trace", "push")
    due, delivered, parked = standing(told)
    assert (due, delivered + parked) == (0, 240)
    assert len(set(double.keys)) == len(double.keys)
    assert set(expected(told)) >= set(double.keys)
    assert parked <= 10
    assert (double.large_reads, double.collisions) == ([], [])


def test_status_counts_contracts_and_never_below_zero_also_after_rows_were_removed(told: Home, double: Double) -> None:
    rows = pairs(6)
    put(told.ledger, *rows)
    double.mode(only="POST", answer=422, times=2)  # the first contract's event, and its node
    assert push(told, 13).out == "11 delivered, 2 parked, 0 due\n"
    found = status(told)
    assert (found["due"], found["delivered"], found["parked"], found["parked_nodes"]) == (0, 11, 1, 1)
    assert "nodes      1 parked" in told.aorch("trace", "status").out
    double.mode()
    put(told.ledger, *pairs(2, "due"))
    remove(told, f"position <= 8 AND contract_id <> '{rows[0].contract_id}'")
    assert standing(told) == (4, 4, 1)
    remove(told, "session_id = 's'")
    assert standing(told) == (4, 0, 0)
    told.aorch("trace", "retry")  # what is gone cannot be sent again, and holds up nothing
    assert standing(told) == (0, 4, 0)
    remove(told, "1")
    assert standing(told) == (0, 0, 0)


def test_many_parked_deliveries_are_summed_up_and_a_service_says_that_it_parks(
    told: Home, double: Double, wait_for: WaitFor
) -> None:
    rows = pairs(8)
    put(told.ledger, *rows)
    double.mode(only="POST", answer=422)
    with serving(told) as server:
        wait_for(lambda: standing(told) == (0, 0, 16))
        assert ask(server).status_code == 200
        said = [line for line in server.log.splitlines() if "parked: Trace refused POST /v1/" in line]
        assert len(said) == 1
        assert server.get("/v1/status").json()["integrations"]["details"]["trace"]["parked"] >= 16
    double.mode()
    summary = status(told)["parked_summary"]
    assert {(each["kind"], each["state"]) for each in summary} == {
        ("contract.request", "refused"),
        ("provenance.node", "refused"),
        ("contract.response", "refused"),
    }
    assert sum(each["deliveries"] for each in summary) >= 24
    assert f" × contract.request, first {rows[0].contract_id}: Trace refused" in told.aorch("trace", "status").out
    assert len(told.aorch("trace", "status").out.splitlines()) < 10


def test_a_session_of_which_contracts_were_deleted_is_not_read_back(told: Home, double: Double) -> None:
    put(told.ledger, *large(50))
    push(told)
    remove(told, "position > 2")  # what is left of the session would fit
    found = told.aorch("trace", "import", "s")
    assert (found.code, "contracts were deleted" in found.err) == (3, True)
    put(told.ledger, *pairs(2))
    double.mode(only="POST", answer="drop", times=1)
    push(told, 3)
    assert push(told, 13).out == "3 delivered, 1 parked, 0 due\n"
    assert not double.large_reads


def test_what_indentation_adds_is_counted_before_a_session_is_read_back() -> None:
    rows = large(8)
    small = [request("s", "x") for _ in range(200)]
    for kept in (rows, small):
        fitting = next(n for n in range(len(kept), 0, -1) if can_be_read_back(kept[:n]))
        events = [{"event_id": "x" * 36, "timestamp": "2026", "data": event_data(row)} for row in kept[:fitting]]
        answer = json.dumps({"text": json.dumps({"events": events}, indent=2)})
        assert 32 * 1024 < len(answer) <= 64 * 1024
