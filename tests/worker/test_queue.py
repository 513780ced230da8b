"""The queue: one process queues a task and another executes it."""

import time
from contextlib import closing
from typing import Any

import psutil
import pytest
from homes import Home
from queueing import besides_log, detach, furnish, noted, said, working
from waiting import WAIT_S, wait_for

from aorch.ledger.database import connect

ROWS_WRITTEN = "SELECT tup_inserted, tup_updated, tup_deleted FROM pg_stat_database WHERE datname = current_database()"


def test_a_detached_task_is_done_by_a_worker_and_waited_for(home: Home) -> None:
    request_id = detach(home, "note", "text=hi", "--session", "s")
    assert home.rows("SELECT contract_id, contract_type, status, to_agent, session_id FROM contracts") == [
        (request_id, "REQUEST", "pending", None, "s")
    ]
    with working(home):
        done = home.aorch("contracts", "wait", request_id, "--timeout", "20")
    assert (done.code, done.out) == (0, "hi\n")
    request, response = home.rows(
        "SELECT status, from_agent, to_agent, claimed_by, request_id FROM contracts ORDER BY position"
    )
    assert request == ("completed", "orchestrator", "noter", None, None)
    assert response == ("completed", "noter", "orchestrator", None, request_id)
    again = home.aorch("contracts", "wait", request_id[-6:], "--json").json
    assert (again["contract_id"], again["data"], again["agent_id"]) == (request_id, {"text": "hi"}, "noter")


def test_a_worker_drains_what_there_is_and_leaves(home: Home) -> None:
    ids = [detach(home, "note", f"text={number}") for number in range(3)]
    later = detach(home, "note", "text=later", "--not-before", "1h")
    done = home.aorch("worker", "--drain")
    assert (done.code, done.out, besides_log(done.err)) == (0, "", "")
    assert sorted(noted(home, "note")) == ["0", "1", "2"]
    assert [said(home, each)[0] for each in (*ids, later)] == ["completed"] * 3 + ["pending"]
    lines = home.aorch("contracts", "wait", *ids).out.splitlines()
    assert len(lines) == 3


def test_waiting_gives_up_in_time_and_says_what_is_missing(home: Home) -> None:
    request_id = detach(home, "note", "text=hi")
    done = home.aorch("contracts", "wait", request_id, "--timeout", "0.1")
    assert (done.code, done.out) == (5, "")
    assert request_id in done.err
    assert "aorch worker" in done.err


def test_a_failure_has_the_exit_code_that_run_gives(home: Home) -> None:
    home.write(
        "aorch.toml", '[agents.no]\ncommand = ["sh", "-c", "echo no >&2; exit 3"]\n[agents.no.capabilities.fail]\n'
    )
    request_id = detach(home, "fail")
    assert home.aorch("worker", "--drain").code == 0
    done = home.aorch("contracts", "wait", request_id)
    assert (done.code, home.aorch("run", "fail").code) == (10, 10)
    assert "no" in done.err


def test_each_task_is_a_line_of_the_log(home: Home) -> None:
    home.write("aorch.toml", '[agents.no]\ncommand = ["sh", "-c", "exit 3"]\n[agents.no.capabilities.fail]\n')
    failed = detach(home, "fail", "-s", "night")
    completed = detach(home, "echo", "text=hi", "-s", "a\nb")
    done = home.aorch("worker", "--drain")
    assert done.code == 0
    lines = {line.split(" contract_id=")[1].split()[0]: line for line in done.err.splitlines()}
    assert lines.keys() == {failed, completed}
    when, capability, status, milliseconds, _ = lines[failed].split(" ", 4)
    ((moment,),) = home.rows("SELECT created_at FROM contracts WHERE request_id = ?", failed)
    assert (when, capability, status) == (moment, "fail", "failed")
    assert float(milliseconds) > 0
    assert lines[failed].endswith(f" ms contract_id={failed} session=night code=agent_failed")
    assert lines[completed].endswith(f" ms contract_id={completed} session=a\\nb")


