"""Every contract is delivered to Trace once and in order, even if Trace fails."""

import asyncio
import hashlib
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from api import ask
from homes import Home
from rows import pairs, put, request, response
from serving import serving
from trace_checks import assert_each_delivered_once, counts, expected, push, status
from trace_double import Double
from waiting import WAIT_S, wait_for

from aorch.ledger.database import LockedState


def collide(double: Double, *, session: str = "other") -> None:
    """Send two requests at once, as another program; Trace cannot handle that."""

    async def both() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=double.url, trust_env=False) as client:
            body = {"event_type": "note", "data": {}}
            sent = (client.post(f"/v1/sessions/{session}/events", json=body) for _ in range(2))
            return await asyncio.gather(*sent)

    double.mode(delay_s=0.2)
    assert sorted(answer.status_code for answer in asyncio.run(both())) == [200, 500]
    assert len(double.collisions) == 1


def test_an_event_contains_its_contract_and_a_node_names_its_parent(traced: Home, double: Double) -> None:
    parent = request("s", "parent")
    child = request("s", "child", parent_id=parent.contract_id)
    failed = response(child)._replace(status="failed", result=None, error="no such table")
    put(traced.ledger, parent, child, failed, response(parent, {"n": 1}))
    push(traced)
    assert_each_delivered_once(traced, double)
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


def test_a_large_payload_is_sent_as_its_size_and_sha256(traced: Home, double: Double) -> None:
    asked = request("s", "x" * 5000)
    put(
        traced.ledger,
        asked,
        response(asked, "y" * 5000),
        response(request("s"), None, error="e" * 5000, status="failed"),
    )
    push(traced)
    payload, result = double.events[0]["data"]["payload"], double.events[1]["data"]["result"]
    for value, text in ((payload, asked.payload), (result, json.dumps("y" * 5000))):
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        assert value == {"omitted": True, "size_bytes": len(text), "sha256": sha256}
    error = double.events[2]["data"]["error"]
    assert error == "e" * 500 + f"… (5000 bytes in all, SHA-256 {hashlib.sha256(b'e' * 5000).hexdigest()})"


def test_run_delivers_to_a_configured_trace_everything_that_is_due(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(3, "before"))
    done = traced.aorch("run", "echo", "text=hi", "--session", "now")
    assert (done.code, done.out, done.err) == (0, "Echo: hi\n", "")
    assert_each_delivered_once(traced, double)


@pytest.mark.torture
def test_run_waits_at_most_two_seconds_for_a_hanging_trace(traced: Home, double: Double) -> None:
    """The next run leaves Trace alone for a while."""
    double.mode(answer="hang")
    process = traced.start("run", "echo", "text=hi")
    assert process.stdout is not None
    assert process.stdout.readline() == b"Echo: hi\n"
    answered = time.monotonic()
    assert process.wait(WAIT_S) == 0
    process.communicate()
    assert time.monotonic() - answered < 4  # 2 on an idle machine
    assert "no answer" in status(traced)["last_error"]["error"]
    double.mode()
    double.restart()
    push(traced)
    assert_each_delivered_once(traced, double)


@pytest.mark.torture
def test_a_run_inside_another_run_leaves_the_delivery_to_the_outer_one(traced: Home, double: Double) -> None:
    """The outer run waits for the inner one."""
    command = json.dumps([*traced.command("run", "echo", "text=hi")])
    traced.write("aorch.toml", f"[agents.nest]\ncommand = {command}\n[agents.nest.capabilities.nest]\n")
    double.mode(answer="hang")
    assert traced.aorch("run", "nest").code == 0
    double.mode()
    double.restart()
    (took_ms,) = traced.rows(
        "SELECT metadata ->> 'duration_ms' FROM contracts WHERE capability = 'nest' AND request_id > ''"
    )
    assert float(took_ms[0]) < 1800
    push(traced)
    assert_each_delivered_once(traced, double)
    parent, child = double.nodes
    assert child["parent_id"] == parent["node_id"]


def test_a_service_delivers_in_the_background_and_logs_an_outage_once(traced: Home, double: Double) -> None:
    double.kill()
    with serving(traced) as server:
        for _ in range(5):
            assert ask(server).status_code == 200
        wait_for(lambda: "nothing listens" in server.log)
        assert counts(traced) == (10, 0, 0)
        double.start()
        wait_for(lambda: double.count == 10)
        wait_for(lambda: "Trace works again" in server.log)
        assert server.get("/v1/status").json()["integrations"]["details"]["trace"]["parked"] == 0
        said = [line for line in server.log.splitlines() if "Trace" in line or "nothing listens" in line]
        assert len(said) == 2
    assert_each_delivered_once(traced, double)


