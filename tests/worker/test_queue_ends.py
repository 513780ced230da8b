"""How what is in the queue ends before its time: cancelled at any stage, its worker stopped or killed, the disk full."""

import signal
import subprocess
import threading
from typing import Any

import pytest
from disks import Disk
from homes import Home
from ledger_state import owner_count
from ledgers import exists
from queueing import detach, end, furnish, noted, said, working
from serving import START_S, serving
from waiters import have_ended, written_pids
from waiting import WAIT_S, wait_for


def cancel(home: Home, request_id: str) -> str:
    """`aorch contracts cancel`; the status that it says."""
    done = home.aorch("contracts", "cancel", request_id)
    assert (done.code, done.err) == (0, ""), done
    same, status = done.out.split()
    assert same == request_id
    return status


BY_COMMAND = ("cancelled", "cancelled", "cancelled by aorch contracts cancel")

# Cancelling


@pytest.mark.parametrize("more", [(), ("--not-before", "1h")], ids=["waiting", "delayed"])
def test_what_waits_is_cancelled_at_once_and_stays_so(home: Home, more: tuple[str, ...]) -> None:
    request_id = detach(home, "note", *more)
    assert [cancel(home, request_id) for _ in range(2)] == ["cancelled", "cancelled"]
    assert said(home, request_id) == BY_COMMAND
    assert home.aorch("worker", "--drain").code == 0
    assert noted(home, "note") == []
    assert home.aorch("contracts", "wait", request_id).code == 130


def test_a_python_agent_at_work_is_cancelled(home: Home) -> None:
    request_id = detach(home, "hold", "text=a")
    with working(home):
        wait_for(lambda: noted(home, "hold"))
        assert cancel(home, request_id) == "in_progress"
        done = home.aorch("contracts", "wait", request_id, "--timeout", "20")
    assert done.code == 130
    assert said(home, request_id) == BY_COMMAND
    assert (home.folder / "a.stopped").exists()
    assert cancel(home, request_id) == "cancelled"


def test_a_program_at_work_is_ended_with_its_children(home: Home) -> None:
    request_id = detach(home, "wait", "name=a")
    with working(home):
        written_pids(pids := home.folder / "a.pids")
        assert cancel(home, request_id) == "in_progress"
        assert home.aorch("contracts", "wait", request_id, "--timeout", "20").code == 130
        wait_for(lambda: have_ended(pids))
    assert said(home, request_id) == BY_COMMAND


def test_what_is_done_is_not_cancelled(home: Home) -> None:
    request_id = detach(home, "note")
    home.aorch("worker", "--drain")
    assert cancel(home, request_id) == "completed"
    assert said(home, request_id) == ("completed", "completed", None)


def test_only_a_request_can_be_cancelled(home: Home) -> None:
    home.aorch("run", "note")
    ((response,),) = home.rows("SELECT contract_id FROM contracts WHERE request_id IS NOT NULL")
    for name in (response, "01K8VF9XK83SYH1HAX57ZGJDYS"):
        done = home.aorch("contracts", "cancel", name)
        assert (done.code, done.out) == (12, "")
    assert "RESPONSE" in home.aorch("contracts", "cancel", response).err


def test_what_can_be_cancelled_is_and_of_each_of_the_others_there_is_a_complaint(home: Home) -> None:
    first, second = detach(home, "note"), detach(home, "note")
    home.aorch("run", "note")
    ((response,),) = home.rows("SELECT contract_id FROM contracts WHERE request_id IS NOT NULL")
    done = home.aorch("contracts", "cancel", "abc", first, response, "no-such-id", second)
    assert (done.code, done.out) == (2, f"{first}\tcancelled\n{second}\tcancelled\n")
    complaints = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert [name in line for name, line in zip(("abc", response, "no-such-id"), complaints, strict=True)] == [True] * 3
    again = home.aorch("contracts", "cancel", "no-such-id", first, "--json")
    assert (again.code, again.json) == (12, [{"contract_id": first, "status": "cancelled"}])


def test_cancelling_on_a_ledger_that_is_not_there_makes_none(bare_home: Home) -> None:
    assert bare_home.aorch("contracts", "cancel", "01K8VF9XK83SYH1HAX57ZGJDYS").code == 12
    assert not exists(bare_home.ledger)


