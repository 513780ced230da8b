"""The /v1 API over HTTP, from a real server in a separate process."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import shared
from api import ask, hold, problem
from homes import Home
from serving import Server

from aorch.ids import new_id

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


home, server = shared.home, shared.server


def session_of(server: Server, session: str, **query: Any) -> list[dict[str, Any]]:
    """The contracts of that session."""
    found: list[dict[str, Any]] = server.get("/v1/contracts", params={"session_id": session, **query}).json()[
        "contracts"
    ]
    return found


# Endpoints


def test_the_index_names_every_endpoint(server: Server) -> None:
    endpoints = server.get("/v1/").json()["endpoints"]
    for path in ("GET /v1/health", "POST /v1/orchestrate", "GET /v1/contracts/{contract_id}", "GET /v1/events"):
        assert path in endpoints
    assert endpoints.count("GET /metrics") == 1


def test_an_agent_shows_the_tasks_that_it_has_executed_here(home: Home, server: Server) -> None:
    before = server.get("/v1/agents/broken").json()
    assert (before["kind"], before["status"], before["problem"]) == ("command", "available", None)
    assert before["endpoint"].startswith("sh -c ")
    assert MOMENT.fullmatch(before["registered_at"])
    ask(server, "fail", session="counted")
    after = server.get("/v1/agents/broken").json()
    assert after["tasks_failed"] == before["tasks_failed"] + 1
    assert after["tasks_completed"] == 0
    assert after["last_heartbeat"] > before["registered_at"] == after["registered_at"]
    example = server.get("/v1/agents/agent_example_001").json()["tasks_completed"]
    ask(server, session="counted")
    assert server.get("/v1/agents/agent_example_001").json()["tasks_completed"] == example + 1


def test_an_unknown_agent_is_not_found(server: Server) -> None:
    assert "nobody" in problem(server.get("/v1/agents/nobody"), 404, "not_found")["detail"]


def test_contracts_come_oldest_first_in_pages_with_a_link_to_the_next(server: Server) -> None:
    asked = [ask(server, session="paged").json()["contract_id"] for _ in range(5)]
    seen, path, pages = [], "/v1/contracts?session_id=paged&limit=4", 0
    while path:
        response = server.get(path)
        page = response.json()
        assert page["total"] == 10
        seen += page["contracts"]
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        assert (link is None) == (page["next"] is None)
        path, pages = (link[1] if link else ""), pages + 1
    assert pages == 3
    assert [contract["contract_id"] for contract in seen if contract["contract_type"] == "REQUEST"] == asked
    newest = session_of(server, "paged", order="desc", limit=3)
    assert [each["contract_id"] for each in newest] == [each["contract_id"] for each in reversed(seen[-3:])]


def test_a_cursor_also_works_backwards(server: Server) -> None:
    for _ in range(2):
        ask(server, session="backwards")
    first = server.get("/v1/contracts?session_id=backwards&order=desc&limit=3").json()
    second = server.get(f"/v1/contracts?session_id=backwards&order=desc&limit=3&cursor={first['next']}").json()
    found = [contract["contract_id"] for contract in first["contracts"] + second["contracts"]]
    assert found == [contract["contract_id"] for contract in reversed(session_of(server, "backwards"))]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/contracts?session=team", "session_id, agent, from_agent"),
        ("/v1/sessions?session_id=s", "order, cursor, limit"),
        ("/v1/events?session=team", "session_id, last_event_id"),
        ("/v1/sessions/s/memory?form=prompt", "as, max_tokens"),
        ("/v1/tasks/01X?wait=3", "wait_s"),
    ],
)
def test_an_unknown_query_parameter_is_rejected(server: Server, path: str, known: str) -> None:
    """A mistyped filter would find everything."""
    said = problem(server.get(path), 422, "parameters_invalid")
    assert said["detail"] == f"query: unknown parameter {re.split('[?=]', path)[1]!r}"
    assert said["hint"].startswith(f"Known parameters: {known}")


def test_each_filter_finds_what_it_names(server: Server) -> None:
    ask(server, session="filtered", parameters={"text": "pomegranate"})
    ended = ask(server, "fail", session="filtered", from_agent="auditor").json()["timestamp"]

    def found(**query: Any) -> list[tuple[str, str]]:
        return [(each["contract_type"], each["capability"]) for each in session_of(server, "filtered", **query)]

    assert len(found()) == 4
    assert found(type="RESPONSE") == [("RESPONSE", "echo"), ("RESPONSE", "fail")]
    assert found(capability="fail") == [("REQUEST", "fail"), ("RESPONSE", "fail")]
    assert found(agent="auditor", type="REQUEST") == [("REQUEST", "fail")]
    assert found(status="failed") == [("REQUEST", "fail"), ("RESPONSE", "fail")]
    assert found(status="completed", text="pomegranate") == [("REQUEST", "echo"), ("RESPONSE", "echo")]
    assert found(until=ended) == [("REQUEST", "echo"), ("RESPONSE", "echo"), ("REQUEST", "fail")]
    assert found(since=ended) == [("RESPONSE", "fail")]
    assert found(until="0001-01-01T01:00:00+03:04") == found(since="9999-12-31T23:00:00-03:04") == []
    for query in ({}, {"status": "completed"}, {"status": "failed"}, {"capability": "fail"}):
        page = server.get("/v1/contracts", params=query).json()
        assert page["total"] == len(page["contracts"]), query


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "status=odd", "type=request", "since=yesterday", "cursor=-1", "order=up"],
)
def test_an_invalid_query_parameter_is_rejected_by_name(server: Server, query: str) -> None:
    said = problem(server.get(f"/v1/contracts?{query}"), 422, "parameters_invalid")
    assert query.partition("=")[0] in said["detail"]


def test_a_contract_comes_with_the_other_half_of_its_exchange(server: Server) -> None:
    ask(server, session="halves")
    asked, answered = session_of(server, "halves")
    assert server.get(f"/v1/contracts/{asked['contract_id']}").json() == {
        **asked,
        "counterpart": answered,
        "attempts": [],
    }
    assert server.get(f"/v1/contracts/{answered['contract_id']}").json() == {
        **answered,
        "counterpart": asked,
        "attempts": [],
    }


def test_a_contract_is_found_by_its_complete_id_only(server: Server) -> None:
    contract_id = ask(server, session="whole").json()["contract_id"]
    for part in (contract_id[:-1], contract_id[-8:], new_id(), "%00", "..%2f..%2fetc%2fpasswd", "%F0%9F%A6%89"):
        problem(server.get(f"/v1/contracts/{part}"), 404, "not_found")


def test_a_request_without_an_answer_has_no_counterpart(home: Home, server: Server) -> None:
    gate = home.folder / "no counterpart"
    os.mkfifo(gate)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(hold, server, gate, session="unanswered")
        with gate.open("w") as released:
            (asked,) = session_of(server, "unanswered")
            assert asked["status"] == "in_progress"
            assert server.get(f"/v1/contracts/{asked['contract_id']}").json() == {
                **asked,
                "counterpart": None,
                "attempts": [],
            }
            released.write("done")
        assert running.result().json()["data"] == {"text": "done"}


def test_sessions_come_sorted_in_pages(server: Server) -> None:
    for number in (3, 1, 2, 1):
        ask(server, session=f"sessions {number}")
    first = server.get("/v1/sessions", params={"cursor": "sessions", "limit": 2})
    assert [(each["session_id"], each["contracts"]) for each in first.json()["sessions"]] == [
        ("sessions 1", 4),
        ("sessions 2", 2),
    ]
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["Link"])
    assert link
    (third, *_) = server.get(link[1]).json()["sessions"]
    contracts = session_of(server, "sessions 3")
    assert third == {
        "session_id": "sessions 3",
        "contracts": 2,
        "exchanges": 1,
        "failed": 0,
        "open": 0,
        "first_at": contracts[0]["created_at"],
        "last_at": contracts[1]["created_at"],
    }
    assert server.get("/v1/sessions", params={"cursor": "\U0010ffff"}).json() == {"sessions": [], "next": None}


# What goes wrong


def test_a_failing_agent_gets_200_and_the_seed_s_fields(server: Server) -> None:
    response = ask(server, "fail", session="failing")
    answer = response.json()
    assert response.status_code == 200
    assert (answer["success"], answer["agent_id"]) == (False, "broken")
    assert "no such table" in answer["error"]
    asked, answered = session_of(server, "failing")
    assert (asked["contract_id"], asked["status"]) == (answer["contract_id"], "failed")
    assert answered["error"] == answer["error"]


def test_the_message_of_an_agent_that_reports_a_failure_is_returned(server: Server) -> None:
    answer = ask(server, "another_capability", session="own words").json()
    assert (answer["success"], answer["error"]) == (False, "Unknown capability: another_capability")


def test_a_capability_that_no_agent_has_is_not_found_and_is_in_the_ledger(server: Server) -> None:
    said = problem(ask(server, "ecko", session="nobody"), 404, "no_agent")
    assert said["detail"] == "No agent available for capability: ecko"
    assert "echo" in said["hint"]
    asked, answered = session_of(server, "nobody")
    assert (said["contract_id"], said["session_id"]) == (asked["contract_id"], "nobody")
    assert (asked["status"], answered["status"], asked["to_agent"]) == ("failed", "failed", None)


def test_a_capability_without_an_available_agent_gets_503(server: Server) -> None:
    response = ask(server, "absent", session="absent")
    assert "no-such-program" in problem(response, 503, "no_agent_available")["detail"]
    assert int(response.headers["Retry-After"]) > 0


def test_an_agent_that_is_too_slow_times_out(home: Home, server: Server) -> None:
    gate = home.folder / "never opened"
    os.mkfifo(gate)
    said = problem(hold(server, gate, session="slow", timeout_s=0.2), 504, "agent_timed_out")
    assert said["agent_id"] == "held"
    asked, answered = session_of(server, "slow")
    assert (asked["contract_id"], asked["status"], answered["status"]) == (said["contract_id"], "failed", "failed")


def test_invalid_parameters_are_rejected_by_name_before_the_agent_is_called(server: Server) -> None:
    said = problem(ask(server, session="unfit", parameters={"txt": "hi"}), 422, "parameters_invalid")
    assert "text" in said["detail"]
    assert [contract["status"] for contract in session_of(server, "unfit")] == ["failed", "failed"]


S = {"session_id": "s"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"parameters": {}, **S}, "capability"),
        ({"capability": "", **S}, "capability"),
        ({"capability": 3, **S}, "capability"),
        ({"capability": "echo", "parameters": [], **S}, "parameters"),
        ({"capability": "echo", "session_id": ""}, "session_id"),
        ({"capability": "echo"}, "session_id"),
        ({"capability": "echo", "session_id": None}, "session_id"),
        ({"capability": "echo", "timeout_s": 0, **S}, "timeout_s"),
        ({"capability": "echo", "timeout_s": "3", **S}, "timeout_s"),
        ([], "body"),
    ],
)
def test_an_invalid_field_is_rejected_by_name(server: Server, body: Any, field: str) -> None:
    said = problem(server.post("/v1/orchestrate", json=body), 422, "parameters_invalid")
    assert field in said["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"capability": "echo"', b"\xff", b"capability=echo", b'{"capability": nan}']
)
def test_a_body_that_is_not_json_is_a_bad_request(server: Server, body: bytes) -> None:
    response = server.post("/v1/orchestrate", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert problem(response, 400, response.json()["code"])


def test_a_body_that_is_nested_too_deeply_is_a_bad_request(server: Server) -> None:
    text = '{"capability": "echo", "parameters": {"text": %s}}'
    for deep in ("[" * 100 + "]" * 100, '{"a":' * 100 + "1" + "}" * 100, "[" * 300_000):
        response = server.post("/v1/orchestrate", content=text % deep, headers={"Content-Type": "application/json"})
        assert response.status_code == 400
    brackets = "[" * 1000
    assert ask(server, session="brackets", parameters={"text": f'\\"{brackets}'}).json()["success"] is True


def test_a_body_that_is_too_large_is_rejected(server: Server) -> None:
    response = ask(server, session="large", parameters={"text": "x" * 1024 * 1024})
    problem(response, 413, "too_large")
    assert session_of(server, "large") == []


def test_a_body_of_another_type_is_rejected(server: Server) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = server.post(
            "/v1/orchestrate", content=b'{"capability": "echo"}', headers={"Content-Type": content_type}
        )
        problem(response, 415, "not_json")


def test_a_repeated_query_parameter_is_rejected_by_name(server: Server) -> None:
    for path in ("/v1/contracts?session_id=a&session_id=b", "/v1/events?session_id=a&session_id=a"):
        assert "'session_id'" in problem(server.get(path), 422, "parameters_invalid")["detail"]


def test_an_unknown_path_or_method_gets_an_error(server: Server) -> None:
    problem(server.get("/v2/health"), 404, "no_route")
    refused = server.get("/v1/orchestrate")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["Allow"] == "POST"


def test_head_responds_like_get_without_the_body(server: Server) -> None:
    for path, status in (("/v1/health", 200), ("/v1/agents/parrot", 200), ("/v1/agents/nobody", 404)):
        told = server.client.head(path)
        assert (told.status_code, told.content) == (status, b"")
        assert told.headers["Content-Length"] == str(len(server.get(path).content))
    assert server.client.head("/v1/events").status_code == 405


# Who asks, and for what


def test_the_caller_s_trace_ids_are_in_the_contract_and_reach_the_agent(server: Server) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"X-Request-ID": "order-42", "traceparent": traceparent, "tracestate": "vendor=1"}
    response = ask(server, "parrot", session="traced", headers=headers, context={"locale": "de"})
    assert response.headers["X-Request-ID"] == "order-42"
    traced = {"request_id": "order-42", "traceparent": traceparent, "tracestate": "vendor=1"}
    asked, _ = session_of(server, "traced")
    assert {name: asked["metadata"][name] for name in traced} == traced
    assert asked["metadata"]["context"] == {"locale": "de"}
    assert response.json()["data"] == {
        "task_id": asked["contract_id"],
        "session_id": "traced",
        "capability": "parrot",
        "parameters": {"text": "hi"},
        "context": {"locale": "de"},
        "metadata": traced,
    }


def test_a_request_without_a_valid_id_gets_one(server: Server) -> None:
    for given in ({}, {"X-Request-ID": "two words"}, {"X-Request-ID": "x" * 129}):
        named = server.get("/v1/health", headers=given).headers["X-Request-ID"]
        assert re.fullmatch("[0-9A-Z]{26}", named)
    response = ask(server, session="renamed", headers={"X-Request-ID": "two words"})
    asked, _ = session_of(server, "renamed")
    assert asked["metadata"]["request_id"] == response.headers["X-Request-ID"]


def test_a_request_can_be_sent_on_behalf_of_another(server: Server) -> None:
    parent_id = ask(server, session="family").json()["contract_id"]
    ask(server, "uppercase", session="family", parent_id=parent_id)
    assert [each["parent_id"] for each in session_of(server, "family")] == [None, None, parent_id, parent_id]
    assert session_of(server, "family")[2]["from_agent"] == "agent_example_001"
    said = problem(ask(server, session="orphan", parent_id=new_id()), 422, "delegation_refused")
    assert "is not a REQUEST in the ledger" in said["detail"]


def test_texts_of_a_client_come_back_unchanged(server: Server) -> None:
    text = "naïve \u2028 \U0001f989 \\u0000 </script> ' OR 1=1 --"
    session = "../../s 'x' %00 \u202e"
    assert ask(server, session=session, parameters={"text": text}).json()["data"] == {"message": f"Echo: {text}"}
    assert session_of(server, session)[0]["payload"] == {"text": text}


def test_whole_numbers_of_any_size_come_back_exactly(server: Server) -> None:
    body = (
        b'{"capability": "parrot", "session_id": "whole numbers", "parameters": {"n": 123456789012345678901234567890}}'
    )
    response = server.post("/v1/orchestrate", content=body, headers={"Content-Type": "application/json"})
    assert response.json()["data"]["parameters"] == {"n": 123456789012345678901234567890}


@pytest.mark.parametrize("path", ["/v1/", "/v1/health", "/v1/agents", "/v1/nothing"])
def test_a_response_is_the_same_whether_the_connection_stays_open_or_closes(server: Server, path: str) -> None:
    """The first is written as one message, without aiohttp's own writer (server/fast_path.py)."""
    kept, ended = (
        server.get(path, headers={"X-Request-ID": "same", "Connection": kind}) for kind in ("keep-alive", "close")
    )
    assert kept.headers.pop("connection", None) is None
    assert ended.headers.pop("connection") == "close"
    assert kept.status_code == ended.status_code
    assert {**kept.headers, "date": ""} == {**ended.headers, "date": ""}
    assert re.sub(MOMENT, "", kept.text) == re.sub(MOMENT, "", ended.text)


def test_a_byte_order_mark_before_a_body_is_accepted_and_limits_are_finite(server: Server) -> None:
    body = b'{"capability": "echo", "session_id": "s", "parameters": {"text": "hi"}%s}'
    headers = {"Content-Type": "application/json"}
    marked = server.client.post("/v1/orchestrate", content=b"\xef\xbb\xbf" + body % b"", headers=headers)
    assert (marked.status_code, marked.json()["data"]) == (200, {"message": "Echo: hi"})
    for limit in (b"NaN", b"1e999", b"-Infinity"):
        refused = server.client.post("/v1/orchestrate", content=body % (b', "timeout_s": ' + limit), headers=headers)
        assert refused.status_code == 422
