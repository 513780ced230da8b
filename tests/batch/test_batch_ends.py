"""The end of `aorch run --batch`, invalid combinations of options, and what a terminal shows."""

import contextlib
import os
import pty
import re
import shlex
import signal
import subprocess
from collections import Counter
from typing import Any

import pytest
from batches import lines, results, seen, statuses, task
from homes import Home
from waiting import WAIT_S, wait_for

# The end of a batch


def test_a_failure_has_its_code_and_the_summary_the_next_step(home: Home) -> None:
    """For each session in which something came to nothing, in words that a shell takes; not for broken lines."""
    home.write("b.jsonl", lines(task(1), task(2, fail=True), task(3, "fly", about={"session_id": "a b"}), {}))
    done = home.aorch("run", "--batch", "b.jsonl", "--session", "s", "--ordered", "--ledger", str(home.ledger))
    assert [result.get("code") for result in results(done)] == [None, "agent_failed", "no_agent", "usage"]
    _, *commands, last = done.err.splitlines()
    location = shlex.quote(str(home.ledger))
    assert sorted(commands) == [
        f"next: aorch run --retry-failed 'a b' --ledger {location}",
        f"next: aorch run --retry-failed s --ledger {location}",
    ]
    assert last == "next: then run the first command with --resume to print the latest result of every line"
    alone = home.aorch("run", "--batch", "-", "--session", "s", stdin=lines(task(2, fail=True)))
    assert alone.err.splitlines()[1:] == ["next: aorch run --retry-failed s"]
    broken = home.aorch("run", "--batch", "-", stdin="{}\n")
    assert re.fullmatch(r"1 line: 0 succeeded, 1 invalid · [\d.]+ s, \d+/s\n", broken.err)


def test_of_many_sessions_the_first_three_are_named(home: Home) -> None:
    home.write("b.jsonl", lines(*(task(n, fail=True, about={"session_id": f"s{n}"}) for n in range(9))))
    summary, *steps = home.aorch("run", "--batch", "b.jsonl", "--parallel", "1").err.splitlines()
    assert summary.endswith(" · sessions s0, s1, s2, …")
    assert [step.split()[-1] for step in steps[:3]] == ["s0", "s1", "s2"]
    assert steps[3] == "next: the same for the other sessions with failed tasks"


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        ([task(1), task(2, fail=True)], 10),
        ([task(1), task(2, sleep=9, about={"timeout_s": 0.01})], 5),
        ([task(1), task(1, "fly")], 11),
        ([task(1), {}], 2),
        ([task(2, fail=True), task(1, "fly")], 10),
    ],
)
def test_the_exit_code_is_the_one_that_all_failures_share_else_10(home: Home, tasks: list[Any], code: int) -> None:
    done = home.aorch("run", "--batch", "-", stdin=lines(*tasks))
    assert (done.code, len(results(done))) == (code, 2)


def test_fail_fast_begins_nothing_after_a_failure_and_keep_going_does(home: Home) -> None:
    home.write("b.jsonl", lines(task(0), task(1, fail=True), *(task(n) for n in range(2, 500))))
    done = home.aorch("run", "--batch", "b.jsonl", "--parallel", "1", "--fail-fast")
    assert ([result["success"] for result in results(done)], done.code) == ([True, False], 10)
    assert len(results(home.aorch("run", "--batch", "b.jsonl", "--keep-going"))) == 500


def test_fail_fast_ends_although_standard_input_stays_open(home: Home) -> None:
    running = home.start("run", "--batch", "-", "--fail-fast", stdin=subprocess.PIPE)
    assert running.stdin
    running.stdin.write(lines(task(1, fail=True)).encode())
    running.stdin.flush()
    assert running.wait(WAIT_S) == 10
    running.communicate()


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_running_tasks_and_prints_completed_results(
    home: Home, number: signal.Signals, code: int
) -> None:
    running = home.start("run", "--batch", "-", "--parallel", "3", "--session", "s", stdin=subprocess.PIPE)
    assert running.stdin
    running.stdin.write(lines(task(1), task(2, wait="never"), task(3, wait="never")).encode())
    running.stdin.flush()
    wait_for(lambda: len(seen(home)) == 3 and ("RESPONSE", "completed", 1) in statuses(home, "s"))
    running.send_signal(number)
    running.wait(WAIT_S)  # standard input is still open
    out, err = running.communicate()
    assert [result["data"] for result in results(out.decode())] == [1]
    assert (running.returncode, err.decode().count("\n")) == (code, 2)
    assert err.decode().startswith("interrupted: 3 lines: 1 succeeded, 2 cancelled · ")
    assert err.decode().endswith(" · session s\nnext: aorch run --retry-failed s\n")
    assert statuses(home, "s") == [
        ("REQUEST", "cancelled", 2),
        ("REQUEST", "completed", 1),
        ("RESPONSE", "cancelled", 2),
        ("RESPONSE", "completed", 1),
    ]


@pytest.mark.usefixtures("no_leftovers")
def test_a_reader_that_goes_away_ends_it_cleanly(home: Home) -> None:
    home.write("b.jsonl", lines(*(task(n) for n in range(100_000))))
    done = home.bash("aorch run --batch b.jsonl | head -1; exit ${PIPESTATUS[0]}")
    assert done.returncode == 141
    assert done.stdout.count("\n") == 1
    summary, *steps = done.stderr.splitlines()
    told = re.fullmatch(r"stopped: ([\d,]+) lines: ([\d,]+) succeeded(?:, (\d+) cancelled)? · .*", summary)
    assert told
    assert steps == ["next: run the same command with --resume to continue; finished lines are not run again"]
    assert len(seen(home)) < 50_000
    every, succeeded, cancelled = (int((number or "0").replace(",", "")) for number in told.groups())
    assert every == succeeded + cancelled
    by_status = {status: count for kind, status, count in statuses(home) if kind == "REQUEST"}
    assert Counter(by_status) == Counter({"completed": succeeded, "cancelled": cancelled})  # one of them may be 0