def test_what_expired_is_told_to_whoever_asks_though_nobody_works(home: Home) -> None:
    contract_id = home.aorch("run", "echo", "text=a", "--detach", "--expires", "0.05s").out.strip()
    done = home.aorch("contracts", "wait", contract_id)
    assert (done.code, "not started before" in done.err) == (5, True)
    assert home.aorch("run", "echo", "text=a", "--detach", "--expires", "2020-01-01").code == 2


def test_a_plain_run_is_cancelled_by_another_process(home: Home) -> None:
    running = home.start("run", "hold", "text=a")
    wait_for(lambda: noted(home, "hold"))
    ((request_id,),) = home.rows("SELECT contract_id FROM contracts")
    assert cancel(home, request_id) == "in_progress"
    _, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 130
    assert b"cancelled by aorch contracts cancel" in err
    assert said(home, request_id) == BY_COMMAND


def test_a_request_over_http_is_cancelled_at_work_and_while_it_waits_for_its_agent(home: Home) -> None:
    """The agent takes one at a time; the one that waits for it is cancelled first."""
    with serving(home) as server:
        answers: dict[str, Any] = {}

        def ask(text: str) -> None:
            body = {"session_id": text, "capability": "hold_alone", "parameters": {"text": text}}
            answers[text] = server.post("/v1/orchestrate", json=body)

        threads = [threading.Thread(target=ask, args=(text,)) for text in "ab"]
        threads[0].start()
        wait_for(lambda: noted(home, "hold_alone"))
        threads[1].start()
        wait_for(lambda: len(home.rows("SELECT 1 FROM contracts")) == 2)
        for text, thread in ((1, threads[1]), (0, threads[0])):
            ((request_id,),) = home.rows("SELECT contract_id FROM contracts WHERE session_id = ?", "ab"[text])
            form = server.post(f"/v1/tasks/{request_id}/cancel").json()
            assert form["status"] in ("pending", "in_progress", "cancelled")
            thread.join(WAIT_S)
            assert said(home, request_id) == ("cancelled", "cancelled", "cancelled by an HTTP client")
            again = server.post(f"/v1/tasks/{request_id}/cancel").json()
            assert (again["status"], again["answer"]["success"]) == ("cancelled", False)
        assert noted(home, "hold_alone") == ["a"]
        assert [answers[text].json()["code"] for text in "ab"] == ["cancelled", "cancelled"]


# Stopping


def test_a_worker_that_is_told_to_stop_finishes_what_it_began(home: Home) -> None:
    request_id = detach(home, "hold", "text=a")
    with working(home) as worker:
        wait_for(lambda: noted(home, "hold"))
        worker.terminate()
        late = detach(home, "note")
        home.write("a.go", "")
        assert worker.wait(START_S) == 0
        worker.communicate()
    assert said(home, request_id)[0] == "completed"
    assert said(home, late)[0] == "pending"


@pytest.mark.parametrize("capability", ["hold", "hold_again"])
def test_what_a_worker_cannot_finish_waits_again_only_where_that_is_safe(home: Home, capability: str) -> None:
    request_id = detach(home, capability, "text=a")
    with working(home, "--grace", "0"):
        wait_for(lambda: noted(home, capability))
    if capability == "hold":
        assert said(home, request_id)[:2] == ("failed", "interrupted")
    else:
        assert said(home, request_id) == ("pending", None, None)
        home.write("a.go", "")
        home.aorch("worker", "--drain")
        assert said(home, request_id)[0] == "completed"


def test_a_second_signal_hurries(home: Home) -> None:
    detach(home, "hold_again", "text=a")
    with working(home, "--grace", "600") as worker:
        wait_for(lambda: noted(home, "hold_again"))
        worker.send_signal(signal.SIGINT)
        detach(home, "note")  # by the time that this is done the first was heard
        assert end(worker, signal.SIGINT) == (0, "")


# Killing


def test_an_idempotent_task_of_a_killed_worker_is_done_by_another_at_once(home: Home) -> None:
    again, once = detach(home, "hold_again", "text=a"), detach(home, "hold", "text=b")
    first = home.start("worker")
    wait_for(lambda: noted(home, "hold_again") and noted(home, "hold"))
    with working(home):
        wait_for(lambda: owner_count(home.ledger) == 2)
        first.kill()
        first.communicate()
        wait_for(lambda: len(noted(home, "hold_again")) == 2)
        assert said(home, once) == (
            "failed", "interrupted", "interrupted: the process that ran this ended before noter answered"
        )  # fmt: skip
        home.write("a.go", "")
        assert home.aorch("contracts", "wait", again, "--timeout", "20").out == "a\n"
    assert noted(home, "hold") == ["b"]


