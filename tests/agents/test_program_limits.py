"""The program agent: limits of memory and time, and processes that a program leaves behind."""

import subprocess
import sys

import pytest
from homes import Home
from program_agents import ends_of, worker
from waiters import have_ended, written_pids
from waiting import WAIT_S, wait_for

MiB = 1024 * 1024


def peak_memory(home: Home, *arguments: str) -> tuple[int, int, str]:
    """(exit code, most bytes ever resident, stderr) of that `aorch`.

    Measured from a small process between: after a fork from this large one the kernel would count this one's memory.
    """
    measure = (
        "import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ);"
        "_, status, usage = os.wait4(pid, 0); print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", measure, *home.command(*arguments)],
        cwd=home.folder,
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    code, kilobytes = done.stdout.split()[-2:]
    return int(code), int(kilobytes) * 1024, done.stderr


# Memory


@pytest.mark.usefixtures("no_leftovers")
def test_a_program_that_prints_a_gigabyte_is_ended_at_the_limit_which_is_all_that_was_ever_held(home: Home) -> None:
    _, usual, _ = peak_memory(home, "run", "echo", "text=a")
    worker(home, "head", "-c", "1000000000", "/dev/zero")
    code, peak, err = peak_memory(home, "run", "work")
    assert code == 10
    assert err.startswith(
        "error: work (agent worker): the output of the program is longer than 10,485,760 bytes (max_output_bytes)"
    )
    assert err.count("\n") == 1
    assert peak - usual < 10 * MiB + 6 * MiB
    assert "10,485,760" in ends_of(home)[-1][2]


def test_a_hundred_megabytes_of_complaints_leave_only_its_end(home: Home) -> None:
    _, usual, _ = peak_memory(home, "run", "echo", "text=a")
    worker(home, "sh", "-c", "head -c 100000000 /dev/zero >&2; printf 'the end' >&2; exit 1")
    code, peak, err = peak_memory(home, "run", "work")
    assert code == 10
    assert err.endswith("the end\n")
    assert peak - usual < 6 * MiB


def test_output_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(home: Home) -> None:
    worker(home, "head", "-c", "{n}", "/dev/zero", more="max_output_bytes = 300000")
    assert home.aorch("run", "work", "n=300000").out == "\0" * 300_000 + "\n"
    over = home.aorch("run", "work", "n=300001")
    assert over.code == 10
    assert "300,000 bytes" in over.err


# Time, and what is left behind


@pytest.mark.usefixtures("no_leftovers")
def test_a_program_that_hangs_is_ended_with_all_its_children(home: Home) -> None:
    worker(home, "sh", "-c", "(sleep 60 & echo $! > grandchild; wait) & echo $$ > program; wait", more="timeout_s = 1")
    done = home.aorch("run", "work")
    assert (done.code, done.err) == (5, "error: work: worker gave no answer within 1 s\n")
    assert wait_for(lambda: have_ended(home.folder / "program") and have_ended(home.folder / "grandchild"))
    assert ends_of(home) == [
        ("REQUEST", "failed", None),
        ("RESPONSE", "failed", "worker gave no answer within 1 s"),
    ]


@pytest.mark.usefixtures("no_leftovers")
def test_the_callers_timeout_overrides_the_agents(home: Home) -> None:
    worker(home, "sleep", "60", more="timeout_s = 50")
    assert home.aorch("run", "work", "--timeout", "0.2").code == 5


@pytest.mark.usefixtures("no_leftovers")
def test_a_program_that_ignores_being_told_to_end_is_killed(home: Home) -> None:
    worker(home, "sh", "-c", "trap '' TERM INT HUP; echo $$ > program; while :; do sleep 1; done", more="timeout_s = 1")
    assert home.aorch("run", "work", timeout=20).code == 5
    assert wait_for(lambda: have_ended(home.folder / "program"))


def test_a_program_that_ends_cleanly_when_told_to_has_the_time_for_it(home: Home) -> None:
    worker(home, "sh", "-c", "trap 'echo tidy > tidied; exit' TERM; sleep 60 & wait", more="timeout_s = 1")
    assert home.aorch("run", "work").code == 5
    assert (home.folder / "tidied").read_text() == "tidy\n"


@pytest.mark.usefixtures("no_leftovers")
def test_a_child_that_holds_stdout_open_holds_nothing_up(home: Home) -> None:
    worker(home, "sh", "-c", "sleep 60 & echo $! > child; echo done", more="timeout_s = 30")
    done = home.aorch("run", "work", timeout=10)
    assert (done.code, done.out, done.err) == (0, "done\n", "")
    assert wait_for(lambda: have_ended(home.folder / "child"))


def test_a_program_that_does_not_read_its_input_is_not_waited_for(home: Home) -> None:
    home.write("big.txt", "x" * 5 * MiB)
    worker(home, "echo", "not read")
    done = home.aorch("run", "work", "text=@big.txt", timeout=20)
    assert (done.code, done.out, done.err) == (0, "not read\n", "")


def test_a_program_that_reads_all_of_a_large_input_while_it_answers_is_not_stuck(home: Home) -> None:
    home.write("big.txt", "x" * 5 * MiB)
    worker(home, "cat", more='stdin = "{text}"')
    assert len(home.aorch("run", "work", "text=@big.txt", timeout=20).out) == 5 * MiB + 1


def test_a_program_that_closes_its_streams_and_goes_on_is_waited_for(home: Home) -> None:
    worker(home, "sh", "-c", "echo early; exec <&- >&- 2>&-; sleep 0.3; exit 4")
    assert home.aorch("run", "work").code == 10


@pytest.mark.usefixtures("no_leftovers")
def test_a_second_interrupt_leaves_nothing_running_either(home: Home) -> None:
    worker(home, "sh", "-c", "trap '' TERM INT HUP; echo $$ > program; while :; do sleep 1; done")
    running = home.start("run", "work")
    program = home.folder / "program"
    written_pids(program)
    running.terminate()
    running.terminate()
    running.communicate(timeout=WAIT_S)
    assert running.returncode == 143
    assert wait_for(lambda: have_ended(program))
