"""Several workers on one port: start, restarts, and stop."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from api import ask, hold
from ends import has_ended, wait_for_ends
from homes import Home
from queueing import detach
from serving import START_S, Server, client_of, serving
from waiting import pause, wait_for

pytestmark = pytest.mark.torture  # many processes for each test


STOP_S = 2.0
"""How long an agent that blocks the loop can delay a stop after the grace period."""
SLACK_S = 10.0
"""Extra time on a busy machine."""

SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

SLEEPER = """
import asyncio, re, time
from pathlib import Path
from aorch.agents import Agent, AgentCapability


class Sleeper(Agent):
    def __init__(self):
        super().__init__("sleeper", "Sleeper")

    def get_capabilities(self):
        return [AgentCapability(name) for name in ("sleep", "sleep_when_cancelled", "stay", "thread", "match")]

    async def execute(self, task):
        Path("asleep").touch()
        await getattr(self, task["capability"])()
        return {"success": True, "data": {}}

    async def sleep(self):
        time.sleep(60)

    async def sleep_when_cancelled(self):
        try:
            await asyncio.sleep(60)
        finally:
            time.sleep(60)

    async def stay(self):
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

    async def thread(self):
        await asyncio.to_thread(time.sleep, 60)

    async def match(self):
        re.match("(a+)+$", "a" * 40 + "b")  # never gives up Python's lock