def test_without_a_configured_or_running_trace_nothing_is_logged(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        home.write("aorch.toml", "")
        with serving(home) as server:
            assert ask(server).status_code == 200
            assert [line for line in server.log.splitlines()[1:] if "/v1/orchestrate" not in line] == []
    assert home.aorch("run", "echo", "text=hi").err == ""
    assert LockedState.peek(home.ledger, "trace") == (b"", False)
    assert counts(home) == (4, 0, 0)


@pytest.mark.parametrize("answer", [500, pytest.param("drop", marks=pytest.mark.torture)])
@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("before", [pytest.param(0, marks=pytest.mark.torture), 3])
def test_a_failed_delivery_is_looked_up_before_it_is_sent_again(
    traced: Home, double: Double, answer: int | str, stores: bool, before: int
) -> None:
    """Trace may have stored it."""
    put(traced.ledger, *pairs(before))
    push(traced)
    put(traced.ledger, *pairs(3))
    for _ in range(3):  # the event and the node of a REQUEST, and the event of a RESPONSE
        double.mode(only="POST", answer=answer, store=stores, times=1)
        push(traced, 3)
        double.mode()
    push(traced)
    assert_each_delivered_once(traced, double)


@pytest.mark.torture
def test_a_delivery_in_doubt_is_parked_if_trace_does_not_read_the_session_back(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(100))
    push(traced)
    more = pairs(2)
    put(traced.ledger, *more)
    double.mode(only="POST", answer="drop", times=1)
    push(traced, 3)
    assert "1 parked" in push(traced, 13).out
    assert [key.split(":")[0] for key in double.keys] == [key.split(":")[0] for key in expected(traced)]
    (parked,) = status(traced)["parked_deliveries"]
    assert (parked["contract_id"], parked["state"], parked["attempts"]) == (more[0].contract_id, "unknown", 1)
    assert "64 KiB" in parked["reason"]
    assert counts(traced) == (0, 203, 1)
    assert traced.aorch("trace", "retry", more[0].contract_id[:12] + "ZZ").code == 12
    assert traced.aorch("trace", "retry", more[0].contract_id).code == 0  # because a person asked for it
    assert counts(traced) == (0, 204, 0)


def test_a_refused_delivery_is_parked_does_not_delay_the_others_and_can_be_retried(
    traced: Home, double: Double
) -> None:
    rows = pairs(3)
    put(traced.ledger, *rows)
    double.mode(only="POST", answer=422, times=1)
    assert push(traced, 13).out == "5 delivered, 1 parked, 0 due\n"
    shown = traced.aorch("trace", "status").out
    assert f"refused    {rows[0].contract_id} contract.request in 's': Trace refused POST" in shown
    assert double.keys == expected(traced)[1:]
    double.mode(only="POST", answer=422, times=1)
    assert traced.aorch("trace", "retry", rows[0].contract_id).code == 13
    assert status(traced)["parked_deliveries"][0]["attempts"] == 2
    double.mode()
    assert traced.aorch("trace", "retry", "--json").json == {"delivered": 1, "parked": 0, "due": 0, "error": None}
    assert sorted(double.keys) == sorted(expected(traced))
    assert counts(traced) == (0, 6, 0)


@pytest.mark.torture
def test_a_delivery_at_which_trace_always_fails_does_not_delay_the_others(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(2))
    for _ in range(6):
        double.mode(only="POST", answer=500, store=False, times=1)
        push(traced, 3)
    assert push(traced, 13).out == "3 delivered, 1 parked, 0 due\n"
    assert status(traced)["parked_deliveries"][0]["state"] == "refused"
    assert double.keys == expected(traced)[1:]


def test_a_session_whose_id_fits_no_path_is_parked(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(1, "a/b"), *pairs(1, ".."), *pairs(1, "ä" * 1000), *pairs(1, "50% of ?x#y&z\\ ü"))
    assert push(traced, 13).out == "2 delivered, 6 parked, 0 due\n"
    assert {event["session_id"] for event in double.events} == {"50% of ?x#y&z\\ ü"}
    assert len(double.nodes) == 4
    reasons = {each["session_id"]: each["reason"] for each in status(traced)["parked_deliveries"]}
    assert "slash" in reasons["a/b"]
    assert "URL path" in reasons[".."]
    assert "longer" in reasons["ä" * 1000]
    assert counts(traced) == (0, 2, 6)


def test_a_503_leaves_nothing_in_doubt(traced: Home, double: Double) -> None:
    put(traced.ledger, *pairs(2))
    double.mode(answer=503)
    assert "503" in push(traced, 3).err
    assert counts(traced) == (4, 0, 0)
    double.mode(only="POST", answer=503, times=1)
    push(traced, 3)
    double.mode()
    push(traced)
    assert_each_delivered_once(traced, double)


@pytest.mark.torture
@pytest.mark.parametrize("shift", ["words", "content"])
def test_mixed_up_answers_are_noticed_and_after_a_restart_each_is_delivered_once(
    traced: Home, double: Double, shift: str
) -> None:
    """`content`: as Trace really does it: the right `session_id` with the content of another answer."""
    put(traced.ledger, *pairs(2))
    push(traced)
    collide(double)
    double.mode(shift=shift)
    put(traced.ledger, *pairs(2))
    for _ in range(2):
        assert "Restart Trace" in push(traced, 3).err
    double.restart()
    push(traced)
    assert [event["data"].get("idempotency_key") for event in double.events if event["session_id"] == "s"] == expected(
        traced
    )
    assert len(double.collisions) == 1
    assert counts(traced) == (0, 8, 0)


def test_an_answer_during_a_mix_up_counts_only_after_the_delivery_is_found_in_trace(
    traced: Home, double: Double
) -> None:
    """Another program sends a request between two deliveries, which then get the answers to other requests."""
    put(traced.ledger, *pairs(20))
    double.mode(delay_s=0.05)
    pushing = traced.start("trace", "push")
    wait_for(lambda: double.count > 3)
    note = {"event_type": "note", "data": {"idempotency_key": "note"}}
    wait_for(lambda: httpx.post(f"{double.url}/v1/sessions/o/events", json=note, trust_env=False) and double.collisions)
    pushing.communicate(timeout=WAIT_S)
    double.mode()
    double.restart()
    push(traced)
    assert keys_in(double, "s") == expected(traced)


def keys_in(double: Double, session: str) -> list[str]:
    return [event["data"]["idempotency_key"] for event in double.events if event["session_id"] == session]


@pytest.mark.torture
def test_after_a_kill_during_a_delivery_nothing_is_delivered_twice_and_trace_gets_no_two_requests(
    traced: Home, double: Double
) -> None:
    put(traced.ledger, *pairs(20))
    double.mode(delay_s=0.03)
    for number in range(1, 5):
        pushing = traced.start("trace", "push")
        wait_for(lambda so_many=4 * number: double.count > so_many)
        pushing.kill()
        pushing.communicate()
    double.mode()
    push(traced)
    assert_each_delivered_once(traced, double)


@pytest.mark.sqlite_only("the state of deliveries beside the file")
def test_after_a_machine_stops_nothing_is_delivered_twice(traced: Home, double: Double) -> None:
    """Everything that was not synced is lost then: all but the ledger."""
    put(traced.ledger, *pairs(5, "a"), *pairs(20, "b"))
    double.mode(delay_s=0.02)
    pushing = traced.start("trace", "push")
    wait_for(lambda: double.count > 12)
    pushing.kill()
    pushing.communicate()
    Path(f"{traced.ledger}-trace").unlink()
    double.restart()
    double.mode()
    push(traced)
    assert_each_delivered_once(traced, double)


@pytest.mark.sqlite_only("another file in the place of the ledger")
def test_the_state_of_another_ledger_is_ignored(traced: Home, double: Double, made_ledger: Path) -> None:
    put(traced.ledger, *pairs(5))
    push(traced)
    shutil.copy(made_ledger, traced.ledger)
    put(traced.ledger, *pairs(6, "new"))
    push(traced)
    assert keys_in(double, "new") == expected(traced)


def test_a_server_that_is_not_trace_gets_no_contracts(home: Home) -> None:
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
    assert counts(home) == (2, 0, 0)


@pytest.mark.torture
def test_two_services_and_a_push_share_one_trace(traced: Home, double: Double) -> None:
    """Trace is killed and restarted while they deliver."""
    double.mode(delay_s=0.002)
    with serving(traced) as one, serving(traced) as two:
        for number in range(60):
            for server in (one, two):
                assert ask(server, session=f"s{number % 10}").status_code == 200
            if number % 20 == 10:
                double.restart()
        traced.aorch("trace", "push")
        wait_for(lambda: double.count == 240)
        wait_for(lambda: counts(traced) == (0, 240, 0))
    assert_each_delivered_once(traced, double)
