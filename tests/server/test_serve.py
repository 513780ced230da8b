"""`aorch serve` as a process: start, port, workers, log, stop, and other processes on the same ledger."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import TextIO
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from api import ask, hold, problem
from ends import has_ended, wait_for_ends
from homes import Home
from ledger_state import is_intact
from ports import free_port
from serving import START_S, Server, client_of, serving
from waiting import WAIT_S, wait_for

STATUSES = "SELECT contract_type, status FROM contracts WHERE session_id = ? ORDER BY position"


def is_free(server: Server) -> bool:
    """Whether another service could listen at the server's address."""
    address = urlsplit(server.url)
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind((address.hostname, address.port))
            other.listen()
        except OSError:
            return False
    return True


@contextmanager
def at_work(home: Home, *arguments: str) -> Iterator[tuple[Server, "Future[httpx.Response]", TextIO]]:
    """A server, a request that runs there, and the file whose content is its result once it is closed."""
    os.mkfifo(gate := home.folder / "gate")
    with serving(home, *arguments) as server, ThreadPoolExecutor() as threads:
        running = threads.submit(hold, server, gate)
        with gate.open("w") as released:
            yield server, running, released


def assert_cancelled(home: Home, running: "Future[httpx.Response]") -> None:
    """The request has failed or was not answered, and both its contracts are cancelled."""
    assert running.exception() or running.result().json()["success"] is False
    assert home.rows(STATUSES, "s") == [("REQUEST", "cancelled"), ("RESPONSE", "cancelled")]


# Its start


def test_the_first_start_creates_the_ledger(bare_home: Home) -> None:
    with serving(bare_home) as server:
        assert ask(server).json()["success"] is True
    assert len(bare_home.rows("SELECT * FROM contracts")) == 2


def test_port_0_is_a_free_port_that_the_first_line_contains(home: Home) -> None:
    with serving(home) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        assert server.log.splitlines()[0].startswith(f"aorch serves {server.url} over {home.ledger}")


def test_the_port_comes_from_the_environment_or_from_the_file(home: Home) -> None:
    for source in ("environment", "file"):
        port = free_port()
        if source == "environment":
            home.environment["ORCHESTRATOR_PORT"] = f"{port}"
        else:
            del home.environment["ORCHESTRATOR_PORT"]
            home.write("aorch.toml", f"[serve]\nport = {port}\n")
        server = Server(home.start("serve", stdout=subprocess.DEVNULL))
        with server.client:
            assert server.url == f"http://127.0.0.1:{port}"
            assert server.get("/v1/health").status_code == 200
            assert server.stop() == 0


def test_a_port_in_use_is_rejected_in_one_line(home: Home) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        for workers in ((), ("--workers", "2")):
            ended = home.aorch("serve", "--port", f"{port}", *workers)
            assert (ended.code, ended.out) == (2, "")
            assert f"127.0.0.1:{port}" in ended.err
            assert "in use" in ended.err
            assert "Traceback" not in ended.err


# Its log


def test_the_log_has_a_line_per_request_with_its_ids_and_milliseconds(home: Home) -> None:
    with serving(home) as server:
        contract_id = ask(server, headers={"X-Request-ID": "order-42"}).json()["contract_id"]
        server.stop()
        (line,) = server.log.splitlines()[1:]
    assert re.fullmatch(
        r"\S+Z POST /v1/orchestrate 200 \d+\.\d ms request_id=order-42 contract_id=" + contract_id, line
    )


def test_log_json_writes_a_json_document_per_line(home: Home) -> None:
    with serving(home, "--log-json") as server:
        answer = ask(server, headers={"X-Request-ID": "order-42"}).json()
        server.get("/nowhere?a=%1B%5B31m")
        server.stop()
        asked, lost = (json.loads(line) for line in server.log.splitlines()[1:])
    told = {"method": "POST", "path": "/v1/orchestrate", "status": 200, "request_id": "order-42"}
    assert {name: asked[name] for name in told} == told
    assert asked["contract_id"] == answer["contract_id"]
    assert 0 < asked["duration_ms"] < 1000 * START_S
    assert (lost["status"], lost["path"]) == (404, "/nowhere?a=%1B%5B31m")


def test_the_log_has_a_line_for_each_queued_task(home: Home) -> None:
    for options in ((), ("--log-json",)):
        with serving(home, *options) as server:
            asked = {"capability": "fail", "parameters": {}, "session_id": "night"}
            contract_id = server.post("/v1/tasks", json=asked).json()["contract_id"]
            server.get(f"/v1/tasks/{contract_id}", params={"wait_s": 30})
            server.stop()
            (line,) = (line for line in server.log.splitlines()[1:] if "/v1/tasks" not in line)
        if options:
            said = json.loads(line)
            assert [said[name] for name in ("capability", "status", "contract_id", "session", "code")] == [
                "fail", "failed", contract_id, "night", "agent_failed"
            ]  # fmt: skip
        else:
            ended = rf'\S+Z task fail failed \d+\.\d ms contract_id={contract_id} session="night" code=agent_failed'
            assert re.fullmatch(ended, line)


# Its ledger


@pytest.mark.sqlite_only("the file is removed")
def test_nothing_is_written_to_a_ledger_that_was_removed_or_replaced(home: Home) -> None:
    """A removed or replaced file stays open, and what is written to it is lost with the process."""
    aside = home.folder / "aside.db"
    with serving(home) as server:
        assert ask(server).json()["success"] is True
        home.ledger.rename(aside)
        assert home.ledger.name in problem(ask(server), 503, "ledger_gone")["detail"]
        problem(server.get("/v1/health"), 503, "ledger_gone")
        assert not home.ledger.exists()
        aside.rename(home.ledger)
        assert ask(server).json()["success"] is True
        assert server.get("/v1/health").json()["status"] == "healthy"
        home.ledger.rename(aside)
        home.aorch("run", "echo", "text=a")
        problem(ask(server), 503, "ledger_gone")
    assert home.rows("SELECT count(*) FROM contracts") == [(2,)]