"""


@pytest.fixture
def home(home: Home) -> Home:
    """A home for one test, with the agents of api.CONFIG and one that blocks the loop."""
    home.write("sleepers.py", SLEEPER)
    home.write(
        "aorch.toml", (home.folder / "aorch.toml").read_text() + '[agents.sleeper]\nclass = "sleepers:Sleeper"\n'
    )
    return home


def eventually(is_so: Callable[[], Any]) -> Any:
    """Wait for a result that needs the start of a process, and return it."""
    return wait_for(is_so, START_S)


def workers_of(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def port_of(server: Server) -> str:
    return str(urlsplit(server.url).port)


@contextmanager
def clean_end(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """The process has exited at the end of the block, in any case."""
    try:
        yield
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.sqlite_only("a directory in the place of the file")
def test_workers_that_exit_are_restarted_with_the_supervisor_s_configuration_and_do_not_disturb_the_others(
    home: Home,
) -> None:
    with serving(home, "--workers", "2") as server:
        home.write("aorch.toml", "[mistake")
        home.write("yarl.py", "raise ImportError('imported from the working directory')")
        first, healthy = workers_of(server)
        first.kill()
        eventually(lambda: f"worker {first.pid} exited with signal 9; it restarts in 0.2 s" in server.log)
        eventually(lambda: len(workers_of(server)) == 2)
        second = next(each for each in workers_of(server) if each != healthy)
        healthy.suspend()
        assert ask(server, "my_capability", parameters={"param1": "x"}).json()["success"] is True
        healthy.resume()

        shutil.move(home.ledger, home.folder / "aside")
        home.ledger.mkdir()
        second.kill()
        eventually(lambda: server.log.count("before it was ready; it restarts") >= 2)
        assert "restarts in 0.4 s" in server.log
        assert server.get("/openapi.json").status_code == 200
        assert not has_ended(healthy)
        home.ledger.rmdir()
        shutil.move(home.folder / "aside", home.ledger)
        eventually(lambda: len(workers_of(server)) == 2)
        assert server.stop() == 0
    assert "Traceback" not in server.log


@pytest.mark.sqlite_only("a directory in the place of the file")
def test_a_worker_that_fails_at_its_first_start_ends_the_service_with_its_exit_code(home: Home) -> None:
    home.ledger.unlink()
    home.ledger.mkdir()
    ended = home.aorch("serve", "--port", "0", "--workers", "2")
    assert ended.code == 14
    assert "Traceback" not in ended.err


def test_a_second_service_on_a_port_is_rejected_with_workers_too(home: Home) -> None:
    with serving(home, "--workers", "2") as server:
        for workers in ("1", "2"):
            second = home.aorch("serve", "--port", port_of(server), "--workers", workers)
            assert (second.code, second.out) == (2, "")
            assert "in use" in second.err
            assert second.err.count("\n") == 2
        assert server.get("/v1/health").status_code == 200


def test_a_service_that_needed_a_token_needs_one_in_workers_that_start_later(home: Home) -> None:
    with serving(home, "--workers", "2") as server:
        assert server.get("/v1/agents").status_code == 200
        token = home.aorch("tokens", "create", "one").out.strip()
        eventually(lambda: server.get("/v1/agents").status_code == 401)
        assert server.get("/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        home.aorch("tokens", "revoke", "one")
        eventually(lambda: server.get("/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code == 401)
        before = workers_of(server)
        for worker in before:
            worker.kill()
        eventually(lambda: len(workers_of(server)) == 2 and not set(before) & set(workers_of(server)))
        answers = {server.get_by_new_connection("/v1/agents").status_code for _ in range(10)}
        assert answers == {401}


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.3])
def test_term_ends_the_supervisor_and_all_workers_while_they_start(home: Home, after_s: float) -> None:
    process = home.start("serve", "--port", "0", "--workers", "3", "--grace", "1", new_python=True, **SILENT)
    with clean_end(process):
        supervisor = psutil.Process(process.pid)
        eventually(supervisor.children)
        pause(after_s)
        family = [supervisor, *supervisor.children()]
        process.terminate()
        assert process.wait(START_S) == 0
        assert all(has_ended(each) for each in family)


def test_workers_free_the_port_when_their_supervisor_is_killed_and_finish_what_they_accepted(home: Home) -> None:
    os.mkfifo(gate := home.folder / "gate")
    with serving(home, "--workers", "2", "--grace", "30") as server, ThreadPoolExecutor() as threads:
        workers = workers_of(server)
        running = threads.submit(hold, server, gate)
        with gate.open("w") as released:
            server.process.kill()
            eventually(lambda: not listens(server))
            second = home.start("serve", "--port", port_of(server), stdout=subprocess.DEVNULL)
            with clean_end(second):
                with Server(second).client as client:
                    assert client.post("/v1/orchestrate", json=ECHO).json()["success"] is True
                released.write("done")
                released.close()
                assert running.result().json()["data"] == {"text": "done"}
        wait_for_ends(workers)


ECHO = {"capability": "echo", "session_id": "s", "parameters": {"text": "hi"}}


def listens(server: Server) -> bool:
    """Whether a process accepts connections at its address. While a service stops, a client waits."""
    address = urlsplit(server.url)
    with suppress(OSError):
        socket.create_connection((address.hostname, address.port), 5).close()
        return True
    return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_long_polls_and_streams_end_at_once_when_the_service_stops(home: Home, workers: str) -> None:
    waiting = detach(home, "hold", "gate=nowhere", "--not-before", "2999-01-01T00:00:00Z")
    with serving(home, "--workers", workers, "--grace", "30") as server, ThreadPoolExecutor() as threads:
        clients = [client_of(server.url) for _ in range(4)]
        for client in clients:
            assert client.get("/v1/").status_code == 200  # its connection is accepted
        polls = [threads.submit(client.get, f"/v1/tasks/{waiting}?wait_s=60") for client in clients]
        with httpx.stream("GET", f"{server.url}/v1/events", timeout=START_S) as stream:
            next(stream.iter_raw())
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < STOP_S + SLACK_S
        answers = {(poll.result().status_code, poll.result().json()["status"]) for poll in polls}
        assert (200, "pending") in answers
        assert answers <= {(200, "pending"), (503, 503)}  # one that came while it stopped
        for client in clients:
            client.close()
    assert "more for" not in server.log


SERVE = ("serve", "--port", "0")


@pytest.mark.parametrize(
    ("command", "capability"),
    [
        (SERVE, "sleep"),
        (SERVE, "sleep_when_cancelled"),
        (SERVE, "stay"),
        (SERVE, "thread"),
        ((*SERVE, "--workers", "2"), "sleep"),
        ((*SERVE, "--workers", "2"), "match"),
        (("worker",), "sleep"),
    ],
)
def test_an_agent_cannot_delay_a_stop(home: Home, command: tuple[str, ...], capability: str) -> None:
    detach(home, capability)
    process = home.start(*command, "--grace", "0.3", **SILENT)
    with clean_end(process):
        eventually((home.folder / "asleep").exists)
        family = psutil.Process(process.pid).children(recursive=True)
        begun = time.monotonic()
        process.terminate()
        assert process.wait(START_S) == 0
        assert time.monotonic() - begun < 0.3 + STOP_S + SLACK_S
        wait_for_ends(family, STOP_S)
    home.aorch("contracts", "list")  # the next process that opens the ledger records what was cut off
    assert home.rows("SELECT status FROM contracts WHERE contract_type = 'RESPONSE'") == [("interrupted",)]


def test_a_client_can_read_its_response_while_the_service_stops(home: Home) -> None:
    with serving(home, "--grace", "99") as server:
        for _ in range(4):
            assert ask(server, parameters={"text": "x" * 950_000}).json()["success"] is True
        address = urlsplit(server.url)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(START_S)
            client.connect((address.hostname, address.port))
            client.sendall(f"GET /v1/contracts HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            taken = client.recv(1000)
            server.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(STOP_S)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # from here on it reads fast
            while piece := client.recv(1 << 20):
                taken += piece
        head, _, body = taken.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert len(body) > 4_000_000
        assert server.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_under_load_resets_no_connection(home: Home, workers: str) -> None:
    """Clients that keep their connection, and clients that open a new one for each request."""
    broken: list[str] = []
    answered: list[int] = []

    def call(url: str, *, keep: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=int(keep))
        with httpx.Client(base_url=url, limits=limits, timeout=START_S, trust_env=False) as client:
            while True:
                try:
                    answered.append(client.post("/v1/orchestrate", json=ECHO).status_code)
                except httpx.ConnectError:
                    return  # refused: nobody listens any more
                except httpx.TransportError as error:
                    broken.append(repr(error))
                    return

    with serving(home, "--workers", workers) as server, ThreadPoolExecutor(12) as threads:
        for number in range(12):
            threads.submit(call, server.url, keep=number % 2 == 0)
        eventually(lambda: len(answered) > 100)
        assert server.stop() == 0
    assert broken == []
    assert set(answered) <= {200, 503}
