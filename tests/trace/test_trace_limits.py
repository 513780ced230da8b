"""aorch never sends Trace a request that would break it, and `aorch trace status` counts correctly."""

import json

import pytest
from api import ask
from homes import Home
from ledger_state import change
from rows import pairs, put, request, response
from serving import serving
from trace_checks import counts, expected, push, status
from trace_double import Double
from waiting import WAIT_S, wait_for

from aorch.ledger.record import Record
from aorch.trace.payload import can_be_read_back, event_data


def large(exchanges: int, session: str = "s") -> list[Record]:
    """Exchanges with two events of 4 KiB each in Trace."""
    requests = [request(session, f"{number:04}" + "x" * 4000) for number in range(exchanges)]
    return [row for each in requests for row in (each, response(each, "y" * 4000))]


def remove(home: Home, where: str) -> None:
    """Delete contracts, as another program would."""
    change(home.ledger, f"DELETE FROM contracts WHERE {where}")


def test_a_delivery_in_doubt_in_a_large_session_is_parked_without_reading_it(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(2, "small"), *large(50))
    push(traced)
    more = pairs(2)
    put(traced.ledger, *more)
    double.mode(only="POST", answer="drop", times=1)
    push(traced, 3)
    assert push(traced, 13).out == "3 delivered, 1 parked, 0 due\n"
    (parked,) = status(traced)["parked_deliveries"]
    assert (parked["contract_id"], parked["state"]) == (more[0].contract_id, "unknown")
    assert "64 KiB" in parked["reason"]
    assert traced.aorch("trace", "retry", more[0].contract_id).code == 0  # because a person asked for it
    assert counts(traced) == (0, 108, 0)
    refused = traced.aorch("trace", "import", "s")
    assert refused.code == 3
    assert "'s' may have passed 64 KiB in Trace" in refused.err
    assert traced.aorch("trace", "import", "elsewhere").code == 12
    assert traced.aorch("trace", "import", "small").code == 0
    assert double.large_reads == []


def test_deliveries_continue_after_a_hundred_contracts_that_are_missing(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(2), *pairs(55), *pairs(3))
    remove(traced, "position BETWEEN 5 AND 114")
    push(traced)
    assert len(double.keys) == 10
    assert double.keys == expected(traced)
    assert counts(traced) == (0, 10, 0)


def test_the_sessions_of_trace_are_never_listed(traced: Home, double: Double) -> None:
    double.kill()
    others = [{"session_id": f"other{number}", "event_type": "note", "data": {}} for number in range(4000)]
    (double.folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in others))
    double.start()
    put(traced.ledger, *pairs(3))
    push(traced)
    put(traced.ledger, *pairs(3))
    push(traced)
    assert double.large_reads == []
    assert [event["data"]["idempotency_key"] for event in double.events[4000:]] == expected(traced)


@pytest.mark.torture
def test_after_many_kills_and_restarts_nothing_is_due_and_nothing_is_delivered_twice(
    traced: Home, double: Double
) -> None:
    put(traced.ledger, *large(60), *pairs(60, "t"))
    double.mode(delay_s=0.01)
    for number in range(1, 11):
        pushing = traced.start("trace", "push")
        wait_for(lambda so_many=20 * number, end=pushing.poll: double.count >= so_many or end() is not None)
        if number % 2:
            pushing.kill()
        double.restart()
        pushing.communicate(timeout=WAIT_S)
    double.mode()
    traced.aorch("trace", "push")
    due, delivered, parked = counts(traced)
    assert (due, delivered + parked) == (0, 240)
    assert len(set(double.keys)) == len(double.keys)
    assert set(expected(traced)) >= set(double.keys)
    assert parked <= 10
    assert (double.large_reads, double.collisions) == ([], [])


