"""Limits of a server: rates, sizes, slow clients, and connections that are not HTTP."""

import asyncio
import contextlib
import gzip
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from api import problem
from homes import Home
from serving import START_S, Server, serving
from tokens import bearer, token
from waiting import WAIT_S, pause, wait_for

from aorch.server.limits import MAX_CALLERS, RateLimit
from aorch.server.problems import HttpError
from aorch.server.unsent_responses import UnsentResponses

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

TASK = {"capability": "echo", "parameters": {"text": "hi"}, "session_id": "s"}


def test_each_token_has_its_own_rate(home: Home) -> None:
    home.write("aorch.toml", "[serve]\nrate_per_s = 0.3")
    one, other = token(home, "one"), token(home, "other")
    with serving(home) as server:
        for secret in (one, other):
            answers = [server.get("/v1/agents", headers=bearer(secret)) for _ in range(5)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
            problem(answers[-1], 429, "too_many")
            assert 1 <= int(answers[-1].headers["Retry-After"]) <= 4
        assert [server.get("/v1/").status_code for _ in range(4)] == [200, 200, 200, 429]  # by address


def test_a_rate_limit_remembers_a_limited_number_of_callers() -> None:
    limit = RateLimit(0.1)
    limit.take("first")
    for number in range(MAX_CALLERS - 1):
        limit.take(f"caller {number}")
    with pytest.raises(HttpError):
        limit.take("first")
    for number in range(3 * MAX_CALLERS):
        limit.take(f"another {number}")
    assert len(limit._full_at) + len(limit._older) <= 2 * MAX_CALLERS  # what it holds is the promise


def test_requests_above_the_concurrency_limit_are_rejected_at_once(home: Home) -> None:
    home.write(
        "aorch.toml",
        "[serve]\nmax_concurrent = 2\n[agents.slow]\ncommand = ['sleep', '60']\n[agents.slow.capabilities.wait]\n",
    )
    with serving(home, "--grace", "0") as server:
        task = json.dumps({"capability": "wait", "session_id": "s"})
        waiting = [raw(server, post(task)) for _ in range(2)]
        full = wait_for(lambda: (got := server.get("/v1/agents")).is_error and got)
        problem(full, 503, "overloaded")
        assert int(full.headers["Retry-After"]) >= 1
        for connection in waiting:
            connection.close()


def test_a_task_is_rejected_and_recorded_if_the_line_of_its_agent_is_full(home: Home) -> None:
    home.write(
        "aorch.toml",
        "[serve]\nmax_line = 1\n[agents.slow]\ncommand = ['sleep', '60']\nconcurrency = 1\nrate_per_min = 30\n"
        "[agents.slow.capabilities.wait]\n",
    )
    with serving(home, "--grace", "0") as server:
        task = {"capability": "wait", "session_id": "s"}
        waiting = []
        for status in ("in_progress", "pending"):
            waiting.append(raw(server, post(json.dumps(task))))
            wait_for(partial(home.rows, "SELECT 1 FROM contracts WHERE status = ?", status))
        full = server.post("/v1/orchestrate", json=task)
        refused = problem(full, 503, "agent_busy")
        assert refused["detail"] == "slow is busy, and 1 task waits for it; the limit is 1 (serve.max_line)"
        assert int(full.headers["Retry-After"]) == 4, "two tasks ahead, one every 2 s"
        of_refusal = "WHERE ? IN (contract_id, request_id)"
        assert home.rows(f"SELECT status FROM contracts {of_refusal}", refused["contract_id"]) == [("failed",)] * 2
        assert server.post("/v1/tasks", json=task).status_code == 202, "the queue waits"
        for connection in waiting:
            connection.close()


def test_a_body_that_is_too_large_is_rejected_before_it_is_read(home: Home) -> None:
    home.write("aorch.toml", "[serve]\nmax_body_bytes = 1000\nmax_json_depth = 5")
    with serving(home) as server:
        endless = f"POST /v1/orchestrate HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
        with raw(server, f"{endless}Content-Length: 1000000000\r\n\r\n" + "x" * 2000) as connection:
            assert answer(connection)[0] == 413
        with raw(server, f"{endless}Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + "x" * 2000) as connection:
            assert answer(connection)[0] == 413
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        bomb = gzip.compress(b" " * 50_000_000)
        problem(server.post("/v1/orchestrate", content=bomb, headers=headers), 413, "too_large")
        small = gzip.compress(json.dumps(TASK).encode())
        assert server.post("/v1/orchestrate", content=small, headers=headers).status_code == 200
        deep = {**TASK, "parameters": {"text": [[[[[[]]]]]]}}
        problem(server.post("/v1/orchestrate", json=deep), 400, "invalid_json")
        deeper = b'{"capability":"echo","parameters":' + b"[" * 900
        problem(server.post("/v1/orchestrate", content=deeper, headers={"Content-Type": JSON}), 400, "invalid_json")


JSON = "application/json"


def post(body: str, *headers: str, length: int | None = None) -> str:
    lines = [
        "POST /v1/orchestrate HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {JSON}",
        f"Content-Length: {len(body.encode()) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def raw(server: Server, *parts: str | bytes) -> socket.socket:
    """A connection on which `parts` were sent."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), START_S)
    for part in parts:
        connection.sendall(part.encode() if isinstance(part, str) else part)
    return connection


def answer(connection: socket.socket) -> tuple[int, Any]:
    """The status and the JSON of the next response, or of the last one before the server closes."""
    received = b""
    while not (head := received.partition(b"\r\n\r\n"))[1] or len(head[2]) < length(head[0]):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    assert b"application/problem+json" in head[0] or b" 200 " in head[0], received
    assert b"X-Request-ID: " in head[0]
    return int(received.split()[1]), json.loads(head[2])


def length(head: bytes) -> int:
    found = re.search(rb"(?i)content-length: (\d+)", head)
    assert found, head
    return int(found[1])


def closed(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


NOT_HTTP: list[tuple[str | bytes, int]] = [
    ("hello\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("GET /v1/health HTTP/1.1\r\n\r\n", 400),
    ("GET /v1/health HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n", 400),
    ("GET /v1/health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (f"GET /{'x' * 9000} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    (f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {'x' * 9000}\r\n\r\n", 431),
    (f"GET / HTTP/1.1\r\nHost: localhost\r\n{'x' * 9000}: 1\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: localhost\r\n" + "a: 1\r\n" * 200 + "\r\n", 400),
]
MISTAKEN = [
    (post(json.dumps(TASK), "Content-Encoding: gzip"), 400),
    (post("", "Expect: miracles"), 417),
    (post("zz\r\n{}\r\n0\r\n\r\n").replace("Content-Length: 14", "Transfer-Encoding: chunked"), 400),
]


def test_the_connection_closes_after_a_body_that_was_not_read_completely(home: Home) -> None:
    whole = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(home) as server:
        with raw(server, post("{", length=10**9)) as connection, connection.makefile("rb") as answered:
            head = list(iter(answered.readline, b"\r\n"))
            assert head[0] == b"HTTP/1.1 413 Request Entity Too Large\r\n"
            assert b"Connection: close\r\n" in head
        with raw(server, whole) as connection:
            assert answer(connection)[0] == 200
    assert "Traceback" not in server.log


def test_invalid_or_oversized_http_gets_a_problem_and_the_connection_closes(home: Home) -> None:
    with serving(home) as server:
        for request, status in NOT_HTTP:
            with raw(server, request) as connection:
                got, body = answer(connection)
                assert got == body["status"] == status, request[:80]
                assert "xxxxx" not in body["detail"]
                assert closed(connection)
        for request, status in MISTAKEN:
            with raw(server, request) as connection:
                assert answer(connection)[0] == status, request
    assert "Traceback" not in server.log


def test_a_slow_client_gets_408_and_the_connection_closes(home: Home) -> None:
    home.write("aorch.toml", "[serve]\nread_timeout_s = 0.5")
    whole = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(home) as server:
        begun = time.monotonic()
        header = raw(server, "GET /v1/health HT")
        second = raw(server, whole)
        assert answer(second)[0] == 200
        second.sendall(whole[:20].encode())
        body = raw(server, post("{", length=100))
        for connection in (header, second, body):
            status, said = answer(connection)
            assert (status, said["code"]) == (408, "too_slow")
        assert 0.4 < time.monotonic() - begun < 10  # 30 by default
        for connection in (header, second):
            assert closed(connection)
            connection.close()
        body.close()
        with raw(server, whole[:20], whole[20:]) as patient:
            assert answer(patient)[0] == 200
    assert "Traceback" not in server.log


def test_a_client_that_leaves_during_its_body_writes_nothing(home: Home) -> None:
    with serving(home) as server:
        raw(server, post("{", length=100)).close()
        assert server.get("/v1/health").status_code == 200
    assert "Traceback" not in server.log


@contextlib.asynccontextmanager
async def answering(handler: "Handler", **limits: float) -> AsyncIterator[int]:
    """A server in this process that answers GET / by `handler`; yields its port."""
    from aiohttp import web

    from aorch.server.access_log import RequestLog
    from aorch.server.connection_limit import ConnectionLimit
    from aorch.server.http_protocol import Connection

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    manager, log, limit = runner.server, RequestLog(as_json=False), ConnectionLimit(60, str)
    assert manager is not None
    listener = await asyncio.get_running_loop().create_server(
        lambda: Connection(manager, app._handle, log, 60, limit, UnsentResponses(), **limits), "127.0.0.1", 0
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await runner.cleanup()
        log.flush()


async def test_a_connection_that_is_idle_or_reads_nothing_is_closed() -> None:
    from aiohttp import web

    async def much(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 1_000_000)
        except ConnectionError:
            ended.set()
            raise

    ended = asyncio.Event()
    async with answering(much, idle_s=0.1, stuck_s=0.1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(WAIT_S):
            assert await reader.read() == b""
        writer.close()
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(WAIT_S):
                await ended.wait()


@pytest.mark.torture
async def test_a_client_that_reads_slowly_gets_its_whole_response() -> None:
    from aiohttp import web

    async def much(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * size)

    def read_slowly(port: int) -> int:
        """Read for longer than a client may read nothing; returns how much there was to read."""
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            taken, begun = 0, time.monotonic()
            while piece := slow.recv(65536):
                taken += len(piece)
                if time.monotonic() - begun < 3 * stuck_s:
                    pause(0.02)
        return taken

    size, stuck_s = 64_000_000, 2.0
    async with answering(much, stuck_s=stuck_s) as port:
        assert await asyncio.to_thread(read_slowly, port) > size


def test_a_client_that_reads_no_response_gets_no_further_ones(home: Home) -> None:
    """The server reads no further requests until the client has read the responses that wait for it."""
    with serving(home) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((server.client.base_url.host, server.client.base_url.port))
        connection.setblocking(False)
        pipelined = b"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100

        def is_held_up() -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.send(pipelined)
            before = server.log.count("GET /v1/agents")
            server.get("/v1/health", headers={"X-Request-ID": f"probe-{before}"})
            wait_for(lambda: f"request_id=probe-{before}" in server.log)
            return before > 0 and server.log.count("GET /v1/agents") == before

        wait_for(is_held_up)
