"""What a token allows; long polls and streams neither delay other requests nor outlive their token."""

import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from api import ask, hold, listening, problem
from homes import Home
from serving import Server, serving
from tokens import new_bearer
from waiting import WAIT_S, wait_for

Headers = dict[str, str]

FAR = "2099-01-01T00:00:00Z"


def later(server: Server, headers: Headers | None = None) -> str:
    """Queue a task that no worker starts today, and return its id."""
    task = {"capability": "echo", "session_id": "later", "parameters": {"text": "hi"}, "not_before": FAR}
    return str(server.post("/v1/tasks", json=task, headers=headers).json()["contract_id"])


def test_a_token_without_the_scope_read_sees_no_content_of_contracts(home: Home) -> None:
    runs, reads, both = (
        new_bearer(home, "runs", "--scope", "run"),
        new_bearer(home, "reads", "--scope", "read"),
        new_bearer(home, "b"),
    )
    with serving(home) as server:
        secret = ask(server, session="secret", parameters={"text": "hunter2"}, headers=both).json()["contract_id"]
        cancelled = server.post(f"/v1/tasks/{secret}/cancel", headers=runs)
        assert (cancelled.json()["status"], cancelled.json()["answer"]) == ("completed", None)
        compressed = server.post("/v1/compress", json={"session_id": "secret"}, headers=runs)
        assert (compressed.json()["compressed"], compressed.json()["memory_block"]) == (2, None)
        assert "hunter2" not in cancelled.text + compressed.text
        assert "hunter2" in server.post(f"/v1/tasks/{secret}/cancel", headers=both).text
        assert "hunter2" in server.get("/v1/sessions/secret/memory", headers=reads).text
        task = {"capability": "echo", "session_id": "own", "parameters": {"text": "swordfish"}}
        again = {**runs, "Idempotency-Key": "k"}
        accepted = server.post("/v1/tasks", json=task, headers=again).json()["contract_id"]
        server.get(f"/v1/tasks/{accepted}", params={"wait_s": 5}, headers=reads)
        replayed = server.post("/v1/tasks", json=task, headers=again)
        assert (replayed.headers["Idempotency-Replayed"], replayed.json()["status"]) == ("true", "completed")
        assert "swordfish" not in replayed.text


def test_only_the_bound_token_can_send_on_behalf_of_its_agent_s_requests_and_no_token_on_behalf_of_a_response(
    home: Home,
) -> None:
    bound = new_bearer(home, "parrot's", "--agent", "parrot")
    others, other = new_bearer(home, "broken's", "--agent", "broken"), new_bearer(home, "other")
    with serving(home) as server:
        asked = ask(server, "parrot", headers=other).json()["contract_id"]
        (answer,) = home.rows("SELECT contract_id FROM contracts WHERE request_id = ?", asked)[0]

        def below(headers: Headers, **body: Any) -> httpx.Response:
            return ask(server, session="below", headers=headers, **body)

        for named in ({}, {"from_agent": "eve"}, {"from_agent": "orchestrator"}):
            problem(below(other, parent_id=asked, **named), 403, "forbidden")
        problem(below(others, parent_id=asked), 403, "forbidden")
        problem(below(other, from_agent="broken"), 403, "forbidden")
        problem(below(bound, from_agent="broken"), 403, "forbidden")
        for headers in (bound, other):
            problem(below(headers, parent_id=answer, from_agent=None), 422, "delegation_refused")
        assert below(bound, parent_id=asked).json()["success"] is True