def test_what_no_agent_here_can_do_is_told_at_the_start_and_once(home: Home) -> None:
    """`wait` names both reasons why nobody has done a task."""
    first = detach(home, "note")
    detach(home, "note")
    detach(home, "hold", "--agent", "noter")
    home.write("aorch.toml", "")
    done = home.aorch("worker", "--drain")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        f"warning: 1 task waits for hold by noter, which no agent of {home.folder}/aorch.toml has",
        f"warning: 2 tasks wait for note, which no agent of {home.folder}/aorch.toml has",
    ]
    (home.folder / "aorch.toml").unlink()
    worker = home.start("worker")
    assert worker.stderr is not None
    assert b"no agent here has, and there is no aorch.toml" in worker.stderr.readline()
    hint = home.aorch("contracts", "wait", first, "--timeout", "0.1").err
    assert "aorch worker" in hint
    assert "capability" in hint
    worker.terminate()
    assert worker.wait(WAIT_S) == 0
    worker.communicate()


def test_draining_tells_at_its_end_what_came_meanwhile(home: Home) -> None:
    """From another folder, whose agents this one does not have; what was told at the start is told no second time."""
    detach(home, "appear")
    detach(home, "hold", "text=a")
    worker = home.start("worker", "--drain")
    wait_for(lambda: noted(home, "hold"))
    (home.folder / "other").mkdir()
    other = Home(home.folder / "other", home.environment)
    other.write("aorch.toml", '[agents.b]\ncommand = ["true"]\n[agents.b.capabilities.build]\n')
    detach(other, "build")
    home.write("a.go", "")
    _, err = worker.communicate(timeout=WAIT_S)
    assert worker.returncode == 0
    first, last = besides_log(err.decode()).splitlines()
    assert first.startswith("warning: 1 task waits for appear, and absent cannot work now (")
    assert last == f"warning: 1 task waits for build, which no agent of {home.folder}/aorch.toml has"


def test_a_worker_warns_of_a_ledger_that_was_named_and_is_not_there(home: Home) -> None:
    done = home.aorch("worker", "--drain", "--ledger", "typo.db")
    assert done.code == 0
    assert done.err == f"warning: no ledger at {home.folder}/typo.db: aorch creates it\n"


def test_the_options_of_the_queue_need_detach(home: Home) -> None:
    done = home.aorch("run", "note", "--priority", "1")
    assert done.code == 2
    assert "--detach" in done.err


def test_lower_priorities_go_first_and_in_one_what_came_first(home: Home) -> None:
    for text, priority in (("c", "3"), ("e", "5"), ("d", "3"), ("a", "1"), ("b", "2")):
        detach(home, "note", f"text={text}", "--priority", priority, "--session", "s")
    assert home.aorch("worker", "--drain", "--parallel", "1").code == 0
    assert noted(home, "note") == ["a", "b", "c", "d", "e"]


def test_a_task_is_not_begun_before_its_time(home: Home) -> None:
    at = time.time() + 1.5
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
    request_id = detach(home, "note", "text=then", "--not-before", moment)
    with working(home):
        wait_for(lambda: noted(home, "note"))
        assert time.time() >= at - 0.001
        assert home.aorch("contracts", "wait", request_id).code == 0


def test_a_task_that_nobody_began_in_time_is_expired(home: Home) -> None:
    request_id = detach(home, "note", "text=late", "--expires", "0.01s")
    assert home.aorch("worker", "--drain").code == 0
    assert said(home, request_id)[:2] == ("failed", "failed")
    done = home.aorch("contracts", "wait", request_id)
    assert done.code == 5
    assert "before" in done.err
    assert noted(home, "note") == []
    assert home.aorch("run", "note", "--detach", "--expires", "1h", "--not-before", "2h").code == 2


