"""A connection to a real server: retries, errors as local ones, and where a token is sent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking_proxy import breaking
from homes import Home
from proxies import proxy_to
from serving import Server, serving

from aorch.client.connection import ServerConnection
from aorch.client.server_address import ServerAddress, server_url
from aorch.errors import (
    ConfigInvalid,
    NoAgent,
    NoAgentAvailable,
    NotAuthorised,
    ServerTooOld,
    ServiceFailed,
    ServiceUnreachable,
    UsageError,
)
from aorch.version import VERSION

ECHO = {"capability": "echo", "parameters": {"text": "hi"}, "session_id": "s"}


@pytest.fixture(scope="module")
def server(module_home: Home) -> Iterator[Server]:
    """A server that needs no token."""
    with serving(module_home) as server:
        yield server


async def test_a_request_returns_json_and_the_version_of_the_server(server: Server) -> None:
    async with ServerConnection(ServerAddress(server.url)) as connection:
        assert (await connection.get("/v1/health"))["status"] == "healthy"
        assert connection.server_version == VERSION


async def test_an_error_of_the_server_is_the_same_class_as_a_local_one(server: Server) -> None:
    async with ServerConnection(ServerAddress(server.url)) as connection:
        with pytest.raises(NoAgent, match="No agent available for capability: fly"):
            await connection.post("/v1/orchestrate", ECHO | {"capability": "fly"})


async def test_a_request_that_the_server_does_not_know_says_that_it_is_too_old(server: Server) -> None:
    async with ServerConnection(ServerAddress(server.url)) as connection:
        with pytest.raises(ServerTooOld, match="too old"):
            await connection.get("/v1/later")


async def test_a_stream_ends_with_the_result(server: Server) -> None:
    async with (
        ServerConnection(ServerAddress(server.url)) as connection,
        connection.stream("POST", "/v1/orchestrate", body=ECHO) as events,
    ):
        assert [event.name async for event in events][-1] == "result"


async def test_a_request_with_a_key_is_sent_again_after_a_broken_connection_and_runs_once(server: Server) -> None:
    with breaking(server.url, answers_to_lose=2) as url:
        async with ServerConnection(ServerAddress(url)) as connection:
            answer = await connection.post("/v1/orchestrate", ECHO | {"session_id": "once"}, key="once-1")
    assert answer["success"]
    assert server.get("/v1/exchanges", params={"session_id": "once"}).json()["exchanges"][0]["status"] == "completed"
    assert len(server.get("/v1/exchanges", params={"session_id": "once"}).json()["exchanges"]) == 1


async def test_a_write_without_a_key_is_not_sent_again_after_a_broken_connection(server: Server) -> None:
    with breaking(server.url, answers_to_lose=1) as url:
        async with ServerConnection(ServerAddress(url)) as connection:
            with pytest.raises(ServiceFailed, match="broke"):
                await connection.post("/v1/orchestrate", ECHO)


async def test_an_agent_that_cannot_take_a_task_is_reported_without_asking_again(own_home: Home) -> None:
    own_home.write("aorch.toml", "[agents.absent]\ncommand = ['no-such-program']\ncapabilities.absent = {}\n")
    with serving(own_home) as server, proxy_to(server.url) as proxy:
        async with ServerConnection(ServerAddress(proxy.url)) as connection:
            with pytest.raises(NoAgentAvailable, match="no-such-program"):
                await connection.post("/v1/orchestrate/plan", {"capability": "absent", "session_id": "s"}, key="k")
    assert [url.rpartition("/v1")[2] for url in proxy.asked] == ["/orchestrate/plan"]


async def test_a_server_that_does_not_listen_is_named_with_the_reason() -> None:
    async with ServerConnection(ServerAddress("http://127.0.0.1:1")) as connection:
        with pytest.raises(
            ServiceUnreachable, match=r"cannot reach the server at http://127.0.0.1:1: connection refused"
        ):
            await connection.get("/v1/health", retries=0)


async def test_a_wrong_token_is_an_error_that_names_the_next_step(own_home: Home) -> None:
    own_home.aorch("tokens", "create", "ci")
    with serving(own_home) as server:
        async with ServerConnection(ServerAddress(server.url, token="wrong")) as connection:
            with pytest.raises(NotAuthorised, match="unknown or revoked") as caught:
                await connection.get("/v1/agents")
    assert "aorch login" in caught.value.hint


def test_a_token_is_not_sent_unencrypted_to_another_machine() -> None:
    address = ServerAddress("http://aorch.example", token="secret")
    with pytest.raises(UsageError, match="not encrypted"):
        ServerConnection(address)
    assert "secret" not in repr(address)


def test_an_invalid_ca_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"ca\.pem"):
        ServerConnection(ServerAddress("https://aorch.example", ca_file=tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("HTTP://LocalHost:80/", "http://localhost"),
        ("https://aorch.example:443/v1/", "https://aorch.example"),
        ("https://example.org/Team/aorch", "https://example.org/Team/aorch"),
    ],
)
def test_a_server_has_one_form_of_its_url(given: str, stored: str) -> None:
    assert server_url("--server", given) == stored


@pytest.mark.parametrize(
    "given", ["aorch.example", "https://me:secret@aorch.example", "https://a.example?x=1", "ftp://a"]
)
def test_an_invalid_server_url_is_rejected_without_repeating_it(given: str) -> None:
    with pytest.raises(UsageError, match="invalid server URL") as caught:
        server_url("--server", given)
    assert given not in str(caught.value)
