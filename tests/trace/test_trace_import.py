"""`aorch trace import` compares a session in Trace with the ledger."""

import json

import httpx
from homes import Home
from rows import pairs, put
from trace_checks import push
from trace_double import Double


def test_import_reports_no_differences_for_equal_sessions(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(2))
    push(traced)
    put(traced.ledger, *pairs(1))
    httpx.post(f"{double.url}/v1/sessions/s/events", json={"event_type": "note", "data": {}}, trust_env=False)
    done = traced.aorch("trace", "import", "s")
    assert (done.code, done.out) == (0, "4 equal, 2 due, 0 parked, 1 from other programs\n")


def test_import_reports_what_differs_and_exits_13(traced: Home, double: Double) -> None:
    rows = pairs(3)
    put(traced.ledger, *rows)
    push(traced)
    double.kill()
    events = double.events
    events[1]["data"]["result"] = "another"
    stranger = {**events[0], "data": {**events[0]["data"], "idempotency_key": "01STRANGER:contract.request"}}
    kept = [events[0], events[1], events[4], events[3], events[3], stranger]
    (double.folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in kept))
    double.start()
    done = traced.aorch("trace", "import", "s", "--json")
    assert done.code == 13
    assert done.json == {
        "session_id": "s",
        "differs": True,
        "equal": 3,
        "missing_there": [rows[2].contract_id, rows[5].contract_id],
        "missing_here": ["01STRANGER"],
        "different": [{"contract_id": rows[1].contract_id, "fields": ["result"]}],
        "doubled": [rows[3].contract_id],
        "out_of_order": [rows[3].contract_id],
        "others": 0,
        "due": [],
        "parked": [],
    }
    assert "different      " + rows[1].contract_id + ": result" in traced.aorch("trace", "import", "s").out


def test_import_rejects_a_session_above_64_kib(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(100))
    push(traced)
    done = traced.aorch("trace", "import", "s")
    assert done.code == 3
    assert "64 KiB" in done.err
    assert traced.aorch("trace", "import", "nobody").code == 12
    assert traced.aorch("trace", "import", "a/b").code == 2
