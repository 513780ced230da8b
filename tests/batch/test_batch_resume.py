"""A stopped batch continues where it stopped: each line has one result, and no task is silently run twice."""

import json
import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from batches import CONFIG, lines, results, seen, task
from homes import Home
from ledger_state import is_intact
from waiting import WAIT_S, pause, wait_for

REQUESTS = "SELECT count(*) FROM contracts WHERE contract_type = 'REQUEST'"


def killed(home: Home, when: Callable[[], Any], *arguments: str) -> str:
    """What an `aorch run` printed that was ended by `kill -9` once `when` was true."""
    with (home.folder / "killed.out").open("w+b") as out:
        running = home.start("run", *arguments, stdout=out)
        wait_for(when)
        running.kill()
        running.communicate()
        out.seek(0)
        return out.read().decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--retry-failed", "s"),
        ("run", "--batch", "b.jsonl", "--resume"),
        ("contracts", "resume", "01K8VF9XK83SYH1HAX57ZGJDYS"),
    ],
    ids=["retry", "batch", "pipeline"],
)
def test_continuing_in_a_missing_ledger_does_not_create_one(bare_home: Home, arguments: tuple[str, ...]) -> None:
    bare_home.write("b.jsonl", "")
    done = bare_home.aorch(*arguments, "--ledger", "typo.db")
    assert (done.code, done.out) == (12, "")
    assert not list(bare_home.folder.glob("typo.db*"))


def test_finished_lines_are_not_run_again_and_their_results_come_from_the_ledger(home: Home) -> None:
    home.write("b.jsonl", lines(task(1), task(2, fail=True), "broken", task(4, big="x" * 100_000)))
    first = home.aorch("run", "--batch", "b.jsonl", "--ordered")
    again = home.aorch("run", "--batch", "b.jsonl", "--ordered", "--resume")
    for one, other in zip(results(first), results(again), strict=True):
        assert {**one, "timestamp": ""} == {**other, "timestamp": ""}
    assert (first.code, again.code) == (10, 10)
    assert sorted(seen(home)) == ["1", "2", "4"]
    assert "3 from an earlier run" in again.err


def test_a_long_result_comes_whole_from_the_ledger(home: Home) -> None:
    home.write("b.jsonl", lines(task("x" * 200_000)))
    first, again = (home.aorch("run", "--batch", "b.jsonl", *more) for more in ((), ("--resume",)))
    assert first.out == again.out
    assert len(again.out) > 200_000


def test_without_resume_a_batch_begins_anew(home: Home) -> None:
    home.write("b.jsonl", lines(task(1)))
    for _ in range(2):
        home.aorch("run", "--batch", "b.jsonl")
    assert home.rows(REQUESTS) == [(2,)]
    home.aorch("run", "--batch", "b.jsonl", "--resume")
    assert home.rows(REQUESTS) == [(2,)]


def test_a_killed_batch_continues_and_runs_cut_off_lines_again_only_if_that_is_safe(home: Home) -> None:
    tasks = [task(n) for n in range(20)]
    home.write("b.jsonl", lines(*tasks, task("a", "once", wait="go"), task("b", "again", wait="go"), task("c")))
    arguments = ("--batch", "b.jsonl", "--parallel", "2")
    printed = results(killed(home, lambda: {"a", "b"} <= set(seen(home)), *arguments))
    assert {result["data"] for result in printed} <= set(range(20))
    home.write("go", "")
    done = home.aorch("run", *arguments, "--resume")
    by_id = {result["id"]: result for result in results(done)}
    assert len(by_id) == len(results(done)) == 23
    assert all(by_id[result["id"]] == result for result in printed)
    assert by_id[21]["error"] == "interrupted: the process that ran this ended before witness answered"
    assert (by_id[22]["data"], by_id[23]["data"]) == ("b", "c")
    assert Counter(seen(home)) == Counter([*map(str, range(20)), "a", "b", "b", "c"])
    assert done.code == 10
    interrupted, again = home.rows("SELECT contract_id, metadata FROM contracts "
                                   "WHERE contract_type = 'REQUEST' AND capability = 'again' ORDER BY position")  # fmt: skip
    assert (json.loads(again[1])["retry_of"], by_id[22]["contract_id"]) == (interrupted[0], again[0])
    assert results(home.aorch("run", *arguments, "--resume"))[21] == by_id[22]


