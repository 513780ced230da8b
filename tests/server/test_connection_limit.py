"""The limit on connections is lower than the limit on descriptors, so open connections get responses."""

import json
import resource
import socket
import subprocess
from contextlib import ExitStack

from homes import Home
from serving import START_S, Server

from aorch.server.connection_limit import ConnectionLimit


class Line:
    """A connection that remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def give_way(self) -> None:
        self.closed = True


async def test_at_the_limit_the_connection_that_was_silent_for_longest_is_closed() -> None:
    limit, lines = ConnectionLimit(0.0, print, most=3), [Line() for _ in range(5)]
    for line in lines[:3]:
        assert limit.let_in(line)
    limit.has_sent(lines[0])
    assert limit.let_in(lines[3])
    limit.closed(lines[1])
    assert [line.closed for line in lines] == [False, True, False, False, False]
    limit.has_sent(lines[2])
    limit.has_sent(lines[3])
    limit.closed(lines[3])
    assert limit.let_in(lines[4])


async def test_a_connection_above_the_limit_is_rejected_and_logged_once() -> None:
    told: list[str] = []
    limit, lines = ConnectionLimit(60.0, told.append, most=2), [Line() for _ in range(4)]
    assert [limit.let_in(line) for line in lines] == [True, True, False, False]
    assert len(told) == 1
    assert told[0].startswith("2 connections are open")
    for line in lines[1:]:
        limit.closed(line)
    assert limit.let_in(Line())


def test_idle_connections_neither_block_responses_nor_fill_the_log(home: Home) -> None:
    process = home.start(
        "serve", "--port", "0", stdout=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )  # fmt: skip
    server = Server(process)
    url = server.client.base_url
    with server.client as open_before, ExitStack() as idle:
        assert open_before.get("/v1/health").status_code == 200
        for _ in range(300):
            idle.enter_context(socket.create_connection((url.host, url.port), START_S))
        assert open_before.get("/v1/health").status_code == 200
        with socket.create_connection((url.host, url.port), START_S) as late:
            refused = b"".join(iter(lambda: late.recv(4096), b""))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "too_many_connections"
        answer = open_before.post(
            "/v1/orchestrate", json={"session_id": "s", "capability": "echo", "parameters": {"text": "x"}}
        )
        assert answer.json()["success"]
    assert server.stop() == 0
    assert "192 connections are open, the limit" in server.log
    assert len(server.log.splitlines()) < 12, server.log
