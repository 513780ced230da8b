"""Commands that run at once, are interrupted or killed: no row is lost, and the next start answers what they left."""

import os
import shutil
import signal
import subprocess

import pytest
from command_checks import ends_of
from homes import Home, prestarted
from ledger_state import is_intact, owner_count
from waiters import WAITING, have_ended, kill_at_work, start_waiting
from waiting import WAIT_S, wait_for

# Many at once

WRITING = """
import asyncio, sys
from aorch import Orchestrator

async def main():
    async with Orchestrator() as orchestrator:
        for n in range(5):
            tasks = [{"capability": "echo", "parameters": {"text": f"{n} {i}"}} for i in range(4)]
            answers = await asyncio.gather(*(orchestrator.orchestrate(sys.argv[1], task) for task in tasks))
            assert all(answer["success"] for answer in answers)

asyncio.run(main())
"""


def start_many(home: Home, program: str, count: int) -> list[str]:
    """Run that many processes of that program at once; each exits with 0. What they write on stderr."""
    forked, script, pipe = prestarted(), home.write("program.py", program), subprocess.PIPE
    assert forked is not None
    running = [
        forked.start(
            ["--script", str(script), f"s{n}"],
            home.folder,
            home.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=pipe,
        )
        for n in range(count)
    ]
    ends = [((process.communicate(timeout=60)[1] or b"").decode(), process.returncode) for process in running]
    assert [code for _, code in ends] == [0] * count, ends
    return [said for said, _ in ends if said]


@pytest.mark.parametrize("count", [8, pytest.param(20, marks=pytest.mark.torture)])
def test_processes_that_write_at_once_lose_no_row(home: Home, count: int) -> None:
    assert start_many(home, WRITING, count) == []
    counts = "SELECT count(*), count(DISTINCT contract_id), count(DISTINCT request_id) FROM contracts"
    assert home.rows(counts) == [(40 * count, 40 * count, 20 * count)]
    assert home.rows("SELECT DISTINCT status FROM contracts") == [("completed",)]
    assert home.rows("SELECT DISTINCT count(*) FROM contracts GROUP BY session_id") == [(40,)]
    assert is_intact(home.ledger)
    assert owner_count(home.ledger) == 0


@pytest.mark.torture
def test_twenty_processes_open_a_ledger_that_does_not_exist_yet(home: Home) -> None:
    home.ledger.unlink()
    said = start_many(
        home, "import sys; from aorch.__main__ import main; sys.argv[1:] = ['run', 'echo', 'text=a']; main()", 20
    )
    assert set(said) == {f"warning: no ledger at {home.ledger}: aorch creates it\n"}
    assert home.rows("SELECT count(*), count(DISTINCT request_id) FROM contracts") == [(40, 20)]
    assert home.rows("SELECT DISTINCT status FROM contracts") == [("completed",)]
    assert home.rows("SELECT count(*) FROM alembic_version") == [(1,)]
    assert is_intact(home.ledger)


# The end of the process


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_cancels_the_contract_and_leaves_no_process(
    home: Home, number: signal.Signals, code: int
) -> None:
    home.write("aorch.toml", WAITING)
    running = start_waiting(home, "a", "--session", "s")
    os.killpg(running.pid, number)  # as a terminal does it: the whole foreground group
    out, err = running.communicate(timeout=WAIT_S)
    assert (running.returncode, out) == (code, b"")
    assert (
        err
        == b"error: interrupted; the task is recorded as cancelled\nhint: Show its contracts with `aorch contracts list -s s`.\n"
    )
    assert wait_for(lambda: have_ended(home.folder / "a.pids"))
    assert home.rows("SELECT contract_type, status, error, claimed_by FROM contracts ORDER BY position") == [
        ("REQUEST", "cancelled", None, None),
        ("RESPONSE", "cancelled", "cancelled by the caller", None),
    ]


def test_an_interrupt_before_anything_was_asked_leaves_no_trace(home: Home) -> None:
    reading = home.start("run", "echo", "text=@-", stdin=subprocess.PIPE)
    reading.send_signal(signal.SIGTERM)
    assert reading.communicate(timeout=WAIT_S) == (b"", b"")
    assert reading.returncode == -signal.SIGTERM
    assert ends_of(home) == []


def test_the_next_start_answers_what_a_killed_process_left_and_leaves_a_living_one_alone(home: Home) -> None:
    home.write("aorch.toml", WAITING)
    living = start_waiting(home, "living", "--session", "living")
    kill_at_work(home, "killed")
    statuses = (
        "SELECT session_id, contract_type, status FROM contracts WHERE session_id IN ('killed', 'living') "
        "ORDER BY session_id, position"
    )
    assert home.rows(statuses) == [("killed", "REQUEST", "in_progress"), ("living", "REQUEST", "in_progress")]
    for _ in range(2):
        assert home.aorch("run", "echo", "text=next").code == 0
        assert home.rows(statuses) == [
            ("killed", "REQUEST", "failed"),
            ("killed", "RESPONSE", "interrupted"),
            ("living", "REQUEST", "in_progress"),
        ]
    home.write("living.go", "")
    assert living.communicate(timeout=WAIT_S) == (b"living\n", b"")
    assert home.rows(statuses)[2:] == [("living", "REQUEST", "completed"), ("living", "RESPONSE", "completed")]
    response = home.rows("SELECT a.error, a.from_agent, q.completed_at = a.created_at FROM contracts a "
                         "JOIN contracts q ON q.contract_id = a.request_id WHERE a.session_id = 'killed'")  # fmt: skip
    assert response == [("interrupted: the process that ran this ended before waiter answered", "orchestrator", 1)]
    assert owner_count(home.ledger) == 0


@pytest.mark.parametrize("reading", [("contracts", "list", "--status", "interrupted"), ("status", "--json")])
def test_a_command_that_reads_after_a_kill_shows_the_task_as_interrupted(home: Home, reading: tuple[str, ...]) -> None:
    home.write("aorch.toml", WAITING)
    living = start_waiting(home, "living", "--session", "living")
    kill_at_work(home, "killed")
    assert "interrupted" in home.aorch(*reading).out
    assert home.rows("SELECT status FROM contracts WHERE session_id = 'living'") == [("in_progress",)]
    home.write("living.go", "")
    assert living.communicate(timeout=WAIT_S) == (b"living\n", b"")


def test_many_starts_at_once_answer_an_orphan_once(home: Home) -> None:
    home.write("aorch.toml", WAITING)
    kill_at_work(home, "killed")
    start_many(home, WRITING, 6)
    assert home.rows("SELECT status FROM contracts WHERE session_id = 'killed' ORDER BY position") == [
        ("failed",),
        ("interrupted",),
    ]


@pytest.mark.sqlite_only("a copy of the file")
def test_a_copy_of_a_ledger_without_its_owners_folder_is_recovered(home: Home) -> None:
    home.write("aorch.toml", WAITING)
    kill_at_work(home, "killed")
    shutil.rmtree(home.folder / "ledger.db-owners")
    assert home.aorch("run", "echo", "text=a").code == 0
    assert home.rows("SELECT status FROM contracts WHERE session_id = 'killed' AND request_id IS NOT NULL") == [
        ("interrupted",)
    ]
