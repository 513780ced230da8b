"""GET /v1/sessions by last activity, and the delegation trees of a session."""

import pytest
import shared
from api import ask, problem
from homes import Home
from rows import put, request, response
from serving import Server

home, server = shared.home, shared.server


def test_sessions_come_by_last_activity_in_pages(server: Server) -> None:
    for name in ("quiet", "busy", "quiet 2", "busy"):
        ask(server, "fail" if name == "busy" else "echo", session=name)
    first = server.get("/v1/sessions?order=last_at&limit=2")
    assert [each["session_id"] for each in first.json()["sessions"]] == ["busy", "quiet 2"]
    assert [each["failed"] for each in first.json()["sessions"]] == [2, 0]
    second = server.get(first.links["next"]["url"]).json()["sessions"]
    assert second[0]["session_id"] == "quiet"


@pytest.mark.parametrize("query", ["order=name", "order=last_at&cursor=quiet", "order=last_at&cursor=%D9%A3"])
def test_an_invalid_order_or_cursor_is_rejected(server: Server, query: str) -> None:
    problem(server.get(f"/v1/sessions?{query}"), 422, "parameters_invalid")


def test_a_tree_shows_who_delegated_what_and_when(home: Home, server: Server) -> None:
    root = request("tree/1", contract_id="ROOT", status="failed")
    child = request("tree/1", contract_id="CHILD", parent_id="ROOT", from_agent="ann")
    waits = request("tree/1", status="pending")
    put(home.ledger, root, child, response(child), response(root, error="no"), waits)
    page = server.get("/v1/sessions/tree%2F1/tree?limit=1").json()
    assert (page["session_id"], len(page["roots"])) == ("tree/1", 1)
    (top,) = page["roots"]
    assert (top["contract_id"], top["status"], top["error"]) == ("ROOT", "failed", "no")
    (below,) = top["children"]
    assert (below["contract_id"], below["from_agent"], below["duration_ms"]) == ("CHILD", "ann", 1.5)
    assert below["created_at"] == child.created_at
    (waiting,) = server.get(f"/v1/sessions/tree%2F1/tree?cursor={page['next']}").json()["roots"]
    assert (waiting["status"], waiting["completed_at"]) == ("pending", waits.completed_at)
    newest = server.get("/v1/sessions/tree%2F1/tree?order=desc").json()["roots"]
    assert [each["contract_id"] for each in newest] == [waiting["contract_id"], "ROOT"]


def test_an_unknown_session_has_no_tree(server: Server) -> None:
    problem(server.get("/v1/sessions/unknown/tree"), 404, "not_found")
