"""Trace hears of every contract once, in order, whatever Trace does."""

import asyncio
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from api import ask
from conftest import Home, Result
from rows import pairs, put, request, response
from serving import serving
from trace_double import Double

WaitFor = Callable[[Callable[[], Any]], Any]


def expected(home: Home) -> list[str]:
    """The keys of all that the ledger holds, in its order."""
    rows = home.rows("SELECT contract_id, lower(contract_type) FROM contracts ORDER BY position")
    return [f"{contract_id}:contract.{kind}" for contract_id, kind in rows]


def push(home: Home, code: int = 0) -> Result:
    done = home.aorch("trace", "push")
    assert done.code == code, done
    return done


def status(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = home.aorch("trace", "status", "--json").json
    return found


def standing(home: Home) -> tuple[int, int, int]:
    """How many contracts are due, delivered, parked."""
    found = status(home)
    return found["due"], found["delivered"], found["parked"]


def assert_each_told_once(home: Home, double: Double) -> None:
    assert double.keys == expected(home)
    asked = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position")
    assert [node["node_id"] for node in double.nodes] == [contract_id for (contract_id,) in asked]
    assert standing(home) == (0, len(expected(home)), 0)
    assert double.collisions == []


def collide(double: Double, *, session: str = "outsider") -> None:
    """Two requests of somebody else at once, which is what Trace cannot stand."""

    async def both() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=double.url, trust_env=False) as client:
            body = {"event_type": "note", "data": {}}
            sent = (client.post(f"/v1/sessions/{session}/events", json=body) for _ in range(2))
            return await asyncio.gather(*sent)

    double.mode(delay_s=0.2)
    assert sorted(answer.status_code for answer in asyncio.run(both())) == [200, 500]
    assert len(double.collisions) == 1


def test_an_event_says_what_its_contract_says_and_a_node_hangs_below_its_parent(told: Home, double: Double) -> None:
    parent = request("s", "parent")
    child = request("s", "child", parent_id=parent.contract_id)
    failed = response(child)._replace(status="failed", result=None, error="no such table")
    put(told.ledger, parent, child, failed, response(parent, {"n": 1}))
    push(told)
    assert_each_told_once(told, double)
    first, _, third, last = double.events
    assert (first["session_id"], first["event_type"], last["event_type"]) == (
        "s",
        "contract.request",
        "contract.response",
    )
    assert first["data"] == {
        "idempotency_key": f"{parent.contract_id}:contract.request",
        "contract_id": parent.contract_id,
        "contract_type": "REQUEST",
        "from_agent": "orchestrator",
        "to_agent": "agent_example_001",
        "capability": "echo",
        "payload": {"text": "parent"},
        "status": "completed",
        "result": None,
        "error": None,
        "request_id": None,
        "parent_id": None,
        "created_at": parent.created_at,
        "completed_at": parent.completed_at,
    }
    assert (third["data"]["status"], third["data"]["error"]) == ("failed", "no such table")
    assert (last["data"]["result"], last["data"]["request_id"]) == ({"n": 1}, parent.contract_id)
    assert [(node["node_id"], node["parent_id"]) for node in double.nodes] == [
        (parent.contract_id, None),
        (child.contract_id, parent.contract_id),
    ]


def test_what_is_large_is_told_by_its_size_and_sha256(told: Home, double: Double) -> None:
    asked = request("s", "x" * 5000)
    put(
        told.ledger, asked, response(asked, "y" * 5000), response(request("s"), None, error="e" * 5000, status="failed")
    )
    push(told)
    payload, result = double.events[0]["data"]["payload"], double.events[1]["data"]["result"]
    for told_of, text in ((payload, asked.payload), (result, json.dumps("y" * 5000))):
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        assert told_of == {"omitted": True, "size_bytes": len(text), "sha256": sha256}
    error = double.events[2]["data"]["error"]
    assert error == "e" * 500 + f"… (5000 bytes in all, SHA-256 {hashlib.sha256(b'e' * 5000).hexdigest()})"


