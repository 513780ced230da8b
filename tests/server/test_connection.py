"""Connections: half-closed ones, limits of the data that waits on them, and the same responses with aiohttp's public API."""

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from api import ask, problem, with_agents
from homes import Home
from serving import Server, serving
from waiting import WAIT_S

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"(?<![\w.])(?:request|response|resp|app|connection)\._[a-z]\w*|aiohttp[\w.]* import .*\b_[a-z]|\bhttp_writer\._"
)

ECHO = b'{"session_id": "s", "capability": "echo", "parameters": {"text": "%s"}}'
UNTESTED = "import aiohttp; aiohttp.__version__ = '3.99.0'; from aorch.__main__ import main; main()"
"""`aorch` with a version of aiohttp whose private names are unknown."""


class Untested(Home):
    """A home that runs that `aorch`."""

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-c", UNTESTED, *arguments]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Home, id="tested aiohttp"),
        pytest.param(Untested, id="any aiohttp", marks=pytest.mark.torture),
    ],
)
def server(request: pytest.FixtureRequest, module_home: Home) -> Iterator[Server]:
    home = with_agents(module_home)
    home.write("aorch.toml", (home.folder / "aorch.toml").read_text() + "[serve]\nread_timeout_s = 1\n")
    with serving(request.param(home.folder, home.environment)) as server:
        yield server


def post(text: bytes, more: bytes = b"") -> bytes:
    body = ECHO % text
    head = b"POST /v1/orchestrate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n%s\r\n" % (len(body), more) + body


def connected(server: Server) -> socket.socket:
    url = server.client.base_url
    return socket.create_connection((url.host, url.port), timeout=WAIT_S)


def all_of(connection: socket.socket) -> bytes:
    """Everything that is received until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_client_that_half_closes_gets_its_response_and_then_the_connection_closes(server: Server) -> None:
    with closing(connected(server)) as connection:
        connection.sendall(post(b"half"))
        connection.shutdown(socket.SHUT_WR)
        got = all_of(connection)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Echo: half" in got


def test_a_client_that_half_closes_later_also_gets_its_response(server: Server) -> None:
    with closing(connected(server)) as connection:
        connection.sendall(b"POST /v1/orchestrate HTTP/1.1\r\nHost: localhost\r\n")
        connection.sendall(post(b"slow").partition(b"localhost\r\n")[2])
        task = b"GET /v1/tasks/none?wait_s=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(task)
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection).startswith(b"HTTP/1.1 404 ")


def test_an_incomplete_request_of_a_half_closed_client_ends_soon(server: Server) -> None:
    for part in (b"", b"GET / HT", post(b"x")[:-5]):
        with closing(connected(server)) as connection:
            connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            got = all_of(connection)
            assert got == b"" or got.startswith(b"HTTP/1.1 408 ")


def test_headers_that_stay_incomplete_time_out(server: Server) -> None:
    with closing(connected(server)) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(b"GET /v1/health HTTP/1.1\r\n")
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


def test_the_server_header_names_no_version_on_any_response(server: Server) -> None:
    with server.client.stream("GET", "/v1/events") as stream:
        responses = [stream, server.get("/v1/health"), server.get("/docs"), server.get("/"), server.get("/nothing")]
        responses.append(ask(server, session="large", parameters={"text": "x" * 100_000}))
        responses.append(server.get("/v1/health", headers={"Expect": "something"}))
        assert [response.headers["Server"] for response in responses] == ["aorch"] * len(responses)
    with connected(server) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
        assert b"\r\nServer: aorch\r\n" in all_of(connection)


def test_small_and_large_responses_and_errors_have_the_same_headers(server: Server) -> None:
    assert ask(server, session="same").json()["data"] == {"message": "Echo: hi"}
    assert len(ask(server, session="same", parameters={"text": "x" * 100_000}).json()["data"]["message"]) == 100_006
    problem(server.get("/nothing"), 404, "no_route")
    problem(server.client.delete("/v1/health"), 405, "method_not_allowed")
    assert server.client.head("/v1/health").content == b""
    response = server.get("/v1/health")
    assert {"Content-Length", "Date", "Server", "Content-Type", "X-Request-ID"} <= {
        name.title().replace("-Id", "-ID") for name in response.headers
    }
    assert "Traceback" not in server.log


@pytest.fixture
def tested(own_home: Home) -> Iterator[Server]:
    with serving(own_home) as server:
        yield server


def test_all_pipelined_requests_of_a_half_closed_client_get_responses(tested: Server) -> None:
    with closing(connected(tested)) as connection:
        connection.sendall(b"".join(post(b"no%d" % number) for number in range(5)))
        connection.shutdown(socket.SHUT_WR)
        got = all_of(connection)
    assert re.findall(rb"Echo: no(\d)", got) == [b"0", b"1", b"2", b"3", b"4"]


def test_the_headers_that_wait_on_a_connection_are_limited_together(tested: Server) -> None:
    """Large headers, headers that stay incomplete, and many pipelined ones, with and without a running request."""
    large = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(9))
    fair = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 6000) for number in range(10))
    start = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"
    task = {"session_id": "s", "capability": "echo", "not_before": "2099-01-01T00:00:00Z", "parameters": {"text": "hi"}}
    path = f"/v1/tasks/{tested.post('/v1/tasks', json=task).json()['contract_id']}"
    busy = f"GET {path}?wait_s=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for sent, answers in (
        (start + large + b"\r\n", [b"431"]),
        (start + large, [b"431"]),
        (post(b"first") + start + large + b"\r\n", [b"200", b"431"]),
        ((busy % 1).encode() + (start + fair + b"\r\n") * 4, [b"200", b"200", b"431"]),
    ):
        with closing(connected(tested)) as connection:
            connection.sendall(sent)
            got = all_of(connection)
            assert re.findall(rb"HTTP/1.[01] (\d+) ", got) == answers
            assert b"65536 bytes in total" in got
    with closing(connected(tested)) as connection:
        connection.sendall(start + fair + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    process = psutil.Process(tested.process.pid)
    before, held = process.memory_info().rss, []
    for _ in range(10):
        held.append(connected(tested))
        for _ in range(50):  # what is too much is read and thrown away
            held[-1].sendall((busy % 30).encode() + start + large + b"\r\n")
    assert process.memory_info().rss - before < 60_000_000
    for connection in held:
        connection.close()


@pytest.mark.parametrize(("folder", "module"), [("server", "fast_path.py"), ("net", "fast_post.py")])
def test_private_names_of_aiohttp_are_used_in_one_module(folder: str, module: str) -> None:
    files = (ROOT / "aorch" / folder).glob("*.py")
    assert {path.name for path in files if PRIVATE.search(path.read_text(encoding="utf-8"))} == {module}


def test_the_tested_version_of_aiohttp_is_the_one_that_is_required() -> None:
    from aorch.net.aiohttp_version import AVAILABLE, TESTED

    bound = re.search(r'"aiohttp>=(\d+\.\d+)\.\d+,<(\d+\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert bound is not None
    major, minor = bound[1].split(".")
    assert (f"{bound[1]}.", bound[2]) == (TESTED, f"{major}.{int(minor) + 1}")
    assert AVAILABLE
