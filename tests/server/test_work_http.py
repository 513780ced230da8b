"""Workers over HTTP: leases, claims, confirmations and reports, as the server keeps them."""

import threading

import pytest
import shared
from api import problem
from homes import Home
from http_worker import RENDERER, HttpWorker, queue, task
from serving import Server, serving
from tokens import new_bearer
from waiting import wait_for

from aorch.ids import new_id

home, server = shared.home, shared.server


def test_a_task_of_a_capability_that_only_a_worker_offers_is_queued_and_executed_there(server: Server) -> None:
    worker = HttpWorker(server)
    contract_id = queue(server, parameters={"text": "hi"})
    claimed = worker.claim().json()
    (given,) = claimed["tasks"]
    request = given["request"]
    assert (request["contract_id"], request["payload"], request["to_agent"]) == (
        contract_id,
        {"text": "hi"},
        "renderer",
    )
    assert given["attempts"] == 0
    assert worker.renew(claimed["delivery_id"], [contract_id])["confirmed"]
    worker.post("progress", {"progress": [{"contract_id": contract_id, "progress": {"percent": 5}}]})
    assert task(server, contract_id)["progress"] == {"percent": 5}
    assert worker.report(contract_id).json() == {"contract_id": contract_id, "status": "completed"}
    ended = task(server, contract_id)
    assert (ended["status"], ended["answer"]["data"], ended["answer"]["agent_id"]) == (
        "completed",
        {"ok": 1},
        "renderer",
    )
    assert ended["progress"] is None


def test_parameters_are_checked_against_the_schema_of_the_worker(server: Server) -> None:
    HttpWorker(server)
    refused = server.post("/v1/tasks", json={"capability": "render", "session_id": "s", "parameters": {"text": 5}})
    problem(refused, 422, "parameters_invalid")


def test_a_waiting_claim_gets_a_task_as_soon_as_it_is_queued(server: Server) -> None:
    worker, found = HttpWorker(server), []
    waiting = threading.Thread(target=lambda: found.append(worker.claim(wait_s=25).json()))
    waiting.start()
    contract_id = queue(server)
    waiting.join()
    assert [each["request"]["contract_id"] for each in found[0]["tasks"]] == [contract_id]
    worker.renew(found[0]["delivery_id"])
    worker.report(contract_id)


def home_leases(server: Server) -> list[object]:
    return list(server.get("/v1/work/leases").json()["leases"])


def test_tasks_that_were_not_confirmed_are_delivered_again_and_the_first_delivery_is_void(server: Server) -> None:
    worker, contract_id = HttpWorker(server), queue(server)
    first, again = worker.claim().json(), worker.claim().json()
    assert [each["request"]["contract_id"] for each in again["tasks"]] == [contract_id]
    assert not worker.renew(first["delivery_id"])["confirmed"]
    assert worker.renew(again["delivery_id"])["confirmed"]
    assert worker.renew(again["delivery_id"])["confirmed"], "a repeated confirmation"
    assert worker.claim().json()["tasks"] == []
    worker.report(contract_id)


def test_a_repeated_report_changes_nothing_and_a_second_one_is_refused(server: Server) -> None:
    worker, response_id = HttpWorker(server), new_id()
    contract_id = queue(server)
    worker.take()
    first, again = (worker.report(contract_id, response_id) for _ in range(2))
    assert (first.json(), again.status_code) == (again.json(), 200)
    problem(worker.report(contract_id), 409, "lease_lost")


def test_a_cancellation_reaches_a_worker_that_waits_or_renews(server: Server) -> None:
    worker = HttpWorker(server)
    contract_id = queue(server)
    worker.take()
    found: list[object] = []
    waiting = threading.Thread(
        target=lambda: found.append(worker.post("claim", {"wait_s": 25, "limit": 0}).json()["cancelled"])
    )
    waiting.start()
    server.post(f"/v1/tasks/{contract_id}/cancel")
    waiting.join()
    assert found == [{contract_id: "an HTTP client"}]
    assert worker.renew()["cancelled"] == {contract_id: "an HTTP client"}
    worker.report(contract_id, status="cancelled", error="cancelled by an HTTP client", result=None)
    assert task(server, contract_id)["status"] == "cancelled"


@pytest.mark.parametrize(("capability", "called", "status"), [("render", False, "pending"), ("render", True, "failed")])
def test_a_task_that_is_given_back_is_queued_again_if_no_agent_got_it(
    server: Server, capability: str, called: bool, status: str
) -> None:
    worker, contract_id = HttpWorker(server), queue(server, capability)
    worker.take()
    assert worker.post(f"tasks/{contract_id}/release", {"called": called}).json()["status"] == status
    if status == "pending":
        assert worker.take() == [contract_id]
        worker.report(contract_id)


def test_the_end_of_a_lease_queues_again_what_is_safe_and_interrupts_the_rest(server: Server) -> None:
    worker, other = HttpWorker(server), HttpWorker(server)
    started, safe = queue(server), queue(server, "render_again")
    worker.take(2)
    unconfirmed = queue(server)
    worker.claim()
    assert server.client.delete(worker.path).status_code == 200
    assert task(server, started)["answer"]["error"].startswith("interrupted: the worker that ran this")
    assert sorted(other.take(8)) == sorted([safe, unconfirmed])
    for path, body in (("renew", {}), ("claim", {}), (f"tasks/{safe}/release", {"called": False})):
        problem(worker.post(path, body), 409, "lease_lost")
    problem(worker.report(safe), 409, "lease_lost")
    for each in (safe, unconfirmed):
        other.report(each)
        assert task(server, each)["status"] == "completed"


