"""Webhooks: the end of a task is sent to its URL, signed."""

import json
import time

import receivers
from api import problem
from homes import Home
from ledger_state import stored_bytes
from queueing import working
from receivers import KEY, SECRET, Receiver, verify
from serving import serving
from waiting import wait_for

home, receiver = receivers.home, receivers.receiver


def test_a_detached_task_tells_its_end_signed(home: Home, receiver: Receiver) -> None:
    done = home.aorch("run", "note", "text=hi", "--detach", "--webhook", receiver.url)
    request_id = done.out.strip()
    with working(home):
        wait_for(lambda: receiver.taken)
        wait_for(lambda: not home.rows("SELECT 1 FROM webhooks"))
    ((path, headers, body),) = receiver.taken
    assert path == "/hook"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == request_id
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert verify(headers, body)
    assert not verify(headers, body + b" ")
    form = json.loads(body)
    assert list(form) == ["type", "timestamp", "data"]
    assert form["type"] == "task.ended"
    assert form["data"] == home.aorch("contracts", "wait", request_id, "--json").json | {"status": "completed"}


def test_a_task_over_http_tells_its_end_and_its_cancellation(home: Home, receiver: Receiver) -> None:
    with serving(home) as server:
        body = {"capability": "note", "session_id": "s", "webhook": receiver.url}
        ids = [
            server.post("/v1/tasks", json=body | more).json()["contract_id"]
            for more in ({}, {"not_before": "2999-01-01T00:00:00Z"})
        ]
        server.post(f"/v1/tasks/{ids[1]}/cancel")
        wait_for(lambda: len(receiver.taken) == 2)
        wait_for(lambda: not home.rows("SELECT 1 FROM webhooks"))
        told = {headers["webhook-id"]: json.loads(body)["data"] for _, headers, body in receiver.taken}
        assert {name: data["status"] for name, data in told.items()} == {ids[0]: "completed", ids[1]: "cancelled"}
        for secret in (SECRET, KEY.decode(), SECRET.removeprefix("whsec_")):
            assert secret not in server.log
            assert secret.encode() not in stored_bytes(home.ledger)


def test_without_a_secret_nothing_is_accepted(home: Home, receiver: Receiver) -> None:
    del home.environment["HOOK_SECRET"]
    done = home.aorch("run", "note", "--detach", "--webhook", receiver.url)
    assert (done.code, done.out) == (2, "")
    assert "webhook_secret_env" in done.err
    with serving(home) as server:
        body = {"capability": "note", "session_id": "s", "webhook": receiver.url}
        assert "webhook_secret_env" in problem(server.post("/v1/tasks", json=body), 403, "webhooks_off")["hint"]
    assert home.rows("SELECT count(*) FROM contracts") == [(0,)]


def test_an_address_that_can_never_work_or_holds_a_password_is_refused(home: Home) -> None:
    impossible = [
        *("ftp://127.0.0.1/", "here", "http://ann:secret@127.0.0.1/", "http:///x", "http://a b/", "http://a.invalid/"),
        *("http://a:0/", "http://a:99999/", "http://256.1.1.1/", "http://224.0.0.1/", "http://-a/", "http://a..b/"),
    ]
    done = home.aorch("run", "note", "--detach", "--webhook", impossible[0])
    assert (done.code, done.out) == (2, "")
    with serving(home) as server:
        for url in impossible:
            body = {"capability": "note", "session_id": "s", "webhook": url}
            refused = server.post("/v1/tasks", json=body)
            assert refused.status_code in (400, 422), url
            assert "secret" not in refused.text
    assert home.rows("SELECT count(*) FROM contracts") == [(0,)]


def test_a_secret_that_is_no_base64_is_told(home: Home) -> None:
    home.environment["HOOK_SECRET"] = "whsec_%%%"
    done = home.aorch("worker", "--drain")
    assert done.code == 2
    assert "HOOK_SECRET" in done.err
    assert "%%%" not in done.err
