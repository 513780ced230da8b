"""Standard input, output and error, descriptors and signals: as the shell gave them, and none of an agent's business."""

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from homes import Home
from waiters import have_ended, written_pids
from waiting import WAIT_S, wait_for

NOISY = """
import atexit, os, subprocess, sys, threading
from aorch.agents import Agent, AgentCapability

os.system("echo noise while loading")
atexit.register(print, "noise at the exit")


def go_on(ended=threading.main_thread()):
    ended.join()
    print("noise of a thread")



class Noisy(Agent):
    def __init__(self):
        super().__init__("noisy", "Noisy")

    def get_capabilities(self):
        return [AgentCapability("noise")]

    def execute(self, task):
        os.write(1, b"noise of C code\\n")
        sys.__stdout__.write("noise of Python\\n")
        sys.__stdout__.flush()
        read = subprocess.run(["cat"], stdout=subprocess.PIPE).stdout + sys.stdin.read().encode() + os.read(0, 99)
        subprocess.run(["echo", "noise of a child"])
        threading.Thread(target=go_on).start()
        return {"success": True, "data": {"read": len(read)}}
"""
SLEEPER = """
[agents.sleeper]
command = ["sh", "-c", "echo $$ > pid; exec sleep 60"]
[agents.sleeper.capabilities.sleep]
idempotent = true
[agents.napper]
command = ["sh", "-c", "echo $$ > pid; until [ -e go ]; do sleep 0.02; done; echo done"]
[agents.napper.capabilities.nap]
"""


@pytest.fixture
def noisy(home: Home) -> Home:
    """A machine with an agent that reads and prints wherever it can."""
    home.write("noisy.py", NOISY)
    home.write("aorch.toml", '[agents.noisy]\nclass = "noisy:Noisy"\n')
    return home


def ignoring(*numbers: int) -> Callable[[], None]:
    """What a child does so that it ignores these signals, as below nohup."""

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return ignore


# Agents


@pytest.mark.parametrize("file", ["-", "/dev/stdin"])
def test_agents_read_nothing_of_a_batch_and_write_nothing_among_its_results(noisy: Home, file: str) -> None:
    done = noisy.aorch("run", "--batch", file, "--parallel", "2", stdin='{"capability": "noise"}\n' * 6)
    assert [json.loads(line)["data"] for line in done.out.splitlines()] == [{"read": 0}] * 6
    for noise in ("while loading", "of C code", "of Python", "of a child"):
        assert f"noise {noise}" in done.err


@pytest.mark.parametrize(
    "arguments",
    [("run", "noise", "--json"), ("run", "noise", "--detach", "--json"), ("agents", "list", "--json"), ("status", "--json")],
    ids=lambda arguments: " ".join(arguments),
)  # fmt: skip
def test_what_agents_print_never_reaches_standard_output(noisy: Home, arguments: tuple[str, ...]) -> None:
    done = noisy.aorch(*arguments, stdin="not for agents")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    assert done.json
    assert "noise while loading" in done.err


def test_an_agent_of_a_worker_reads_no_standard_input(noisy: Home) -> None:
    assert noisy.aorch("run", "noise", "--detach").code == 0
    assert noisy.aorch("worker", "--drain", stdin="not for agents").code == 0
    assert noisy.rows("SELECT result FROM contracts WHERE result IS NOT NULL") == [('{"read":0}',)]


# Streams that are closed or cannot be written


def closing(number: int) -> Callable[[], None]:
    return lambda: os.close(number)