def test_run_tells_trace_where_it_is_configured_and_all_that_was_due_before(told: Home, double: Double) -> None:
    put(told.ledger, *pairs(3, "before"))
    done = told.aorch("run", "echo", "text=hi", "--session", "now")
    assert (done.code, done.out, done.err) == (0, "Echo: hi\n", "")
    assert_each_told_once(told, double)


@pytest.mark.torture
def test_run_is_kept_by_a_hanging_trace_for_two_seconds_after_its_answer(told: Home, double: Double) -> None:
    """And the next one lets Trace alone for a while."""
    double.mode(answer="hang")
    process = told.start("run", "echo", "text=hi")
    assert process.stdout is not None
    assert process.stdout.readline() == b"Echo: hi\n"
    answered = time.monotonic()
    assert process.wait(30) == 0
    process.communicate()
    assert time.monotonic() - answered < 4  # 2 where nothing else is at work
    assert "no answer" in status(told)["last_error"]["error"]
    double.mode()
    double.restart()
    push(told)
    assert_each_told_once(told, double)


@pytest.mark.torture
def test_a_run_on_behalf_of_another_leaves_telling_to_that_one(told: Home, double: Double) -> None:
    """Which waits for it to end."""
    command = json.dumps([*told.command("run", "echo", "text=hi")])
    told.write("aorch.toml", f"[agents.nest]\ncommand = {command}\n[agents.nest.capabilities.nest]\n")
    double.mode(answer="hang")
    assert told.aorch("run", "nest").code == 0
    double.mode()
    double.restart()
    (took_ms,) = told.rows(
        "SELECT metadata ->> '$.duration_ms' FROM contracts WHERE capability = 'nest' AND request_id > ''"
    )
    assert took_ms[0] < 1800
    push(told)
    assert_each_told_once(told, double)
    parent, child = double.nodes
    assert child["parent_id"] == parent["node_id"]


def test_a_service_delivers_in_the_background_and_an_outage_is_told_once(
    told: Home, double: Double, wait_for: WaitFor
) -> None:
    double.kill()
    with serving(told) as server:
        for _ in range(5):
            assert ask(server).status_code == 200
        wait_for(lambda: "nothing listens" in server.log)
        assert standing(told) == (10, 0, 0)
        double.start()
        wait_for(lambda: double.count == 10)
        wait_for(lambda: "Trace is well again" in server.log)
        assert server.get("/v1/status").json()["integrations"]["details"]["trace"]["parked"] == 0
        said = [line for line in server.log.splitlines() if "Trace" in line or "nothing listens" in line]
        assert len(said) == 2
    assert_each_told_once(told, double)


def test_where_nobody_speaks_of_trace_and_none_is_there_all_is_quiet(home: Home, made_ledger: Path) -> None:
    shutil.copy(made_ledger, home.ledger)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        home.write("aorch.toml", "")
        with serving(home) as server:
            assert ask(server).status_code == 200
            assert [line for line in server.log.splitlines()[1:] if "/v1/orchestrate" not in line] == []
    assert home.aorch("run", "echo", "text=hi").err == ""
    assert not Path(f"{home.ledger}-trace").exists()
    assert standing(home) == (4, 0, 0)


@pytest.mark.parametrize("answer", [500, pytest.param("drop", marks=pytest.mark.torture)])
@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("before", [pytest.param(0, marks=pytest.mark.torture), 3])
def test_what_failed_is_looked_for_before_it_is_sent_again(
    told: Home, double: Double, answer: int | str, stores: bool, before: int
) -> None:
    """A write that failed may have been stored all the same."""
    put(told.ledger, *pairs(before))
    push(told)
    put(told.ledger, *pairs(3))
    for _ in range(3):  # the event and the node of a REQUEST, and the event of a RESPONSE
        double.mode(only="POST", answer=answer, store=stores, times=1)
        push(told, 3)
        double.mode()
    push(told)
    assert_each_told_once(told, double)