def test_a_batch_that_was_interrupted_by_hand_continues_the_same_way(home: Home) -> None:
    home.write("b.jsonl", lines(task("a", "once", wait="go"), task("b", "again", wait="go"), task("c")))
    running = home.start("run", "--batch", "b.jsonl", "--parallel", "2")
    wait_for(lambda: len(seen(home)) == 2)
    running.terminate()
    assert running.communicate(timeout=WAIT_S)[0] == b""
    home.write("go", "")
    done = home.aorch("run", "--batch", "b.jsonl", "--resume", "--ordered")
    assert [result["data"] for result in results(done)] == [None, "b", "c"]
    assert results(done)[0]["error"] == "cancelled by the caller"
    assert done.code == 10


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_line_that_no_agent_received_is_run_again(home: Home, how: str) -> None:
    home.write("aorch.toml", CONFIG + "concurrency = 1\n")
    home.write("b.jsonl", lines(task("a", wait="go"), task("b"), task("c")))
    running = home.start("run", "--batch", "b.jsonl")
    wait_for(lambda: home.rows(f"{REQUESTS} AND status = 'pending'") == [(2,)] and seen(home))
    getattr(running, how)()
    running.communicate(timeout=WAIT_S)
    home.write("go", "")
    done = home.aorch("run", "--batch", "b.jsonl", "--resume", "--ordered")
    assert ([result["data"] for result in results(done)], done.code) == ([None, "b", "c"], 10)
    assert sorted(seen(home)) == ["a", "b", "c"]


def test_lines_that_no_agent_was_called_for_are_tried_again(home: Home) -> None:
    home.write("b.jsonl", lines(task(1), task(2, "later")))
    assert home.aorch("run", "--batch", "b.jsonl").code == 11
    home.aorch("agents", "add", "late", "--capability", "later", "--", "echo", "{n}")
    done = home.aorch("run", "--batch", "b.jsonl", "--resume", "--ordered")
    assert ([result["data"] for result in results(done)], done.code) == ([1, {"text": "2\n"}], 0)
    assert seen(home) == ["1"]


def test_a_line_that_changed_or_whose_template_changed_is_another_task(home: Home) -> None:
    home.write("b.jsonl", lines({"v": 1, "id": "a"}, {"v": 2, "id": "b"}))
    home.aorch("run", "once", "n={v}", "--batch", "b.jsonl")
    home.write("b.jsonl", lines({"v": 0, "id": "new"}, {"v": 1, "id": "a"}, {"v": 3, "id": "b"}))
    assert home.aorch("run", "once", "n={v}", "--batch", "b.jsonl", "--resume").code == 0
    assert seen(home) == ["1", "2", "0", "3"]
    home.aorch("run", "once", "n=<{v}>", "--batch", "b.jsonl", "--resume")
    assert sorted(seen(home)[4:]) == ["<0>", "<1>", "<3>"]


def test_standard_input_is_gone_on_with_by_its_name(home: Home) -> None:
    named = ("run", "--batch", "-", "--batch-name", "mine", "--ordered")
    assert home.aorch(*named, stdin=lines(task(1))).code == 0
    done = home.aorch(*named, "--resume", stdin=lines(task(1), task(2)))
    assert [result["data"] for result in results(done)] == [1, 2]
    assert seen(home) == ["1", "2"]
    unknown = home.aorch("run", "--batch", "-", "--batch-name", "other", "--resume", stdin="")
    assert (unknown.code, unknown.out) == (12, "")
    assert "no batch 'other' in this ledger" in unknown.err