def test_the_counts_of_status_are_never_negative_even_after_contracts_were_deleted(
    traced: Home, double: Double
) -> None:
    rows = pairs(6)
    put(traced.ledger, *rows)
    double.mode(only="POST", answer=422, times=2)  # the first contract's event, and its node
    assert push(traced, 13).out == "11 delivered, 2 parked, 0 due\n"
    found = status(traced)
    assert (found["due"], found["delivered"], found["parked"], found["parked_nodes"]) == (0, 11, 1, 1)
    assert "nodes      1 parked" in traced.aorch("trace", "status").out
    double.mode()
    put(traced.ledger, *pairs(2, "due"))
    remove(traced, f"position <= 8 AND contract_id <> '{rows[0].contract_id}'")
    assert counts(traced) == (4, 4, 1)
    remove(traced, "session_id = 's'")
    assert counts(traced) == (4, 0, 0)
    traced.aorch("trace", "retry")  # a deleted contract cannot be sent, and delays nothing
    assert counts(traced) == (0, 4, 0)
    remove(traced, "true")
    assert counts(traced) == (0, 0, 0)


def test_many_parked_deliveries_are_summarised_and_a_service_logs_them_once(traced: Home, double: Double) -> None:
    rows = pairs(8)
    put(traced.ledger, *rows)
    double.mode(only="POST", answer=422)
    with serving(traced) as server:
        wait_for(lambda: counts(traced) == (0, 0, 16))
        assert ask(server).status_code == 200
        wait_for(lambda: "parked: Trace refused POST /v1/" in server.log)
        said = [line for line in server.log.splitlines() if "parked: Trace refused POST /v1/" in line]
        assert len(said) == 1
        assert server.get("/v1/status").json()["integrations"]["details"]["trace"]["parked"] >= 16
    double.mode()
    summary = status(traced)["parked_summary"]
    assert {(each["kind"], each["state"]) for each in summary} == {
        ("contract.request", "refused"),
        ("provenance.node", "refused"),
        ("contract.response", "refused"),
    }
    assert sum(each["deliveries"] for each in summary) >= 24
    assert f" × contract.request, first {rows[0].contract_id}: Trace refused" in traced.aorch("trace", "status").out
    assert len(traced.aorch("trace", "status").out.splitlines()) < 10


def test_after_contracts_were_deleted_no_session_is_read_back(traced: Home, double: Double) -> None:
    put(traced.ledger, *large(50))
    push(traced)
    remove(traced, "position > 2")  # the rest of the session would fit
    found = traced.aorch("trace", "import", "s")
    assert (found.code, "contracts were deleted" in found.err) == (3, True)
    put(traced.ledger, *pairs(2))
    double.mode(only="POST", answer="drop", times=1)
    push(traced, 3)
    assert push(traced, 13).out == "3 delivered, 1 parked, 0 due\n"
    assert not double.large_reads


def test_the_size_of_a_session_includes_the_indentation_of_trace() -> None:
    rows = large(8)
    small = [request("s", "x") for _ in range(200)]
    for kept in (rows, small):
        fitting = next(n for n in range(len(kept), 0, -1) if can_be_read_back(kept[:n]))
        events = [{"event_id": "x" * 36, "timestamp": "2026", "data": event_data(row)} for row in kept[:fitting]]
        answer = json.dumps({"text": json.dumps({"events": events}, indent=2)})
        assert 32 * 1024 < len(answer) <= 64 * 1024


def test_status_shows_the_delivering_process_and_does_not_disturb_it(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(1))
    double.mode(answer="hang")
    pushing = traced.start("trace", "push")
    try:
        wait_for(lambda: (status(traced)["delivering"] or {}).get("pid") == pushing.pid)
        assert wait_for(lambda: status(traced)["delivering"]["waiting_s"]) > 0
        assert f"process {pushing.pid}, waiting for Trace" in traced.aorch("trace", "status").out
    finally:
        pushing.kill()
        pushing.communicate()
    assert status(traced)["delivering"] is None


def test_the_last_error_is_shown_until_a_delivery_succeeds(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(1))
    double.kill()
    for _ in range(2):
        push(traced, 3)
    last = status(traced)["last_error"]
    assert last["failures"] == 2
    assert double.url in last["error"]
    assert "2 in a row" in traced.aorch("trace", "status").out
    double.start()
    push(traced)
    assert "deliveries have succeeded since" in traced.aorch("trace", "status").out
