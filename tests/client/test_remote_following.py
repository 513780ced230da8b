"""Commands that follow a server, and tasks that Ctrl-C cancels on it."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from breaking_proxy import breaking
from homes import Home
from remote_homes import with_client
from serving import Server, serving
from tls_proxy import tls_proxy
from waiting import WAIT_S

CONFIG = """
[agents.held]
command = ["cat", "{gate}"]
capabilities.hold = {}
"""


@pytest.fixture(scope="module")
def server(module_home: Home) -> Iterator[Server]:
    """A server whose agent `held` runs until a FIFO is opened for writing."""
    module_home.write("aorch.toml", CONFIG)
    module_home.aorch("run", "echo", "text=first")
    with serving(module_home) as server:
        yield server


@pytest.fixture
def client(module_home: Home, server: Server) -> Home:
    """A machine that uses the server."""
    return with_client(module_home, server.url)


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (("contracts", "tail", "--fields", "contract_type,capability"), "REQUEST"),
        (("contracts", "tail", "--type", "response", "--jsonl"), "RESPONSE"),
        (("contracts", "tail", "--text", "first", "--jsonl"), "REQUEST"),
        (("log", "--jsonl"), "uppercase"),
    ],
)
def test_new_contracts_are_printed_as_they_are_written(
    client: Home, module_home: Home, command: tuple[str, ...], printed: str
) -> None:
    following = client.start(*command, "-f", "-n", "1")
    assert following.stdout is not None
    following.stdout.readline()  # it follows now
    module_home.aorch("run", "uppercase", "text=first")
    new = json.loads(following.stdout.readline())
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=WAIT_S * 4)
    assert (following.returncode, new.get("contract_type") or new["capability"]) == (130, printed), err


FORGOTTEN = """
import os, signal, sys
from aorch.__main__ import main

def send(frame, event, _):
    if event == "return" and frame.f_code is signal.signal.__code__ and frame.f_back.f_globals["__name__"] == "asyncio.runners":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

sys.argv[1:] = ["contracts", "list"]
sys.setprofile(send)
main()
"""
"""`aorch contracts list` that gets a Ctrl-C just after asyncio has set its handler, and before it sets its count of them to 0."""


def test_ctrl_c_ends_a_command_without_a_traceback_also_where_asyncio_forgets_it(client: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN], cwd=client.folder, env=client.environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"")


def test_ctrl_c_cancels_the_task_on_the_server(client: Home, module_home: Home) -> None:
    gate = module_home.folder / "gate"
    os.mkfifo(gate)
    running = client.start("run", "hold", f"gate={gate}", "--session", "stopped")
    with gate.open("w"):  # the agent reads
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=WAIT_S * 4)
    assert (running.returncode, b"the task is recorded as cancelled" in err) == (130, True), err
    found = module_home.aorch("log", "-s", "stopped", "--jq", "[.status, .error]").out
    assert json.loads(found) == ["cancelled", "cancelled by the caller"]


def test_a_task_runs_once_though_its_connection_broke(client: Home, module_home: Home, server: Server) -> None:
    with breaking(server.url, answers_to_lose=3) as url:
        client.environment["AORCH_URL"] = url
        done = client.aorch("run", "echo", "text=once", "--session", "once")
    assert (done.code, done.out) == (0, "Echo: once\n")
    assert module_home.aorch("log", "-s", "once", "--jq", ".status").out == "completed\n"


def test_a_reader_that_closes_its_pipe_ends_the_command(client: Home) -> None:
    done = client.bash("set -o pipefail; aorch contracts export | head -n 1")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_server_with_a_certificate_of_an_own_ca_is_trusted_only_with_its_file(
    client: Home, module_home: Home, server: Server
) -> None:
    made = subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
            " -keyout key.pem -out ca.pem"
        ),
        cwd=client.folder,
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    with tls_proxy(server.url, client.folder / "ca.pem", client.folder / "key.pem") as url:
        client.environment["AORCH_URL"] = url
        refused = client.aorch("log")
        assert (refused.code, "certificate" in refused.err, "ca_file" in refused.err) == (3, True, True), refused.err
        client.write("aorch.toml", '[remote]\nca_file = "ca.pem"\n')
        assert client.aorch("run", "echo", "text=hi").out == "Echo: hi\n"
        client.write("aorch.toml", "")
        assert client.aorch("login", url, "--ca-file", "ca.pem").code == 0
        assert client.aorch("run", "echo", "text=hi").out == "Echo: hi\n"