@pytest.mark.torture
def test_in_a_session_that_trace_does_not_read_back_what_is_in_doubt_is_parked_and_not_doubled(
    told: Home, double: Double
) -> None:
    put(told.ledger, *pairs(100))
    push(told)
    more = pairs(2)
    put(told.ledger, *more)
    double.mode(only="POST", answer="drop", times=1)
    push(told, 3)
    assert "1 parked" in push(told, 13).out
    assert [key.split(":")[0] for key in double.keys] == [key.split(":")[0] for key in expected(told)]
    (parked,) = status(told)["parked_deliveries"]
    assert (parked["contract_id"], parked["state"], parked["attempts"]) == (more[0].contract_id, "unknown", 1)
    assert "64 KiB" in parked["reason"]
    assert standing(told) == (0, 203, 1)
    assert told.aorch("trace", "retry", more[0].contract_id[:12] + "ZZ").code == 12
    assert told.aorch("trace", "retry", more[0].contract_id).code == 0  # on a person's word, it is sent
    assert standing(told) == (0, 204, 0)


def test_what_is_refused_for_good_is_parked_and_the_rest_goes_on_and_it_can_be_retried(
    told: Home, double: Double
) -> None:
    rows = pairs(3)
    put(told.ledger, *rows)
    double.mode(only="POST", answer=422, times=1)
    assert push(told, 13).out == "5 delivered, 1 parked, 0 due\n"
    shown = told.aorch("trace", "status").out
    assert f"refused    {rows[0].contract_id} contract.request in 's': Trace refused POST" in shown
    assert double.keys == expected(told)[1:]
    double.mode(only="POST", answer=422, times=1)
    assert told.aorch("trace", "retry", rows[0].contract_id).code == 13
    assert status(told)["parked_deliveries"][0]["attempts"] == 2
    double.mode()
    assert told.aorch("trace", "retry", "--json").json == {"delivered": 1, "parked": 0, "due": 0, "error": None}
    assert sorted(double.keys) == sorted(expected(told))
    assert standing(told) == (0, 6, 0)


@pytest.mark.torture
def test_what_trace_always_fails_at_does_not_hold_up_the_rest(told: Home, double: Double) -> None:
    put(told.ledger, *pairs(2))
    for _ in range(6):
        double.mode(only="POST", answer=500, store=False, times=1)
        push(told, 3)
    assert push(told, 13).out == "3 delivered, 1 parked, 0 due\n"
    assert status(told)["parked_deliveries"][0]["state"] == "refused"
    assert double.keys == expected(told)[1:]


def test_a_session_that_trace_cannot_carry_is_reported_and_not_dropped(told: Home, double: Double) -> None:
    put(told.ledger, *pairs(1, "a/b"), *pairs(1, ".."), *pairs(1, "ä" * 1000), *pairs(1, "50% of ?x#y&z\\ ü"))
    assert push(told, 13).out == "2 delivered, 6 parked, 0 due\n"
    assert {event["session_id"] for event in double.events} == {"50% of ?x#y&z\\ ü"}
    assert len(double.nodes) == 4
    reasons = {each["session_id"]: each["reason"] for each in status(told)["parked_deliveries"]}
    assert "slash" in reasons["a/b"]
    assert "no path" in reasons[".."]
    assert "longer" in reasons["ä" * 1000]
    assert standing(told) == (0, 2, 6)


def test_a_trace_without_its_backend_stores_nothing_and_nothing_is_in_doubt(told: Home, double: Double) -> None:
    put(told.ledger, *pairs(2))
    double.mode(answer=503)
    assert "503" in push(told, 3).err
    assert standing(told) == (4, 0, 0)
    double.mode(only="POST", answer=503, times=1)
    push(told, 3)
    double.mode()
    push(told)
    assert_each_told_once(told, double)


@pytest.mark.torture
@pytest.mark.parametrize("shift", ["words", "content"])
def test_mixed_up_answers_are_seen_and_after_a_restart_each_is_told_once(
    told: Home, double: Double, shift: str
) -> None:
    """`content`: as the wrapper does it, whose answer has the right words round the wrong content."""
    put(told.ledger, *pairs(2))
    push(told)
    collide(double)
    double.mode(shift=shift)
    put(told.ledger, *pairs(2))
    for _ in range(2):
        assert "Start Trace again" in push(told, 3).err
    double.restart()
    push(told)
    assert [event["data"].get("idempotency_key") for event in double.events if event["session_id"] == "s"] == expected(
        told
    )
    assert len(double.collisions) == 1
    assert standing(told) == (0, 8, 0)


