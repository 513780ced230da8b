"""Batches, retries and resumed tasks over HTTP: each line and each retry is executed once, whoever sends it again."""

from typing import Any

import pytest
import shared
from api import problem
from homes import Home
from serving import Server, serving
from tokens import new_bearer

FLAKY = """
[agents.flaky]
command = ["sh", "-c", "echo x >> $0-runs; test -e $0", "{name}"]
capabilities.flaky = {}
"""


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    """The home of the shared server, with an agent that fails until a file exists."""
    module_home.write("aorch.toml", FLAKY)
    return module_home


server = shared.server


def runs(home: Home, name: str) -> int:
    """How often the agent was called with that name."""
    return len((home.folder / f"{name}-runs").read_text().split())


def failed(server: Server, name: str, session: str) -> str:
    """The ID of a failed task."""
    body = {"capability": "flaky", "session_id": session, "parameters": {"name": name}}
    return str(server.post("/v1/orchestrate", json=body).json()["contract_id"])


@pytest.mark.parametrize("action", ["resume", "retry"])
def test_a_task_is_run_again_once_for_each_key_and_once_in_all(server: Server, home: Home, action: str) -> None:
    first, key = failed(server, action, action), {"Idempotency-Key": f'"{action}"', "Accept": "text/event-stream"}
    sent = [server.post(f"/v1/tasks/{first}/{action}", json={}, headers=key) for _ in range(2)]
    assert [each.status_code for each in sent] == [200, 200]
    assert "event: replayed" in sent[1].text
    assert runs(home, action) == 2
    again = {"last_try": first} if action == "retry" else {}
    refused = problem(server.post(f"/v1/tasks/{first}/{action}", json=again), 409, "conflict")
    assert "retried already" in refused["detail"] or "was resumed by" in refused["detail"]
    assert runs(home, action) == 2


def test_a_retried_task_can_wait_in_the_queue_with_its_priority(server: Server, home: Home) -> None:
    generation = server.post("/v1/batches", json={"name": "urgent"}).json()["generation"]
    line = {
        "capability": "flaky",
        "session_id": "urgent",
        "parameters": {"name": "u"},
        "key": "a",
        "line": "a",
        "priority": 1,
    }
    first = server.post(f"/v1/batches/{generation}/lines", json=line).json()
    assert first["success"] is False
    home.write("u", "")
    queued = server.post(f"/v1/tasks/{first['contract_id']}/retry", json={})
    assert queued.status_code == 202
    done = server.get(queued.headers["Location"], params={"wait_s": 30}).json()
    assert done["status"] == "completed"
    metadata = server.get(f"/v1/contracts/{done['contract_id']}").json()["metadata"]
    assert (metadata["retry_of"], metadata["line"], metadata["priority"]) == (first["contract_id"], "a", 1)
    nothing = problem(server.post(f"/v1/tasks/{first['contract_id']}/retry", json={}), 409, "conflict")
    assert "there is nothing to retry" in nothing["detail"]


def test_a_line_is_executed_once_in_its_run_of_the_batch(server: Server, home: Home) -> None:
    home.write("once", "")
    opened = server.post("/v1/batches", json={"name": "nightly"})
    path = f"/v1/batches/{opened.json()['generation']}/lines"
    line = {"capability": "flaky", "session_id": "lines", "parameters": {"name": "once"}, "key": "1"}
    first, second, third = (server.post(path, json={**line, "resume": resume}) for resume in (False, True, False))
    assert (opened.status_code, first.status_code, runs(home, "once")) == (201, 200, 1)
    assert first.json() == second.json() == third.json()
    assert [each.headers.get("Idempotency-Replayed") for each in (first, second, third)] == [None, "true", "true"]
    problem(server.post(path, json={**line, "key": "erased:1"}), 422, "parameters_invalid")
    assert server.client.delete(f"/v1/contracts/{first.json()['contract_id']}/content").status_code == 200
    for resume in (False, True):
        problem(server.post(path, json={**line, "resume": resume}), 410, "content_erased")
    assert runs(home, "once") == 1
    resumed = server.post("/v1/batches", json={"name": "nightly", "resume": True})
    assert (resumed.status_code, resumed.json()) == (200, opened.json())
    problem(server.post("/v1/batches", json={"name": "never", "resume": True}), 404, "not_found")
    problem(server.post("/v1/batches/x/lines", json=line), 422, "parameters_invalid")


def test_unfinished_tasks_come_in_pages(server: Server) -> None:
    ids = [failed(server, f"page{number}", "pages") for number in range(3)]
    found: list[Any] = []
    page = server.get("/v1/sessions/pages/unfinished", params={"limit": 2}).json()
    while True:
        found += page["tasks"]
        if page["next"] is None:
            break
        page = server.get("/v1/sessions/pages/unfinished", params={"limit": 2, "cursor": page["next"]}).json()
    assert [each["contract_id"] for each in found] == [each["last_try"] for each in found] == ids
    assert found[0]["parameters"] == {"name": "page0"}


def test_a_plan_runs_and_records_nothing(server: Server, home: Home) -> None:
    body = {"capability": "flaky", "session_id": "plans", "parameters": {"name": "planned"}}
    planned = server.post("/v1/orchestrate/plan", json=body).json()
    assert (planned["agent_id"], "planned" in planned["preview"]["command"]) == ("flaky", True)
    assert not (home.folder / "planned-runs").exists()
    problem(server.get("/v1/sessions/plans"), 404, "not_found")


def test_a_token_needs_the_scope_run_to_run_tasks_again_and_read_for_plans(own_home: Home) -> None:
    own_home.write("aorch.toml", FLAKY)
    reads, runs_only = new_bearer(own_home, "reads", "--scope", "read"), new_bearer(own_home, "runs", "--scope", "run")
    body = {"capability": "flaky", "session_id": "scopes", "parameters": {"name": "scopes"}}
    with serving(own_home) as server:
        first = server.post("/v1/orchestrate", json=body, headers=runs_only).json()["contract_id"]
        for path in (f"/v1/tasks/{first}/resume", f"/v1/tasks/{first}/retry", "/v1/batches"):
            problem(server.post(path, json={"name": "b"}, headers=reads), 403, "forbidden")
        problem(server.post("/v1/orchestrate/plan", json=body, headers=runs_only), 403, "forbidden")
        problem(server.get("/v1/sessions/scopes/unfinished", headers=runs_only), 403, "forbidden")
        queued = server.post(f"/v1/tasks/{first}/retry", json={}, headers=runs_only)
        assert (queued.status_code, queued.json()["answer"]) == (202, None)