@pytest.mark.parametrize(
    "arguments",
    [("run", "echo", "text=@-"), ("run", "--batch", "-"), ("contracts", "import", "-")],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_closed_standard_input_is_an_error(home: Home, arguments: tuple[str, ...]) -> None:
    process = home.start(*arguments, stdin=None, preexec_fn=closing(0))
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert err.decode().startswith("error: standard input is closed\n")


@pytest.mark.parametrize("how", ["full", "closed", "unread"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("run", "nosuch"), 11), (("contracts", "show", "zzzz"), 12), (("run", "--nosuch"), 2), (("run", "echo", "text=x"), 0)],
)  # fmt: skip
def test_a_stderr_that_takes_nothing_changes_no_exit_code(
    home: Home, arguments: tuple[str, ...], code: int, how: str
) -> None:
    if how == "full":
        with Path("/dev/full").open("wb") as full:
            process = home.start(*arguments, stderr=full)
    elif how == "closed":
        process = home.start(*arguments, stderr=None, preexec_fn=closing(2))
    else:
        process = home.start(*arguments)
        assert process.stderr
        process.stderr.close()
    assert process.stdout
    with process.stdout:
        out = process.stdout.read()
    assert process.wait(WAIT_S) == code
    assert out == (b"Echo: x\n" if code == 0 else b"")


# Signals and limits


@pytest.mark.parametrize(("number", "command"), [
    (signal.SIGHUP, "run"), (signal.SIGINT, "run"), (signal.SIGTERM, "batch"), (signal.SIGHUP, "worker"),
])  # fmt: skip
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(home: Home, number: signal.Signals, command: str) -> None:
    home.write("aorch.toml", SLEEPER)
    home.write("t.jsonl", '{"capability": "nap"}\n')
    if command == "worker":
        assert home.aorch("run", "nap", "--detach").code == 0
    arguments = {"run": ["run", "nap"], "batch": ["run", "--batch", "t.jsonl"], "worker": ["worker", "--drain"]}
    process = home.start(*arguments[command], preexec_fn=ignoring(number))
    written_pids(home.folder / "pid")
    process.send_signal(number)
    (home.folder / "go").touch()
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err.decode()
    assert home.rows("SELECT status FROM contracts WHERE contract_type = 'RESPONSE'") == [("completed",)]


def test_a_hangup_stops_a_worker_and_its_programs(home: Home) -> None:
    home.write("aorch.toml", SLEEPER)
    assert home.aorch("run", "sleep", "--detach").code == 0
    process = home.start("worker", "--grace", "0")
    written_pids(home.folder / "pid")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert wait_for(lambda: have_ended(home.folder / "pid"))
    assert home.rows("SELECT status FROM contracts") == [("pending",)]


def test_a_hangup_stops_a_service_and_its_programs(home: Home) -> None:
    home.write("aorch.toml", SLEEPER)
    assert home.aorch("run", "sleep", "--detach").code == 0
    process = home.start("serve", "--port", "0", "--grace", "0")
    written_pids(home.folder / "pid")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert wait_for(lambda: have_ended(home.folder / "pid"))


def test_the_soft_limit_of_descriptors_is_raised(home: Home) -> None:
    home.write("aorch.toml", '[agents.l]\ncommand = ["sh", "-c", "ulimit -n"]\n[agents.l.capabilities.limit]\n')
    process = home.start("run", "limit", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4000)))
    assert process.communicate(timeout=WAIT_S)[0] == b"4000\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        ("run", "--help"),
        ("contracts", "list"),
        ("contracts", "export"),
        ("agents", "list"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_full_standard_output_is_one_error_for_every_command(incident: Home, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = incident.start(*arguments, stdout=full)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 74
    assert err.decode().startswith("error: cannot write to standard output: No space left on device\n")
    assert b"Traceback" not in err


def test_an_export_to_a_closed_standard_output_is_an_error(incident: Home) -> None:
    process = incident.start("contracts", "export", stdout=None, preexec_fn=closing(1))
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err.decode().splitlines()[0]) == (
        74,
        "error: cannot write to standard output: it is closed",
    )


def test_a_pipe_that_does_not_block_gets_everything(home: Home) -> None:
    home.write("aorch.toml", '[agents.a]\ncommand = ["seq", "200000"]\n[agents.a.capabilities.a]\n')
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = home.start("run", "a", stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as out:
        printed = out.read()
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert printed.splitlines()[-1] == b"200000"