def test_what_was_answered_while_answers_were_mixed_up_counts_only_once_it_is_found(
    told: Home, double: Double, wait_for: WaitFor
) -> None:
    """An outsider comes between two deliveries: what is answered then is another's answer."""
    put(told.ledger, *pairs(20))
    double.mode(delay_s=0.05)
    pushing = told.start("trace", "push")
    wait_for(lambda: double.count > 3)
    note = {"event_type": "note", "data": {"idempotency_key": "note"}}
    wait_for(lambda: httpx.post(f"{double.url}/v1/sessions/o/events", json=note, trust_env=False) and double.collisions)
    pushing.communicate(timeout=30)
    double.mode()
    double.restart()
    push(told)
    assert told_in(double, "s") == expected(told)


def told_in(double: Double, session: str) -> list[str]:
    return [event["data"]["idempotency_key"] for event in double.events if event["session_id"] == session]


@pytest.mark.torture
def test_a_deliverer_that_is_killed_leaves_nothing_doubled_and_trace_in_peace(
    told: Home, double: Double, wait_for: WaitFor
) -> None:
    put(told.ledger, *pairs(20))
    double.mode(delay_s=0.03)
    for number in range(1, 5):
        pushing = told.start("trace", "push")
        wait_for(lambda so_many=4 * number: double.count > so_many)
        pushing.kill()
        pushing.communicate()
    double.mode()
    push(told)
    assert_each_told_once(told, double)


def test_a_machine_that_stops_leaves_nothing_doubled(told: Home, double: Double, wait_for: WaitFor) -> None:
    """What was not synced is gone then: all but the ledger."""
    put(told.ledger, *pairs(5, "a"), *pairs(20, "b"))
    double.mode(delay_s=0.02)
    pushing = told.start("trace", "push")
    wait_for(lambda: double.count > 12)
    pushing.kill()
    pushing.communicate()
    Path(f"{told.ledger}-trace").unlink()
    double.restart()
    double.mode()
    push(told)
    assert_each_told_once(told, double)


def test_the_state_beside_another_ledger_is_not_taken_for_its_own(
    told: Home, double: Double, made_ledger: Path
) -> None:
    put(told.ledger, *pairs(5))
    push(told)
    shutil.copy(made_ledger, told.ledger)
    put(told.ledger, *pairs(6, "new"))
    push(told)
    assert told_in(double, "new") == expected(told)


def test_status_tells_who_delivers_and_waits_and_does_not_disturb_it(
    told: Home, double: Double, wait_for: WaitFor
) -> None:
    put(told.ledger, *pairs(1))
    double.mode(answer="hang")
    pushing = told.start("trace", "push")
    try:
        found = wait_for(lambda: (found := status(told))["delivering"] and found)
        assert found["delivering"]["pid"] == pushing.pid
        assert wait_for(lambda: status(told)["delivering"]["waiting_s"]) > 0
        assert f"process {pushing.pid}, awaits an answer" in told.aorch("trace", "status").out
    finally:
        pushing.kill()
        pushing.communicate()
    assert status(told)["delivering"] is None


def test_the_last_error_stays_until_it_goes_well(told: Home, double: Double) -> None:
    put(told.ledger, *pairs(1))
    double.kill()
    for _ in range(2):
        push(told, 3)
    last = status(told)["last_error"]
    assert last["failures"] == 2
    assert double.url in last["error"]
    assert "2 in a row" in told.aorch("trace", "status").out
    double.start()
    push(told)
    assert "went well since" in told.aorch("trace", "status").out


def test_whatever_is_not_trace_is_sent_nothing(home: Home, made_ledger: Path) -> None:
    shutil.copy(made_ledger, home.ledger)
    put(home.ledger, *pairs(1))
    command = [*home.command()[:1], "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=home.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PYTHONUNBUFFERED": "1"}
    ) as other:
        assert other.stdout is not None
        home.environment["TRACE_URL"] = other.stdout.readline().decode().split("(")[1].split("/)")[0]
        done = push(home, 3)
        other.kill()
    assert "is not Trace" in done.err
    assert standing(home) == (2, 0, 0)


