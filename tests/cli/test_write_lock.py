"""Ctrl-C and SIGTERM while another program holds the write lock: every command ends within a second."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from homes import Home
from rows import locked, pairs, put
from waiting import WAIT_S, wait_for

from aorch import Orchestrator

END_S = 4.0
"""A second, and more for a machine that is busy; a write waits 5 s for the lock."""

CONFIG = """
[agents.slow]
command = ["sh", "-c", "touch started; sleep 60"]
[agents.slow.capabilities.slow]
idempotent = true
"""


def has_open(process: subprocess.Popen[bytes], ledger: Path) -> bool:
    """Whether it has the ledger open, after which it waits for the lock; it must not have ended."""
    assert process.poll() is None, process.communicate()
    return any(opened.path == str(ledger) for opened in psutil.Process(process.pid).open_files())


def is_sent_to_another_thread(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Whether a thread other than the main one got that signal: the kernel prefers the one whose id is given."""
    others = [each.id for each in psutil.Process(process.pid).threads() if each.id != process.pid]
    with contextlib.suppress(ProcessLookupError):
        for thread in others[:1]:
            os.kill(thread, number)
            return True
    return False


def ends(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Its exit code after that signal, which it must give soon."""
    begun = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    assert time.monotonic() - begun < END_S, err.decode()
    assert b"Traceback" not in err
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "echo", "text=hi"),
        ("run", "slow", "--detach"),
        ("run", "--batch", "tasks.jsonl"),
        ("tokens", "create", "ci"),
        ("compress", "--all", "--min-contracts", "1"),
        ("contracts", "list", "--text", "word0"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
@pytest.mark.sqlite_only("which process has the file open")
def test_a_command_that_waits_for_the_lock_ends_at_a_signal(
    home: Home, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    """What it had not begun to write is not in the ledger afterwards, and what is there stays."""
    home.write("aorch.toml", CONFIG)
    home.write("tasks.jsonl", '{"capability": "echo", "parameters": {"text": "hi"}}\n' * 20)
    put(home.ledger, *pairs(1))
    with locked(home.ledger):
        process = home.start(*arguments)
        wait_for(lambda: has_open(process, home.ledger))
        assert ends(process, number) in (128 + number, -number)
    assert home.rows("SELECT count(*) FROM contracts") == [(2,)]
    assert home.rows("SELECT count(*) FROM tokens") == [(0,)]


@pytest.mark.sqlite_only("which process has the file open")
def test_a_batch_that_waits_for_the_lock_ends_at_a_signal_that_another_of_its_threads_gets(home: Home) -> None:
    """The main thread, in which Python handles signals, goes on waiting in its system call, unless something wakes it."""
    home.write("tasks.jsonl", '{"capability": "echo", "parameters": {"text": "hi"}}\n')
    put(home.ledger, *pairs(1))
    with locked(home.ledger):
        process = home.start("run", "--batch", "tasks.jsonl")
        wait_for(lambda: has_open(process, home.ledger))
        wait_for(lambda: is_sent_to_another_thread(process, signal.SIGINT))
        process.communicate(timeout=END_S)
    assert process.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [("run", "echo", "text=hi"), ("run", "--batch", "tasks.jsonl")])
@pytest.mark.sqlite_only("which process has the file open")
def test_a_command_that_waits_to_answer_for_a_dead_process_ends_at_a_signal(
    home: Home, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    """The next one answers for it."""
    home.write("aorch.toml", CONFIG)
    home.write("tasks.jsonl", '{"capability": "echo", "parameters": {"text": "hi"}}\n')
    with home.start("run", "slow") as dead:
        wait_for((home.folder / "started").exists)
        dead.kill()
    with locked(home.ledger):
        process = home.start(*arguments)
        wait_for(lambda: has_open(process, home.ledger))
        assert ends(process, number) == 128 + number
    home.aorch("contracts", "list")
    assert home.rows("SELECT status FROM contracts ORDER BY position") == [("failed",), ("interrupted",)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_whose_agent_is_at_work_ends_though_its_response_cannot_be_written(
    home: Home, number: signal.Signals
) -> None:
    """The next process answers it."""
    home.write("aorch.toml", CONFIG)
    process = home.start("run", "slow")
    wait_for((home.folder / "started").exists)
    with locked(home.ledger):
        assert ends(process, number) == 128 + number
    home.aorch("contracts", "list")
    assert home.rows("SELECT status FROM contracts ORDER BY position") == [("failed",), ("interrupted",)]


@pytest.mark.parametrize("command", [("worker", "--grace", "0"), ("serve", "--port", "0", "--grace", "0")])
def test_a_worker_that_cannot_give_its_task_back_ends_at_a_signal(home: Home, command: tuple[str, ...]) -> None:
    """A task that it had begun waits again once another process comes, and the lock is free."""
    home.write("aorch.toml", CONFIG)
    contract_id = home.aorch("run", "slow", "--detach").out.strip()
    process = home.start(*command)
    if command[0] == "serve":
        assert process.stderr
        process.stderr.readline()  # that it serves
    wait_for((home.folder / "started").exists)
    with locked(home.ledger):
        assert ends(process, signal.SIGTERM) == 0
    home.aorch("contracts", "list")
    state = "SELECT status, claimed_by FROM contracts WHERE contract_id = ?"
    assert home.rows(state, contract_id) == [("pending", None)]


@pytest.mark.sqlite_only("another program holds the file")
def test_a_new_ledger_whose_file_another_program_holds_is_not_waited_for_after_a_signal(bare_home: Home) -> None:
    """Before it is made there is no write-ahead log, so that even a look waits."""
    with locked(bare_home.ledger, "BEGIN EXCLUSIVE"):
        process = bare_home.start("serve", "--port", "0")
        wait_for(lambda: has_open(process, bare_home.ledger))
        assert ends(process, signal.SIGINT) in (130, -signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.sqlite_only("another program holds the file")
def test_a_run_that_waits_to_open_the_ledger_ends_at_a_signal_and_says_that_nothing_is_recorded(
    bare_home: Home, number: signal.Signals
) -> None:
    with locked(bare_home.ledger, "BEGIN EXCLUSIVE"):
        process = bare_home.start("run", "echo", "text=hi")
        wait_for(lambda: has_open(process, bare_home.ledger))
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert err.decode().endswith("error: interrupted before the task started; it is not recorded\n")


async def test_what_waited_for_the_lock_is_written_once_it_is_free(home: Home) -> None:
    """Waiting in slices is waiting all the same."""
    orchestrator = Orchestrator(home.ledger)
    async with orchestrator:
        await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "before"}})
        with locked(home.ledger):
            asking = asyncio.ensure_future(
                orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "hi"}})
            )
            done, _ = await asyncio.wait((asking,), timeout=0.5)
            assert not done
        assert (await asking)["success"]
