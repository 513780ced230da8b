"""`aorch run --batch` on a server: the same results as on a ledger file, and a batch that was interrupted continues."""

import json
import os
import signal
from collections.abc import Iterator

import pytest
from homes import Home
from remote_homes import seen, with_client
from serving import serving
from waiting import WAIT_S

CONFIG = """
[agents.held]
command = ["cat", "{gate}"]
capabilities.hold = {}
"""
LINES = (
    '{"capability": "echo", "id": "a"}\n{"capability": "fly"}\nnot JSON\n{"parameters": {"text": "b"}, "priority": 1}\n'
)


@pytest.fixture
def client(home: Home) -> Iterator[Home]:
    """A machine that uses the server of `home`."""
    home.write("aorch.toml", CONFIG)
    with serving(home) as server:
        yield with_client(home, server.url)


def test_a_batch_has_the_same_results_on_a_server(client: Home, home: Home) -> None:
    for each in (client, home):
        each.write("tasks.jsonl", LINES)
    command = ("run", "echo", "text=default", "--batch", "tasks.jsonl", "--ordered", "--session", "s")
    assert seen(client.aorch(*command)) == seen(home.aorch(*command))


def test_finished_lines_of_a_resumed_batch_have_their_first_answer(client: Home) -> None:
    client.write("tasks.jsonl", LINES)
    command = ("run", "echo", "text=default", "--batch", "tasks.jsonl", "--ordered")
    first, again = client.aorch(*command), client.aorch(*command, "--resume")
    answers = [[json.loads(line) for line in done.out.splitlines()] for done in (first, again)]
    assert answers[0][0] == answers[1][0]
    assert answers[0][3] == answers[1][3]
    assert "2 from an earlier run" in again.err


def test_ctrl_c_cancels_the_running_tasks_of_a_batch_on_the_server(client: Home, home: Home) -> None:

    gate = home.folder / "gate"
    os.mkfifo(gate)
    client.write("tasks.jsonl", json.dumps({"capability": "hold", "parameters": {"gate": str(gate)}}) + "\n")
    running = client.start("run", "--batch", "tasks.jsonl")
    with gate.open("w"):  # the agent reads
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=WAIT_S * 4)
    assert running.returncode == 130
    assert b"interrupted: 1 lines: 0 succeeded, 1 cancelled" in err.replace(b"1 line:", b"1 lines:")
    assert b"--resume" in err
    assert home.aorch("log", "--jq", ".status").out == "cancelled\n"