def test_a_resumed_batch_stays_in_the_session_that_it_began(home: Home) -> None:
    home.write("b.jsonl", lines(task(1)))
    home.aorch("run", "--batch", "b.jsonl")
    home.write("b.jsonl", lines(task(1), task(2)))
    home.aorch("run", "--batch", "b.jsonl", "--resume")
    assert home.rows("SELECT count(DISTINCT session_id) FROM contracts") == [(1,)]


def test_the_same_line_under_the_same_id_is_done_once_and_has_its_result_each_time(home: Home) -> None:
    same = task(1, sleep=0.2, about={"id": "same"})
    home.write("b.jsonl", lines(same, same, *(task(n) for n in range(2, 9)), same))
    for more in ((), ("--resume",)):
        done = results(home.aorch("run", "--batch", "b.jsonl", "--parallel", "2", *more))
        assert len(done) == 10
        assert len({result["contract_id"] for result in done if result["id"] == "same"}) == 1
    assert seen(home).count("1") == 1


def test_a_line_that_another_process_is_doing_is_not_done_beside_it(home: Home) -> None:
    home.write("b.jsonl", lines(task("a", wait="go"), task("b")))
    running = home.start("run", "--batch", "b.jsonl", "--parallel", "1")
    wait_for(lambda: seen(home))
    beside = home.aorch("run", "--batch", "b.jsonl", "--resume", "--ordered")
    assert results(beside)[0]["error"].startswith("another process is running this line (contract ")
    assert (results(beside)[1]["data"], beside.code) == ("b", 13)
    home.write("go", "")
    out, _ = running.communicate(timeout=WAIT_S)
    assert [result["data"] for result in results(out.decode())] == ["a", "b"]
    assert seen(home) == ["a", "b"]


# Doing again what failed


def test_failed_tasks_are_retried_until_they_succeed(home: Home) -> None:
    home.write("broken", "")
    about = {"context": {"why": "c"}, "priority": 2, "agent_id": "witness"}
    home.write("b.jsonl", lines(task(1), task(2, about={"id": "two", **about}), task(3, "fly")))
    home.aorch("run", "--batch", "b.jsonl", "--session", "s")
    home.aorch("run", "once", "n:=9", "--session", "other")
    alone = home.aorch("run", "once", "n:=9", "--session", "alone", "--json").json
    assert results(home.aorch("run", "--retry-failed", "alone"))[0]["id"] == alone["contract_id"]
    first = home.aorch("run", "--retry-failed", "s", "--ordered")
    assert ([result["success"] for result in results(first)], first.code) == ([False] * 3, 10)
    (home.folder / "broken").unlink()
    second = home.aorch("run", "--retry-failed", "s", "--ordered")
    assert [result["data"] for result in results(second)] == [2, 1, None]  # in the order in which they were first asked
    assert (second.code, "2 succeeded, 1 failed" in second.err) == (11, True)
    third = home.aorch("run", "--retry-failed", "s")
    assert [result["id"] for result in results(third)] == [3]
    requests = home.rows("SELECT contract_id, session_id, metadata FROM contracts WHERE capability = 'once' "
                         "AND payload = '{\"n\":2}' AND contract_type = 'REQUEST' ORDER BY position")  # fmt: skip
    (root, _, asked), *again = requests
    assert [[result["id"] for result in results(done)] for done in (first, second)] == [["two", 1, 3]] * 2
    for _, session, metadata in again:
        assert session == "s"
        assert json.loads(metadata) == {**json.loads(asked), "retry_of": root}