@pytest.mark.torture
def test_two_services_and_a_push_share_one_trace(told: Home, double: Double, wait_for: WaitFor) -> None:
    """Trace is killed and started again while they deliver."""
    double.mode(delay_s=0.002)
    with serving(told) as one, serving(told) as two:
        for number in range(60):
            for server in (one, two):
                assert ask(server, session=f"s{number % 10}").status_code == 200
            if number % 20 == 10:
                double.restart()
        told.aorch("trace", "push")
        wait_for(lambda: double.count == 240)
        wait_for(lambda: standing(told) == (0, 240, 0))
    assert_each_told_once(told, double)


def test_import_finds_nothing_where_nothing_differs(told: Home, double: Double) -> None:
    put(told.ledger, *pairs(2))
    push(told)
    put(told.ledger, *pairs(1))
    httpx.post(f"{double.url}/v1/sessions/s/events", json={"event_type": "note", "data": {}}, trust_env=False)
    done = told.aorch("trace", "import", "s")
    assert (done.code, done.out) == (0, "4 equal, 2 due, 0 parked, 1 not aorch's\n")


def test_import_reports_what_differs_and_exits_13(told: Home, double: Double) -> None:
    rows = pairs(3)
    put(told.ledger, *rows)
    push(told)
    double.kill()
    events = double.events
    events[1]["data"]["result"] = "another"
    stranger = {**events[0], "data": {**events[0]["data"], "idempotency_key": "01STRANGER:contract.request"}}
    kept = [events[0], events[1], events[4], events[3], events[3], stranger]
    (double.folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in kept))
    double.start()
    done = told.aorch("trace", "import", "s", "--json")
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
    assert "different      " + rows[1].contract_id + ": result" in told.aorch("trace", "import", "s").out


def test_import_says_that_a_session_beyond_64_kib_cannot_be_compared(told: Home, double: Double) -> None:
    put(told.ledger, *pairs(100))
    push(told)
    done = told.aorch("trace", "import", "s")
    assert done.code == 3
    assert "64 KiB" in done.err
    assert told.aorch("trace", "import", "nobody").code == 12
    assert told.aorch("trace", "import", "a/b").code == 2


@pytest.mark.parametrize("where", ["TRACE_URL", "aorch.toml"])
def test_off_switches_it_off(home: Home, made_ledger: Path, where: str) -> None:
    shutil.copy(made_ledger, home.ledger)
    if where == "TRACE_URL":
        home.environment["TRACE_URL"] = "off"
    else:
        home.write("aorch.toml", '[trace]\nurl = "off"\n')
    assert home.aorch("run", "echo", "text=hi").code == 0
    assert (push(home, 2).err).startswith("error: Trace is switched off")
    assert status(home)["url"] is None
    assert home.aorch("status", "--json").json["integrations"]["details"]["trace"]["url"] is None
    assert "trace      not in use" in home.aorch("status").out


def test_the_file_names_trace_and_the_environment_goes_before(told: Home, double: Double) -> None:
    del told.environment["TRACE_URL"]
    told.write("aorch.toml", f'[trace]\nurl = "{double.url}/"\n')
    assert told.aorch("run", "echo", "text=hi").code == 0
    assert_each_told_once(told, double)
    told.environment["TRACE_URL"] = "http://127.0.0.1:9"
    assert status(told)["url"] == "http://127.0.0.1:9"


@pytest.mark.parametrize("url", ["localhost:8787", "ftp://localhost", "http://ann:secret@localhost", "http://a b"])
def test_what_is_no_address_is_refused_without_being_repeated(home: Home, url: str) -> None:
    home.environment["TRACE_URL"] = url
    done = home.aorch("status")
    assert done.code == 2
    assert "TRACE_URL is not the address of a service" in done.err
    assert "secret" not in done.err
