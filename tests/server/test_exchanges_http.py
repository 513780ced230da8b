"""GET /v1/exchanges: one object per exchange, newest first, in pages."""

from urllib.parse import urlencode

import pytest
import shared
from api import ask
from homes import Home
from serving import Server, serving
from tokens import new_bearer

home, server = shared.home, shared.server


def test_an_exchange_is_one_object_with_its_agent_duration_and_result(server: Server) -> None:
    done = ask(server, session="one").json()
    (exchange,) = server.get("/v1/exchanges?session_id=one").json()["exchanges"]
    assert exchange["request_id"] == done["contract_id"]
    assert exchange["result"] == done["data"] == {"message": "Echo: hi"}
    assert exchange["duration_ms"] >= 0
    shown = server.get(f"/v1/contracts/{exchange['request_id']}").json()
    assert exchange["response_id"] == shown["counterpart"]["contract_id"]
    assert exchange["created_at"] == shown["created_at"]
    assert (exchange["agent_id"], exchange["attempts"], exchange["error"]) == ("agent_example_001", 1, None)


def test_failed_exchanges_are_found_by_their_error(server: Server) -> None:
    ask(server, session="errors")
    failed = ask(server, "fail", session="errors").json()
    page = server.get("/v1/exchanges", params={"session_id": "errors", "failed": "true"}).json()
    assert page == server.get("/v1/exchanges", params={"session_id": "errors", "error": "NO SUCH TABLE"}).json()
    (exchange,) = page["exchanges"]
    assert (exchange["error"], exchange["status"], exchange["code"]) == (failed["error"], "failed", "agent_failed")
    assert server.get("/v1/exchanges", params={"session_id": "errors", "error": "hello"}).json()["exchanges"] == []


@pytest.mark.parametrize("filters", [{}, {"text": "number"}, {"capability": "echo"}])
def test_pages_follow_each_other_from_the_newest_exchange(server: Server, filters: dict[str, str]) -> None:
    session = f"paged {filters}"
    texts = [{"text": f"number {number}"} for number in range(5)]
    sent = [ask(server, session=session, parameters=text).json()["contract_id"] for text in texts]
    query = urlencode({"session_id": session, "limit": "2", **filters})
    seen: list[str] = []
    following: str | None = f"/v1/exchanges?{query}"
    while following:
        response = server.get(following)
        seen += [exchange["request_id"] for exchange in response.json()["exchanges"]]
        following = response.links["next"]["url"] if "next" in response.links else None
        assert (response.json()["next"] is None) == (following is None)
    assert seen == sent[::-1]


def test_a_search_without_a_word_finds_nothing(server: Server) -> None:
    ask(server, session="no words")
    assert server.get("/v1/exchanges?text=%E2%80%A6").json() == {"exchanges": [], "last": None, "next": None}


@pytest.mark.parametrize("query", ["failed=1", "status=done", "cursor=x", "limit=0", "before=3", "since=5m"])
def test_an_invalid_filter_is_rejected(server: Server, query: str) -> None:
    response = server.get(f"/v1/exchanges?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "parameters_invalid")


def test_the_caller_is_the_name_of_the_token(own_home: Home) -> None:
    nightly = new_bearer(own_home, "nightly", "--scope", "run", "--scope", "read")
    sender = new_bearer(own_home, "sender", "--scope", "run")
    with serving(own_home) as server:
        for headers in (nightly, sender):
            assert ask(server, session="told", headers=headers).status_code == 200
        names = [each["caller"] for each in server.get("/v1/exchanges", headers=nightly).json()["exchanges"]]
        assert names == ["sender", "nightly"]
        (one,) = server.get("/v1/exchanges?caller=sender", headers=nightly).json()["exchanges"]
        assert one["caller"] == "sender"
        assert server.get("/v1/exchanges", headers=sender).status_code == 403