def test_interrupted_tasks_are_retried_on_request(home: Home) -> None:
    home.write("b.jsonl", lines(task("a", wait="go"), task("b", "again", wait="go")))
    killed(home, lambda: len(seen(home)) == 2, "--batch", "b.jsonl", "--session", "s")
    home.write("go", "")
    assert home.aorch("run", "--batch", "b.jsonl", "--session", "s", "--resume").code == 10
    done = home.aorch("run", "--retry-failed", "s")
    assert ([result["data"] for result in results(done)], done.code) == (["a"], 0)
    assert Counter(seen(home)) == {"a": 2, "b": 2}
    again = home.aorch("run", "--retry-failed", "s")
    assert (again.code, again.out, again.err.startswith("nothing to retry: session s")) == (0, "", True)


def test_a_killed_batch_is_complete_after_its_interrupted_lines_were_retried(home: Home) -> None:
    """However often that takes: a line's result is that of its last trial, under its own id."""
    home.write("b.jsonl", lines(*(task(n, wait="go", about={"id": f"L{n}"}) for n in range(4)), task(4)))
    batch = ("run", "--batch", "b.jsonl", "--ordered")
    completed = f"{REQUESTS} AND status = 'completed'"
    killed(home, lambda: len(seen(home)) == 5 and home.rows(completed) == [(1,)], *batch[1:])
    told = home.aorch(*batch, "--resume")
    assert [result["success"] for result in results(told)] == [False] * 4 + [True]
    retry = re.search("^next: aorch (run --retry-failed .*)$", told.err, re.MULTILINE)
    assert retry
    killed(home, lambda: len(seen(home)) == 9, *retry[1].split()[1:])
    assert [result["code"] for result in results(home.aorch(*batch, "--resume"))[:4]] == ["interrupted"] * 4
    home.write("broken", "")
    home.write("go", "")
    assert [result["code"] for result in results(home.aorch(*retry[1].split()))] == ["agent_failed"] * 4
    (home.folder / "broken").unlink()
    again = home.aorch(*retry[1].split(), "--ordered")
    assert [(result["id"], result["data"]) for result in results(again)] == [(f"L{n}", n) for n in range(4)]
    whole = home.aorch(*batch, "--resume")
    assert results(whole)[:4] == results(again)
    assert ([result["data"] for result in results(whole)], whole.code) == ([0, 1, 2, 3, 4], 0)
    assert Counter(seen(home)) == {**{str(n): 4 for n in range(4)}, "4": 1}


def test_a_line_that_no_agent_could_do_is_done_once_by_whichever_comes_first(home: Home) -> None:
    """Resuming and retrying see each other's tries, also if the first try was rejected."""
    home.write("b.jsonl", lines(task(1, "late", about={"id": "a"})))
    config = (home.folder / "aorch.toml").read_text()
    for first, then in ((("--batch", "b.jsonl", "--resume"), ("--retry-failed", "s")), (("--retry-failed", "s"), ())):
        assert home.aorch("run", "--batch", "b.jsonl", "--session", "s").code == 11
        assert home.aorch("run", *first).code == 11
        home.aorch("agents", "add", "late", "--capability", "late", "--", "sh", "-c", "echo {n} | tee -a seen")
        done = home.aorch("run", *first)
        assert [(result["id"], result["success"]) for result in results(done)] == [("a", True)]
        if then:
            assert home.aorch("run", *then).out == ""
        told = home.aorch("run", "--batch", "b.jsonl", "--resume")
        assert results(told) == results(done)
        assert seen(home) == ["1"]
        (home.folder / "seen").unlink()
        home.write("aorch.toml", config)


def test_two_that_resume_at_once_do_each_line_once(home: Home) -> None:
    home.write("b.jsonl", lines(*(task(n, "again", wait="go") for n in range(100))))
    killed(home, lambda: len(seen(home)) == 32, "--batch", "b.jsonl", "--parallel", "32")
    home.write("go", "")
    both = [home.start("run", "--batch", "b.jsonl", "--resume", "--parallel", "32") for _ in range(2)]
    for each in both:
        assert len(results(each.communicate(timeout=60)[0].decode())) == 100
    assert Counter(seen(home)) == {str(n): 2 if n < 32 else 1 for n in range(100)}


