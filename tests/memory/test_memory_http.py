"""POST /v1/compress and GET /v1/sessions/{session_id}/memory, on a real server."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import shared
from api import ask, problem, with_agents
from doubles import running
from homes import Home, home_with_ledger
from memagent_double import MemAgentDouble
from memory_homes import incident_4711, take_in
from serving import Server, serving
from waiting import WAIT_S, wait_for

from aorch.ledger.database import exclusive

SESSION = "incident-4711"
AWKWARD = ["a/b", "a b?c#d%e", "数据 \U0001f600", "../../etc", "a\nb", "%2F"]


home, server = shared.home, shared.server


@pytest.fixture
def own_home(tmp_path: Path, made_ledger: Path) -> Home:
    """A home for one test, with agents and a session in its ledger."""
    own_home = with_agents(home_with_ledger(tmp_path, made_ledger))
    take_in(own_home, incident_4711())
    return own_home


@pytest.fixture
def own_server(own_home: Home) -> Iterator[Server]:
    """A server in that home."""
    with serving(own_home) as server:
        yield server


def compress(server: Server, session: str = SESSION, **more: Any) -> httpx.Response:
    return server.post("/v1/compress", json={"session_id": session, **more})


def memory(server: Server, session: str = SESSION, **query: Any) -> httpx.Response:
    return server.get(f"/v1/sessions/{quote(session, safe='')}/memory", params=query)


def test_a_session_can_be_compressed_and_its_memory_read(own_server: Server) -> None:
    answer = compress(own_server, intent="Testing echo and uppercase").json()
    assert list(answer) == ["status", "session_id", "compressed", "memory_block", "error"]
    assert (answer["status"], answer["compressed"], answer["error"]) == ("ok", len(incident_4711()), None)
    assert answer["memory_block"]["intent"] == "Testing echo and uppercase"
    assert memory(own_server).json() == {"session_id": SESSION, "blocks": [answer["memory_block"]], "next": None}
    again = compress(own_server).json()
    assert (again["status"], again["compressed"], again["memory_block"]) == ("ok", 0, None)


def test_the_memory_is_returned_as_a_prompt_within_max_tokens(own_server: Server) -> None:
    compress(own_server)
    said = memory(own_server, **{"as": "prompt", "max_tokens": 128}).json()
    assert list(said) == ["session_id", "text", "cites"]
    assert 0 < len(said["text"]) <= 4 * 128
    assert set(said["cites"]) <= {
        contract["contract_id"] for contract in own_server.get("/v1/contracts").json()["contracts"]
    }


def test_blocks_are_returned_in_pages(own_server: Server) -> None:
    compress(own_server)
    ask(own_server, session=SESSION)
    compress(own_server)
    first = memory(own_server, limit=1)
    assert [block["covered"]["count"] for block in first.json()["blocks"]] == [len(incident_4711())]
    following = own_server.get(httpx.URL(first.links["next"]["url"])).json()
    assert [block["covered"]["count"] for block in following["blocks"]] == [2]
    assert following["next"] is None


def test_blocks_of_all_sessions_come_newest_first_and_their_claims_are_found(own_server: Server) -> None:
    compress(own_server, intent="The Rollback")
    ask(own_server, session="another")
    compress(own_server, "another", intent="A greeting")
    first = own_server.get("/v1/memory?limit=1")
    assert [block["session_id"] for block in first.json()["blocks"]] == ["another"]
    (older,) = own_server.get(first.links["next"]["url"]).json()["blocks"]
    assert older["session_id"] == SESSION
    assert own_server.get(f"/v1/memory?session_id={SESSION}").json() == {"blocks": [older], "next": None}
    claims = own_server.get("/v1/memory/search", params={"text": "ROLLBACK"}).json()["claims"]
    assert claims[0]["section"] == "intent"
    assert {claim["block_id"] for claim in claims} == {older["block_id"]}
    page = own_server.get("/v1/memory/search", params={"text": "e", "limit": 1}).json()
    assert {claim["session_id"] for claim in page["claims"]} == {"another"}
    rest = own_server.get("/v1/memory/search", params={"text": "e", "cursor": page["next"]}).json()
    assert {claim["session_id"] for claim in rest["claims"]} == {SESSION}
    assert rest["next"] is None


@pytest.mark.parametrize(
    "path", ["/v1/memory?cursor=mem_1", "/v1/memory/search", "/v1/memory/search?text=", "/v1/memory?text=x"]
)
def test_an_invalid_question_about_memory_is_rejected(server: Server, path: str) -> None:
    problem(server.get(path), 422, "parameters_invalid")


@pytest.mark.parametrize("session", AWKWARD)
def test_any_session_id_works_percent_encoded(server: Server, session: str) -> None:
    assert ask(server, session=session).status_code == 200
    assert compress(server, session).json()["compressed"] == 2
    said = memory(server, session).json()
    assert said["session_id"] == session
    assert len(said["blocks"]) == 1


def test_an_unknown_session_is_a_404_and_a_session_without_blocks_an_empty_list(own_server: Server) -> None:
    problem(compress(own_server, "nobody"), 404, "not_found")
    problem(memory(own_server, "nobody"), 404, "not_found")
    assert memory(own_server).json()["blocks"] == []
    assert memory(own_server, **{"as": "prompt"}).json() == {"session_id": SESSION, "text": "", "cites": []}


@pytest.mark.parametrize("more", [{"max_tokens": 3}, {"via": "fax"}, {"intent": 3}, {"session_id": ""}])
def test_an_invalid_request_is_rejected(server: Server, more: dict[str, Any]) -> None:
    assert server.post("/v1/compress", json={"session_id": SESSION, **more}).status_code == 422


def test_via_llm_without_a_configured_model_is_rejected(server: Server) -> None:
    ask(server, session="no model")
    problem(compress(server, "no model", via="llm"), 403, "llm_off")


def test_reading_needs_the_scope_read_and_compressing_the_scope_run(own_home: Home) -> None:
    own_home.write("tokens", "reader-of-the-ledger read\nrunner-of-the-tasks run\n").chmod(0o600)
    with serving(own_home, "--token-file", "tokens") as server:
        for token, compresses, reads in (("reader-of-the-ledger", 403, 200), ("runner-of-the-tasks", 200, 403)):
            headers = {"Authorization": f"Bearer {token}"}
            done = server.post("/v1/compress", json={"session_id": SESSION}, headers=headers)
            assert done.status_code == compresses
            assert server.get(f"/v1/sessions/{SESSION}/memory", headers=headers).status_code == reads


def test_the_server_responds_during_a_compression_and_a_second_one_waits(own_home: Home) -> None:
    with running(MemAgentDouble("held")) as double:
        own_home.environment["MEMAGENT_URL"] = double.url
        with serving(own_home) as server:
            done: list[httpx.Response] = []
            threads = [threading.Thread(target=lambda: done.append(compress(server))) for _ in range(2)]
            for thread in threads:
                thread.start()
            wait_for(double.compressing.is_set)
            assert server.get("/v1/health").status_code == 200
            assert ask(server, session="elsewhere").status_code == 200
            assert done == []
            double.release.set()
            for thread in threads:
                thread.join(WAIT_S)
    assert sorted(answer.json()["compressed"] for answer in done) == [0, len(incident_4711())]


@pytest.mark.torture
def test_waiting_too_long_for_another_compression_is_a_409(own_home: Home, own_server: Server) -> None:
    with exclusive(own_home.ledger, "compress"):
        refused = own_server.post("/v1/compress", json={"session_id": SESSION}, timeout=60)
    problem(refused, 409, "conflict")


def test_memory_is_corrected_over_http_with_the_scope_run(own_home: Home) -> None:
    own_home.write(
        "tokens", "reader-of-the-ledger read\nrunner-of-the-tasks run\nboth-of-these-scopes run,read\n"
    ).chmod(0o600)
    with serving(own_home, "--token-file", "tokens") as server:
        reader, runner, both = (
            {"Authorization": f"Bearer {token}"}
            for token in ("reader-of-the-ledger", "runner-of-the-tasks", "both-of-these-scopes")
        )
        aim = server.post("/v1/compress", json={"session_id": SESSION}, headers=both).json()["memory_block"]["aims"][0]
        wanted = {"claim_id": aim["claim_id"]}
        for path in ("pin", "forget"):
            assert server.post(f"/v1/memory/{path}", json=wanted, headers=reader).status_code == 403
        assert server.post("/v1/memory/pin", json=wanted, headers=both).json()["text"] == aim["text"]
        pinned = server.post("/v1/memory/pin", json=wanted, headers=runner).json()
        assert (pinned["action"], pinned["text"], pinned["contract_ids"]) == ("pin", None, aim["contract_ids"])
        note = {"session_id": SESSION, "text": "Ann agreed."}
        noted = server.post("/v1/memory/note", json=note, headers=runner).json()
        first = server.get("/v1/memory/corrections", params={"limit": 1}, headers=reader)
        (following,) = server.get(httpx.URL(first.links["next"]["url"]), headers=reader).json()["corrections"]
        assert [first.json()["corrections"][0]["contract_id"], following["contract_id"]] == [
            pinned["contract_id"],
            noted["contract_id"],
        ]
        undone = f"/v1/memory/corrections/{noted['contract_id']}"
        assert server.client.delete(undone, headers=runner).status_code == 200
        problem(server.client.delete(undone, headers=runner), 404, "not_found")
        problem(server.post("/v1/memory/pin", json={"claim_id": "clm_x"}, headers=runner), 404, "not_found")
        assert server.get("/v1/memory/corrections", headers=runner).status_code == 403


@pytest.mark.parametrize("limit", ["capabilities=render", "agent=renderer"])
def test_a_token_with_the_limits_of_a_worker_cannot_correct_memory(own_home: Home, limit: str) -> None:
    own_home.write("tokens", f"token-of-the-worker work,run {limit}\n").chmod(0o600)
    with serving(own_home, "--token-file", "tokens") as server:
        server.client.headers["Authorization"] = "Bearer token-of-the-worker"
        note = {"session_id": SESSION, "text": "Ann agreed."}
        for path, body in (("note", note), ("pin", {"claim_id": "clm_x"}), ("forget", {"claim_id": "clm_x"})):
            refused = server.post(f"/v1/memory/{path}", json=body)
            assert "cannot correct memory" in problem(refused, 403, "forbidden")["detail"]
        problem(server.client.delete("/v1/memory/corrections/01KFV70HW83SYH1HAX57ZG0001"), 403, "forbidden")