def test_a_task_that_kills_its_worker_each_time_is_given_up(home: Home) -> None:
    home.write(
        "deadly.py",
        "import os\nfrom aorch.agents import Agent, AgentCapability\n\n\nclass Deadly(Agent):\n"
        "    def __init__(self):\n        super().__init__('deadly', 'Deadly')\n\n"
        "    def get_capabilities(self):\n        return [AgentCapability('die', idempotent=True)]\n\n"
        "    async def execute(self, task):\n        os.kill(os.getpid(), 9)\n",
    )
    home.write("aorch.toml", '[agents.deadly]\nclass = "deadly:Deadly"\n')
    request_id = detach(home, "die")
    codes = [home.aorch("worker", "--drain").code for _ in range(7)]
    assert codes == [-9] * 5 + [0, 0]
    assert said(home, request_id)[:2] == ("failed", "interrupted")


def test_a_cancelled_task_whose_worker_died_ends_as_cancelled(home: Home) -> None:
    """Though its capability is idempotent."""
    request_id = detach(home, "hold_again", "text=a")
    worker = home.start("worker")
    wait_for(lambda: noted(home, "hold_again"))
    worker.send_signal(signal.SIGSTOP)
    assert cancel(home, request_id) == "in_progress"
    worker.kill()
    worker.communicate()
    assert home.aorch("contracts", "wait", request_id, "--timeout", "20").code == 130
    assert said(home, request_id) == BY_COMMAND


@pytest.mark.torture
def test_no_clock_ends_a_lease(home: Home) -> None:
    """A worker that does not get one step further, and so could renew nothing, keeps what it does as long as it lives; and
    no moment stands in the ledger that a clock could pass.
    """
    request_id = detach(home, "hold_again", "text=a")
    with working(home) as stopped:
        wait_for(lambda: noted(home, "hold_again"))
        stopped.send_signal(signal.SIGSTOP)
        with working(home):
            assert home.aorch("contracts", "wait", request_id, "--timeout", "2").code == 5
        moments = "SELECT due_at, expires_at, completed_at, status FROM contracts"
        assert home.rows(moments) == [(None, None, None, "in_progress")]
        stopped.send_signal(signal.SIGCONT)
        home.write("a.go", "")
        assert home.aorch("contracts", "wait", request_id, "--timeout", "20").code == 0
    assert noted(home, "hold_again") == ["a"]


# A full disk


@pytest.mark.torture
@pytest.mark.sqlite_only("the disk of the file")
def test_a_full_disk_loses_nothing_and_the_work_goes_on_once_there_is_room(disk: Disk) -> None:
    furnish(disk.home)
    ids = [disk.aorch("run", "hold_again", f"text={name}", "--detach").out.strip() for name in "abcdef"]
    command = disk.home.command("worker", "--parallel", "3")
    worker = subprocess.Popen(
        [*disk.enter, "sh", "-c", 'cd "$0" && exec "$@"', str(disk.home.folder), *command],
        env=disk.home.environment,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(lambda: len(noted(disk.home, "hold_again")) == 3)
        disk.fill()
        for name in "abcdef":
            disk.home.write(f"{name}.go", "")
        assert "full" in disk.aorch("run", "echo", "text=a").err
        disk.run("rm", f"{disk.folder}/filler")
        done = disk.aorch("contracts", "wait", *ids, "--timeout", "20")
        assert (done.code, len(done.out.splitlines())) == (0, 6)
        assert disk.sql("PRAGMA integrity_check") == [["ok"]]
        code, err = end(worker)
    finally:
        worker.kill()
    assert code == 0
    assert err == "" or "full" in err
    assert sorted(noted(disk.home, "hold_again")) == list("abcdef")


def test_waiting_for_no_time_prints_an_answer_that_exists_and_else_exits_with_5(home: Home) -> None:
    done = home.aorch("run", "echo", "text=hi", "--json").json["contract_id"]
    waits = home.aorch("run", "echo", "text=later", "--detach").out.strip()
    assert home.aorch("contracts", "wait", done, "--timeout", "0").out == "Echo: hi\n"
    assert home.aorch("contracts", "wait", waits, "--timeout", "0").code == 5
    both = home.aorch("contracts", "wait", done, waits, "--timeout", "0")
    assert (both.code, both.out) == (5, "")
    assert home.aorch("contracts", "wait", waits, "--timeout", "-1").code == 2