# Its end


def test_a_stop_lets_running_work_finish_and_rejects_the_next_request_of_an_open_connection(home: Home) -> None:
    with at_work(home, "--grace", "99") as (server, running, released):
        with client_of(server.url) as kept:
            assert kept.get("/v1/health").status_code == 200
            server.process.terminate()
            wait_for(lambda: "aorch is stopping" in server.log)
            assert is_free(server)
            late = kept.get("/v1/health")
            problem(late, 503, "stopping")
            assert int(late.headers["Retry-After"]) > 0
            assert late.headers["Connection"] == "close"
        released.write("done")
        released.close()
        assert running.result().json()["data"] == {"text": "done"}
        assert running.result().headers["Connection"] == "close"
        assert server.stop() == 0
    assert home.rows(STATUSES, "s") == [("REQUEST", "completed"), ("RESPONSE", "completed")]


def test_a_stop_cancels_tasks_after_the_grace_period_and_their_contracts_are_cancelled(home: Home) -> None:
    with at_work(home, "--grace", "0.1") as (server, running, _):
        (agent,) = (each for each in psutil.Process(server.process.pid).children() if each.name() == "cat")
        assert server.stop() == 0
        assert has_ended(agent)
        assert_cancelled(home, running)


def test_ctrl_c_prints_how_long_it_waits_and_a_second_one_ends_the_wait(home: Home) -> None:
    with at_work(home, "--grace", "99") as (server, running, _):
        server.process.send_signal(signal.SIGINT)
        wait_for(lambda: "aorch is stopping: waiting up to 99 s for 1 running; Ctrl-C cancels them" in server.log)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(WAIT_S) == 0
        assert_cancelled(home, running)


def test_an_idle_connection_does_not_delay_a_stop(home: Home) -> None:
    with serving(home, "--grace", "99") as server:
        address = urlsplit(server.url)
        with closing(socket.create_connection((address.hostname, address.port))):
            assert server.get("/v1/health").status_code == 200
            assert server.stop() == 0


# Several


def test_workers_share_a_port_and_a_killed_one_is_restarted(home: Home) -> None:
    with serving(home, "--workers", "2") as server:
        supervisor, port = psutil.Process(server.process.pid), urlsplit(server.url).port

        def listening() -> set[psutil.Process]:
            found = set()
            for worker in supervisor.children():
                with suppress(psutil.NoSuchProcess):
                    if any(each.laddr.port == port and each.status == "LISTEN" for each in worker.net_connections()):
                        found.add(worker)
            return found

        assert server.get("/v1/health").status_code == 200  # once it has said its address somebody listens there
        wait_for(lambda: len(listening()) == 2)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: server.get_by_new_connection("/v1/health").status_code, range(40)))
            assert answers == [200] * 40
            assert all(threads.map(lambda _: ask(server).json()["success"], range(40)))
        before = listening()
        next(iter(before)).kill()
        wait_for(lambda: len(listening() - before) == 1)
        wait_for(lambda: len(listening()) == 2)
        assert ask(server).json()["success"] is True
        everyone = supervisor.children(recursive=True)
        assert server.stop() == 0
    wait_for_ends(everyone)
    assert len(home.rows("SELECT * FROM contracts")) == 82


def test_a_second_ctrl_c_ends_the_wait_of_workers_too(home: Home) -> None:
    """A terminal sends SIGINT to all processes, and the supervisor notifies its workers as well."""
    with at_work(home, "--workers", "2", "--grace", "99") as (server, running, _):
        supervisor = psutil.Process(server.process.pid)

        def ctrl_c() -> None:
            for each in (supervisor, *supervisor.children()):
                with suppress(psutil.NoSuchProcess):  # the supervisor has told it already, and it is gone
                    each.send_signal(signal.SIGINT)

        ctrl_c()
        wait_for(lambda: "aorch is stopping: waiting up to 99 s for 1 running; Ctrl-C cancels them" in server.log)
        assert not running.done()
        ctrl_c()
        assert server.process.wait(START_S) == 0
        assert_cancelled(home, running)


@pytest.mark.torture
def test_two_servers_and_ten_commands_share_a_ledger_at_once(home: Home) -> None:
    with serving(home) as one, serving(home) as other, ThreadPoolExecutor(8) as threads:
        commands = [home.start("run", "echo", f"text={number}", "--session", "terminal") for number in range(10)]
        numbers = range(200)
        answers = threads.map(
            lambda number: ask((one, other)[number % 2], session="http", parameters={"text": f"{number}"}), numbers
        )
        for number, response in zip(numbers, answers, strict=True):
            assert response.json()["data"] == {"message": f"Echo: {number}"}
        for command in commands:
            assert command.communicate(timeout=START_S)[1] == b""
            assert command.returncode == 0
    pairs = home.rows(
        "SELECT q.session_id, count(*), count(DISTINCT q.contract_id) FROM contracts q JOIN contracts r"
        " ON r.request_id = q.contract_id WHERE q.status = 'completed' AND r.status = 'completed' GROUP BY 1 ORDER BY 1"
    )
    assert pairs == [("http", 200, 200), ("terminal", 10, 10)]
    assert home.rows("SELECT count(*) FROM contracts") == [(420,)]
    assert is_intact(home.ledger)