def test_results_that_cannot_be_written_end_it_with_the_reason(home: Home) -> None:
    home.write("b.jsonl", lines(*(task(n) for n in range(100))))
    for where, code, said in (("> /dev/full", 74, "No space left"), (">&-", 2, "standard output is closed")):
        done = home.bash(f"aorch run --batch b.jsonl {where}", new_python=where == ">&-")
        assert done.returncode == code
        assert said in done.stderr
        assert done.stderr.count("error: ") == 1
        assert "Traceback" not in done.stderr


def test_what_an_agent_prints_is_not_a_result(home: Home) -> None:
    home.write("loud.py", """if True:
        from aorch.agents import Agent, AgentCapability
        class Loud(Agent):
            def __init__(self): super().__init__("loud", "Loud")
            def get_capabilities(self): return [AgentCapability("shout")]
            def execute(self, task): print("LOUD"); return {"success": True, "data": "quiet"}
    """)  # fmt: skip
    home.write("aorch.toml", '[agents.loud]\nclass = "loud:Loud"\n')
    done = home.aorch("run", "shout", "--batch", "-", stdin="{}\n{}\n")
    assert [result["data"] for result in results(done)] == ["quiet", "quiet"]
    assert done.err.count("LOUD") == 2


# Invalid combinations


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "missing capability"),
        (("echo", "text=a", "--csv"), 2, "--csv works only with --batch"),
        (("echo", "text=a", "--parallel", "2"), 2, "--parallel works only with --batch"),
        (("--batch", "missing.jsonl"), 12, "missing.jsonl"),
        (("--batch", "."), 2, "is a directory"),
        (("n=1", "--batch", "-"), 2, "'n=1' is a parameter, not a capability"),
        (("once", "n=@-", "--batch", "-"), 2, "standard input is the batch"),
        (("once", "n=@{file}", "--batch", "-"), 2, "a file name cannot contain a column"),
        (("once", "n:=[{n}]", "--batch", "-"), 2, "'n' is not JSON"),
        (("once", "n={n}", "n=1", "--batch", "-"), 2, "given twice"),
        (("--batch", "-", "--resume"), 2, "--batch-name"),
        (("--batch", "aorch.toml", "--resume"), 12, "without --resume to start it"),
        (("--retry-failed", "s", "--batch", "-"), 2, "--retry-failed"),
        (("echo", "--retry-failed", "s"), 2, "CAPABILITY"),
        (("--retry-failed", "nobody's"), 12, 'session "nobody\'s" not found'),
    ],
)
def test_options_that_contradict_each_other_are_rejected_with_one_error(
    home: Home, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = home.aorch("run", *arguments, stdin="")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert done.err.count("\n") <= 2
    assert statuses(home) == []


# On a terminal


def watched(home: Home, *arguments: str, out: bool) -> tuple[str, str]:
    """What a command writes to a terminal that its standard error is, and with `out` its standard output too; and the rest."""
    reader, writer = pty.openpty()
    process = home.start(*arguments, stderr=writer, **({"stdout": writer} if out else {}))
    os.close(writer)
    said = b""
    with contextlib.suppress(OSError):  # EIO on Linux, if the other end is closed
        while chunk := os.read(reader, 65536):
            said += chunk
    os.close(reader)
    rest, _ = process.communicate(timeout=WAIT_S)
    return said.decode(), (rest or b"").decode()


def test_a_bar_on_a_terminal_shows_number_rate_and_remaining_time(home: Home) -> None:
    home.write("b.jsonl", lines(*(task(n, sleep=0.05) for n in range(80))))
    said, out = watched(home, "run", "--batch", "b.jsonl", out=False)
    assert len(results(out)) == 80
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", said)
    assert re.search(r"\d+ lines, [\d,]+/s .*━.* 0:00:\d\d", plain)
    assert re.search(r"80 lines: 80 succeeded · .*\r\n$", said)


def test_results_are_printed_above_the_bar_if_both_are_on_a_terminal(home: Home) -> None:
    home.write("b.jsonl", lines(task("\x1b[2J"), task("x" * 300), task(3, fail=True)))
    said, _ = watched(home, "run", "--batch", "b.jsonl", "--ordered", out=True)
    assert '"data":"\\u001b[2J"' in said
    assert f'"data":"{"x" * 300}"' in said
    assert "\x1b[2J" not in said
    assert "3 lines: 2 succeeded, 1 failed" in said


@pytest.mark.parametrize("command", [("run", "once", "--batch", "-"), ("worker", "--drain")])
def test_too_many_tasks_at_once_are_rejected(home: Home, command: tuple[str, ...]) -> None:
    done = home.aorch(*command, "--parallel", "4097", stdin="{}")
    assert (done.code, done.out) == (2, "")
    assert "4097 is not between 1 and 4096" in done.err
    assert home.aorch(*command, "--parallel", "4096", stdin="").code == 0


def test_csv_without_a_capability_is_rejected_before_it_is_read(home: Home) -> None:
    done = home.aorch("run", "--batch", "nothing.csv", "--csv")
    assert (done.code, "CSV rows have no capability" in done.err) == (2, True)
