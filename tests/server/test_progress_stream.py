"""POST /v1/orchestrate with `Accept: text/event-stream`: progress while the agent works, and then its result."""

import json
from collections.abc import Iterator

import pytest
from homes import Home
from python_agents import agent
from serving import Server, client_of, serving
from waiting import wait_for

BODY = """
for done in range(3):
    aorch.report_progress({'done': done, 'total': 3})
    await asyncio.sleep(0.01)
if task['parameters'].get('fail'):
    return {'success': False, 'error': 'no'}
if task['parameters'].get('late'):
    await asyncio.sleep(60)
return {'success': True, 'data': 'done'}
"""


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    agent(home, BODY, before="import aorch")
    with serving(home) as started:
        yield started


def events(server: Server, **task: object) -> list[tuple[str, dict[str, object]]]:
    """The events of one task: their names and data."""
    found = []
    body = {"session_id": "s", "capability": "work", **task}
    with server.client.stream("POST", "/v1/orchestrate", json=body, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        for part in b"".join(stream.iter_bytes()).decode().split("\n\n"):
            if not part.startswith(":") and part:
                name, data = part.split("\n")
                found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_progress_comes_before_the_result_or_the_problem(server: Server) -> None:
    *progress, (name, answer) = events(server)
    assert progress == [("progress", {"done": done, "total": 3}) for done in range(3)]
    assert (name, answer["data"], answer["success"]) == ("result", "done", True)
    name, answer = events(server, parameters={"fail": True})[-1]
    assert (name, answer["error"], answer["success"]) == ("result", "no", False)
    name, problem = events(server, parameters={"late": True}, timeout_s=0.2)[-1]
    assert (name, problem["code"], problem["status"]) == ("error", "agent_timed_out", 504)
    assert events(server, capability="nothing")[-1][1]["code"] == "no_agent"


def test_an_invalid_request_has_its_ordinary_response(server: Server) -> None:
    answer = server.post("/v1/orchestrate", json={"capability": "work"}, headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")


def test_a_task_goes_on_when_its_client_disconnects(server: Server, home: Home) -> None:
    body = {"session_id": "s", "capability": "work"}
    with (
        client_of(server.url) as client,
        client.stream("POST", "/v1/orchestrate", json=body, headers={"Accept": "text/event-stream"}) as stream,
    ):
        next(stream.iter_bytes())
    wait_for(lambda: home.rows("SELECT status FROM contracts WHERE contract_type = 'REQUEST'") == [("completed",)])


def test_a_server_that_stops_ends_the_stream_with_a_problem(home: Home) -> None:
    agent(home, BODY, before="import aorch")
    home.write("aorch.toml", f"{(home.folder / 'aorch.toml').read_text()}\n[serve]\ngrace_s = 0.1\n")
    with serving(home) as server:
        body = {"session_id": "s", "capability": "work", "parameters": {"late": True}}
        headers = {"Accept": "text/event-stream"}
        with server.client.stream("POST", "/v1/orchestrate", json=body, headers=headers) as stream:
            pieces = stream.iter_bytes()
            next(pieces)
            server.process.terminate()
            assert b'event: error\ndata: {"type"' in b"".join(pieces)
    assert home.rows("SELECT status FROM contracts WHERE contract_type = 'RESPONSE'") == [("cancelled",)]


def test_labels_are_required_over_http_too(server: Server) -> None:
    refused = server.post("/v1/orchestrate", json={"session_id": "s", "capability": "work", "require": {"gpu": "yes"}})
    assert (refused.status_code, refused.json()["code"]) == (404, "no_agent")
    assert "has the labels gpu=yes" in refused.json()["detail"]
