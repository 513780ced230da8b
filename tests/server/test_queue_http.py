"""GET /v1/queue: numbers, groups and tasks of the queue."""

import pytest
import shared
from serving import Server

home, server = shared.home, shared.server


def test_the_queue_has_numbers_groups_and_tasks(server: Server) -> None:
    task = {
        "capability": "echo",
        "session_id": "queue",
        "parameters": {"text": "hi"},
        "not_before": "2999-01-01T00:00:00Z",
    }
    queued = server.post("/v1/tasks", json={**task, "priority": 2}).json()
    found = server.get("/v1/queue").json()
    (listed,) = (each for each in found["tasks"] if each["contract_id"] == queued["contract_id"])
    assert (listed["state"], listed["priority"], listed["not_before"]) == ("scheduled", 2, "2999-01-01T00:00:00.000Z")
    assert found["scheduled"] >= 1
    assert {"capability": "echo", "priority": 2, "queued": 0, "scheduled": 1, "running": 0, "oldest_at": None} in found[
        "groups"
    ]
    server.post(f"/v1/tasks/{queued['contract_id']}/cancel")
    assert queued["contract_id"] not in [each["contract_id"] for each in server.get("/v1/queue").json()["tasks"]]


@pytest.mark.parametrize("query", ["limit=0", "cursor=1"])
def test_an_invalid_query_is_rejected(server: Server, query: str) -> None:
    assert server.get(f"/v1/queue?{query}").status_code == 422