def test_a_resumed_batch_names_the_sessions_in_which_its_contracts_are(home: Home) -> None:
    """Not the one that it would begin for more lines; and what is done again stays where it was."""
    home.write("b.jsonl", lines(task("a", "again", wait="go"), task("b", "again")))
    killed(home, lambda: len(seen(home)) == 2, "--batch", "b.jsonl", "--session", "mine")
    home.write("go", "")
    assert home.aorch("run", "--batch", "b.jsonl", "--resume").err.endswith(" · session mine\n")
    assert home.rows("SELECT DISTINCT session_id FROM contracts") == [("mine",)]


def test_two_retries_at_once_do_each_task_once(home: Home) -> None:
    home.write("broken", "")
    home.write("b.jsonl", lines(*(task(n) for n in range(200))))
    home.aorch("run", "--batch", "b.jsonl", "--session", "s")
    (home.folder / "broken").unlink()
    both = [home.start("run", "--retry-failed", "s", "--parallel", "32") for _ in range(2)]
    for each in both:
        each.communicate(timeout=60)
    assert Counter(seen(home)) == {str(n): 2 for n in range(200)}
    again = home.aorch("run", "--retry-failed", "s")
    assert (again.code, again.out, again.err.startswith("nothing to retry: session s")) == (0, "", True)


# Kills


def killed_and_resumed(home: Home, total: int, kills: int) -> None:
    """`total` lines, a tenth of them idempotent, with `kills` along the way; then what must be true of the last output."""
    home.write("b.jsonl", lines(*(task(n, "once" if n % 10 else "again") for n in range(total))))
    command = home.command("run", "--batch", "b.jsonl", "--parallel", "32")
    printed: dict[int, Any] = {}
    for kill in range(kills + 1):
        with (home.folder / "out").open("w+b") as out:
            resume = ["--resume"] if kill else []
            running = subprocess.Popen([*command, *resume], cwd=home.folder, env=home.environment, stdout=out)
            if kill < kills:
                until = total * (kill + random.uniform(0.3, 0.9)) / (kills + 1)
                while running.poll() is None and len(seen(home)) < until:
                    pause()
                running.kill()
            running.wait(timeout=600)
            out.seek(0)
            whole = [line for line in out.read().decode().splitlines(keepends=True) if line.endswith("\n")]
        for result in map(json.loads, whole):
            assert printed.setdefault(result["id"], result) == result, "a line was told twice, and differently"
    assert running.returncode in (0, 10)
    assert sorted(json.loads(line)["id"] for line in whole) == list(range(1, total + 1))
    answered, times = Counter[bool](), Counter(map(int, seen(home)))
    for result in map(json.loads, whole):
        answered[result["success"]] += 1
        assert result["success"] or ("interrupted" in result["error"] and (result["id"] - 1) % 10), result
    assert answered[False] <= 32 * kills
    assert all(times[n] <= (1 if n % 10 else 1 + kills) for n in range(total)), "a task that may not be was done twice"
    assert is_intact(home.ledger)
    (pairs,) = home.rows("SELECT count(*), count(DISTINCT request_id) FROM contracts WHERE contract_type = 'RESPONSE'")
    assert home.rows(REQUESTS) == [(pairs[0],)]
    assert pairs[0] == pairs[1]


def test_a_batch_that_is_killed_twice_gives_each_line_one_result(home: Home) -> None:
    killed_and_resumed(home, 1_000, 2)


@pytest.mark.torture
def test_a_batch_of_100_000_lines_that_is_killed_three_times_gives_each_line_one_result(home: Home) -> None:
    killed_and_resumed(home, 100_000, 3)


@pytest.mark.torture
def test_a_batch_that_is_killed_thirty_times_gives_each_line_one_result(home: Home) -> None:
    killed_and_resumed(home, 6_000, 30)