def test_long_polls_and_streams_delay_no_other_request_and_health_always_responds(home: Home) -> None:
    home.write("aorch.toml", (home.folder / "aorch.toml").read_text() + "[serve]\nmax_concurrent = 2\n")
    gates = [home.folder / name for name in ("one", "two")]
    for gate in gates:
        os.mkfifo(gate)
    with serving(home, "--grace", "0") as server, ThreadPoolExecutor(8) as threads, ExitStack() as opened:
        task = later(server)
        polls = [threads.submit(server.get, f"/v1/tasks/{task}", params={"wait_s": 60}) for _ in range(4)]
        assert ask(server).json()["success"] is True
        held = [threads.submit(hold, server, gate) for gate in gates]
        for gate in gates:
            opened.enter_context(gate.open("w"))  # once an agent reads it
        problem(server.get("/v1/agents"), 503, "overloaded")
        assert server.get("/v1/health").status_code == 200
        assert server.get(f"/v1/tasks/{task}", params={"wait_s": 0.01}).json()["status"] == "pending"
        with listening(server):
            pass
        server.process.terminate()
        for poll in polls:
            assert poll.result(WAIT_S).json()["status"] == "pending"
        assert {each.result(WAIT_S).status_code for each in held} == {503}


def test_a_long_poll_ends_once_its_client_has_left(home: Home) -> None:
    with serving(home) as server:
        path = f"/v1/tasks/{later(server)}?wait_s=60"
        address = urlsplit(server.url)
        request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
        with socket.create_connection((address.hostname, address.port)) as lost:
            lost.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # so that closing resets it
            lost.sendall(request)
        wait_for(lambda: f"GET {path} 499 " in server.log)


@pytest.mark.torture
def test_a_long_poll_of_a_half_closed_connection_ends_with_a_response(home: Home) -> None:
    """After five seconds."""
    with serving(home) as server:
        path = f"/v1/tasks/{later(server)}?wait_s=60"
        address = urlsplit(server.url)
        request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
        with socket.create_connection((address.hostname, address.port)) as half_closed:
            half_closed.settimeout(2 * WAIT_S)
            half_closed.sendall(request)
            half_closed.shutdown(socket.SHUT_WR)
            assert half_closed.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_long_polls_and_streams_end_soon_after_their_token(home: Home) -> None:
    kept, leaked = new_bearer(home, "kept"), new_bearer(home, "leaked")
    with serving(home) as server, ThreadPoolExecutor(4) as threads:
        task = later(server, kept)
        poll = threads.submit(server.get, f"/v1/tasks/{task}", params={"wait_s": 60}, headers=leaked)
        stream = threads.submit(server.get, "/v1/events", headers=leaked)
        other = threads.submit(server.get, f"/v1/tasks/{task}", params={"wait_s": 60}, headers=kept)
        assert home.aorch("tokens", "revoke", "leaked").code == 0
        problem(poll.result(WAIT_S), 401, "not_authorised")
        assert stream.result(WAIT_S).text.replace(":\n\n", "") == ""
        assert not other.done()
        server.post(f"/v1/tasks/{task}/cancel", headers=kept)
        assert other.result(WAIT_S).json()["status"] == "cancelled"


def test_wrong_tokens_count_against_the_rate_of_their_address(home: Home) -> None:
    home.write("aorch.toml", "[serve]\nrate_per_s = 1\n")
    good = new_bearer(home, "good")
    with serving(home) as server:
        guesses = [server.get("/v1/agents", headers={"Authorization": f"Bearer guess{n}"}) for n in range(20)]
        assert [guess.status_code for guess in guesses[:10]] == [401] * 10
        problem(guesses[-1], 429, "too_many")
        assert int(guesses[-1].headers["Retry-After"]) >= 1
        assert server.get("/v1/agents", headers=good).status_code == 200
        assert {server.get("/v1/health").status_code for _ in range(20)} == {200}


def test_a_token_that_was_created_and_revoked_between_two_reads_closes_the_service(home: Home) -> None:
    new_bearer(home, "old")
    assert home.aorch("tokens", "revoke", "old").code == 0
    with serving(home) as server:
        assert server.get("/v1/agents").status_code == 200  # it was revoked before this server began
        new_bearer(home, "short")
        assert home.aorch("tokens", "revoke", "short").code == 0
        wait_for(lambda: server.get("/v1/agents").status_code == 401)
        problem(server.get("/v1/agents"), 401, "not_authorised")