def test_a_lease_that_is_not_renewed_ends_after_its_time(server: Server) -> None:
    worker, other = HttpWorker(server, lease_s=1), HttpWorker(server)
    started, safe = queue(server), queue(server, "render_again")
    worker.take(2)
    wait_for(lambda: task(server, started)["status"] == "failed")
    problem(worker.report(started), 409, "lease_lost")
    assert other.take(8) == [safe]
    problem(worker.report(safe), 409, "lease_lost")
    other.report(safe)


def test_a_lease_that_is_renewed_does_not_end(server: Server) -> None:
    worker, other = HttpWorker(server, lease_s=1), HttpWorker(server, lease_s=1)
    contract_id = queue(server)
    worker.take()

    def ended() -> bool:
        worker.renew()
        return other.lease["lease_id"] not in str(home_leases(server))

    wait_for(ended)
    assert worker.report(contract_id).status_code == 200


def test_a_token_limits_the_capabilities_and_agents_that_a_worker_offers(own_home: Home) -> None:
    limited = new_bearer(own_home, "gpu", "--scope", "work", "--capability", "render", "--capability", "render_again")
    other = new_bearer(own_home, "other", "--scope", "work", "--capability", "paint")
    bound = new_bearer(own_home, "bound", "--scope", "work", "--agent", "renderer")
    with serving(own_home) as server:
        body = {"worker": "w", "agents": [RENDERER]}
        refused = server.post("/v1/work/leases", json=body, headers=other)
        assert "does not allow the capability 'render'" in problem(refused, 403, "forbidden")["detail"]
        refused = server.post("/v1/work/leases", json=body, headers=limited)
        assert "only the token bound to renderer" in problem(refused, 403, "forbidden")["detail"]
        own_home.aorch("tokens", "revoke", "bound")
        wait_for(lambda: server.post("/v1/work/leases", json=body, headers=bound).status_code == 401)
        worker = HttpWorker(server, headers=limited)
        rights = server.get("/v1/", headers=limited).json()
        assert (rights["scopes"], rights["capabilities"]) == (["work"], ["render", "render_again"])
        worker.headers = other
        for answer in (worker.claim(), worker.post("renew", {}), server.client.delete(worker.path, headers=other)):
            problem(answer, 403, "forbidden")


def test_the_id_of_a_response_must_be_a_ulid(server: Server) -> None:
    worker, contract_id = HttpWorker(server), queue(server)
    worker.take()
    assert "must be a ULID" in problem(worker.report(contract_id, "x"), 422, "parameters_invalid")["detail"]
    worker.report(contract_id)


def test_the_body_of_a_lease_is_checked(server: Server) -> None:
    for different in ({"lease_s": 0}, {"worker": ""}, {"agents": [{"agent_id": ""}]}):
        body = {"worker": "w", "agents": [RENDERER], **different}
        problem(server.post("/v1/work/leases", json=body), 422, "parameters_invalid")


def test_a_response_id_that_another_contract_has_is_refused(server: Server) -> None:
    worker, contract_id = HttpWorker(server), queue(server)
    worker.take()
    refused = worker.report(contract_id, contract_id)
    assert "another contract has the ID" in problem(refused, 409, "conflict")["detail"]
    assert worker.report(contract_id).status_code == 200


@pytest.mark.parametrize(("agent_id", "capability"), [("orchestrator", "render"), ("renderer", "memory.note")])
def test_a_worker_cannot_offer_what_only_aorch_has(server: Server, agent_id: str, capability: str) -> None:
    body = {"worker": "w", "agents": [{"agent_id": agent_id, "capabilities": [{"name": capability}]}]}
    assert "is reserved" in problem(server.post("/v1/work/leases", json=body), 409, "conflict")["detail"]


def test_a_worker_acts_only_as_agents_that_it_offers(server: Server) -> None:
    worker = HttpWorker(server)
    other = [{"capability": "render", "free": 1, "agents": {"orchestrator": {"free": 1}}}]
    refused = worker.post("claim", {"capacities": other, "wait_s": 0})
    assert "does not offer the agent 'orchestrator'" in problem(refused, 422, "parameters_invalid")["detail"]
    contract_id = queue(server)
    worker.take()
    attempt = {"contract_id": contract_id, "number": 1, "agent_id": "nobody", "started_at": "2026-01-01T00:00:00Z"}
    for refused in (worker.report(contract_id, agent_id="nobody"), worker.post("progress", {"attempts": [attempt]})):
        assert "does not offer the agent 'nobody'" in problem(refused, 422, "parameters_invalid")["detail"]
    assert worker.report(contract_id).status_code == 200


def test_a_report_contains_only_what_a_worker_can_know(home: Home, server: Server) -> None:
    worker, contract_id = HttpWorker(server), queue(server)
    worker.take()
    refused = worker.report(contract_id, error="no")
    assert "a completed task has no 'error'" in problem(refused, 422, "parameters_invalid")["detail"]
    mark = {"at": "2026-01-01T00:00:00Z", "by": "x", "reason": "", "erasure_id": "y"}
    false = {"duration_ms": "abc", "caller": {"id": "1", "name": "root"}, "erased": mark, "code": 5}
    assert worker.report(contract_id, metadata={**false, "tokens": 5, "exit_code": 0}).status_code == 200
    assert home.rows("SELECT metadata FROM contracts WHERE request_id = ?", contract_id) == [
        ('{"tokens":5,"exit_code":0}',)
    ]
