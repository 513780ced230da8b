"""Steps of pipelines of workers over HTTP, as the server keeps them: a worker writes and reads those of its own tasks only."""

from typing import Any

import shared
from api import problem
from homes import Home
from http_worker import HttpWorker, queue, task
from serving import Server, serving
from tokens import new_bearer

from aorch.ids import new_id
from aorch.ledger.tried_steps import step_key

home, server = shared.home, shared.server


def step(contract_id: str, **more: Any) -> dict[str, Any]:
    return {
        "contract_id": contract_id,
        "from_agent": "renderer",
        "agent_id": "renderer",
        "capability": "render_again",
        "parameters": {"text": "a"},
        "metadata": {"step": "draw", "index": 1, "queue": {"idempotent": True}, "caller": "x", "retry_of": "y"},
    } | more


def claimed(server: Server) -> tuple[HttpWorker, str]:
    """A worker that has claimed a task, and the task."""
    worker, contract_id = HttpWorker(server), queue(server)
    assert worker.take() == [contract_id]
    return worker, contract_id


def write(worker: HttpWorker, contract_id: str, step_id: str, **more: Any) -> Any:
    return worker.post(f"tasks/{contract_id}/steps", step(step_id, **more))


def test_a_step_is_a_child_of_its_task_and_is_reported_as_a_task(home: Home, server: Server) -> None:
    (worker, contract_id), step_id = claimed(server), new_id()
    for _ in range(2):
        assert write(worker, contract_id, step_id, waits=True).json() == {"contract_id": step_id, "status": "pending"}
    assert write(worker, contract_id, step_id).json()["status"] == "in_progress"
    assert write(worker, contract_id, step_id, waits=True).json()["status"] == "in_progress"
    recorded = server.get(f"/v1/contracts/{step_id}").json()
    assert (recorded["parent_id"], recorded["session_id"], recorded["metadata"]) == (
        contract_id,
        task(server, contract_id)["session_id"],
        {"step": "draw", "index": 1},
    )
    assert worker.report(step_id).json()["status"] == "completed"
    listed = worker.get(f"tasks/{contract_id}/steps", from_agent="renderer").json()["steps"]
    assert [(each["contract_id"], each["status"], each["running"]) for each in listed] == [
        (step_id, "completed", False)
    ]
    assert listed[0]["key"] == step_key("draw", 1, "render_again", '{"text":"a"}')
    assert worker.get(f"tasks/{contract_id}/steps/{step_id}").json() == {"contract_id": step_id, "result": {"ok": 1}}
    worker.report(contract_id)
    problem(write(worker, contract_id, new_id()), 409, "lease_lost")


def test_the_steps_of_a_lease_that_ends_are_interrupted(server: Server) -> None:
    (worker, contract_id), (running, waiting) = claimed(server), (new_id(), new_id())
    write(worker, contract_id, running)
    write(worker, contract_id, waiting, waits=True)
    server.client.delete(worker.path)
    errors = [task(server, each)["answer"]["error"] for each in (running, waiting)]
    assert errors[0].endswith("lost the connection to the server before renderer answered")
    assert errors[1].endswith("lost the connection to the server before renderer was called")


def test_a_step_that_no_agent_got_is_recorded_with_its_error(server: Server) -> None:
    (worker, contract_id), step_id = claimed(server), new_id()
    refusal = {"response_id": new_id(), "error": "No agent", "metadata": {"code": "no_agent"}}
    for _ in range(2):
        written = write(worker, contract_id, step_id, agent_id=None, capability="fly", refusal=refusal)
        assert written.json()["status"] == "failed"
    assert task(server, step_id)["answer"]["error"] == "No agent"
    worker.report(contract_id)


def test_a_step_that_asks_for_its_own_task_is_refused_and_recorded(server: Server) -> None:
    worker, step_id = HttpWorker(server), new_id()
    contract_id = queue(server, "render_again", parameters={"text": "a"})
    worker.take()
    problem(write(worker, contract_id, step_id), 422, "delegation_refused")
    assert "a cycle" in task(server, step_id)["answer"]["error"]
    worker.report(contract_id)


def test_an_earlier_step_is_resumed_once_and_only_by_its_pipeline(server: Server) -> None:
    worker, contract_id = claimed(server)
    first, foreign = new_id(), queue(server, session_id="other", not_before="2999-01-01T00:00:00Z")
    write(worker, contract_id, first)
    worker.report(first, status="failed", error="no", result=None)
    resumes = {"metadata": {"step": "draw", "resumes": first}}
    second = new_id()
    assert [write(worker, contract_id, second, **resumes).status_code for _ in range(2)] == [200, 200]
    problem(write(worker, contract_id, new_id(), **resumes), 409, "conflict")
    problem(write(worker, contract_id, new_id(), metadata={"resumes": foreign}), 404, "not_found")
    problem(worker.get(f"tasks/{contract_id}/steps/{foreign}"), 404, "not_found")
    problem(write(worker, contract_id, foreign), 409, "conflict")
    other, others_task = claimed(server)
    write(other, others_task, others := new_id())
    problem(worker.get(f"tasks/{others_task}/steps/{others}"), 409, "lease_lost")
    for each, of in ((worker, second), (worker, contract_id), (other, others), (other, others_task)):
        each.report(of)
    server.post(f"/v1/tasks/{foreign}/cancel")


def test_a_token_limits_the_steps_of_a_worker(own_home: Home) -> None:
    limited = new_bearer(own_home, "gpu", "--scope", "work", "--capability", "render", "--capability", "render_again")
    admin = new_bearer(own_home, "admin", "--scope", "admin")
    with serving(own_home) as server:
        worker = HttpWorker(server, headers=limited)
        body = {"session_id": "s", "capability": "render", "parameters": {"text": "x"}}
        contract_id = server.post("/v1/tasks", json=body, headers=admin).json()["contract_id"]
        worker.take()
        problem(write(worker, contract_id, new_id(), capability="echo"), 403, "forbidden")
        problem(write(worker, contract_id, new_id(), agent_id="other"), 422, "parameters_invalid")
        assert write(worker, contract_id, new_id()).status_code == 200