def test_a_task_expires_also_where_every_place_is_taken(home: Home) -> None:
    held = detach(home, "hold", "text=held")
    with working(home, "--parallel", "1"):
        wait_for(lambda: noted(home, "hold"))
        late = detach(home, "note", "--expires", "0.01s")
        wait_for(lambda: said(home, late)[1] == "failed")
        home.write("held.go", "")
        assert home.aorch("contracts", "wait", held).code == 0


def test_a_task_whose_program_is_missing_waits_for_it(home: Home) -> None:
    request_id = detach(home, "appear")
    assert home.aorch("worker", "--drain").code == 0
    assert said(home, request_id) == ("pending", None, None)
    with working(home) as worker:
        assert worker.stderr is not None
        assert b"warning: 1 task waits for appear, and absent cannot work now (" in worker.stderr.readline()
        program = home.write("arrives", "#!/bin/sh\necho here\n")
        program.chmod(0o755)
        program.rename(home.folder / "appears")
        assert home.aorch("contracts", "wait", request_id, "--timeout", "20").out == "here\n"


@pytest.mark.parametrize(
    ("arguments", "code"), [(("nothing", "text=hi"), 11), (("echo", "text:=3"), 2)], ids=["no agent", "parameters"]
)
def test_a_task_that_nobody_can_do_is_refused_with_both_contracts(
    home: Home, arguments: tuple[str, ...], code: int
) -> None:
    done = home.aorch("run", *arguments, "--detach")
    assert (done.code, done.out) == (code, "")
    assert home.rows("SELECT contract_type, status FROM contracts") == [("REQUEST", "failed"), ("RESPONSE", "failed")]


def test_a_full_queue_refuses_and_says_so(home: Home) -> None:
    furnish(home, "[queue]\nmax_waiting = 2\n")
    detach(home, "note")
    detach(home, "note", "--not-before", "1h")
    done = home.aorch("run", "note", "--detach")
    assert (done.code, done.out) == (15, "")
    assert "max_waiting" in done.err
    assert home.rows("SELECT count(*) FROM contracts") == [(2,)]
    home.aorch("worker", "--drain")
    detach(home, "note")


def test_agents_are_given_no_more_than_they_take_at_a_time(home: Home) -> None:
    ids = [detach(home, "hold_alone", f"text={name}") for name in "abc"]
    with working(home):
        wait_for(lambda: noted(home, "hold_alone"))
        detach(home, "note", "text=beside")
        wait_for(lambda: noted(home, "note"))
        assert noted(home, "hold_alone") == ["a"]
        wait_for(lambda: home.rows("SELECT count(*) FROM contracts WHERE claimed_by IS NOT NULL") == [(1,)])
        for name in "abc":
            home.write(f"{name}.go", "")
        assert home.aorch("contracts", "wait", *ids, "--timeout", "20").code == 0
    assert noted(home, "hold_alone") == ["a", "b", "c"]


@pytest.mark.torture
def test_an_idle_worker_writes_nothing(home: Home) -> None:
    """In more than fifty looks: not one byte of a file, nor a commit that leaves none; not one row of a database."""
    detach(home, "note", "--not-before", "1h")
    with working(home) as process, closing(connect(home.ledger)) as connection:
        idle = psutil.Process(process.pid)
        done = detach(home, "note", "text=ready")
        wait_for(lambda: said(home, done)[0] == "completed")

        def state_after_looks() -> list[Any]:
            looks = idle.num_ctx_switches().voluntary
            wait_for(lambda: idle.num_ctx_switches().voluntary > looks + 100)
            if home.database is not None:
                return home.rows(ROWS_WRITTEN)
            files = [home.ledger, home.ledger.with_name("ledger.db-wal")]
            return [connection.execute("PRAGMA data_version").fetchone(), *(file.read_bytes() for file in files)]

        before = state_after_looks()
        assert state_after_looks() == before
