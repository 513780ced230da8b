"""`aorch log`: exchanges as lines, in a pager, in full, and as they end."""

import json
import os
import re
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from homes import Home, abandon
from rows import pairs, put, request, response
from terminal import UNKIND, at_terminal, plain
from waiting import WAIT_S

from aorch.cli.render.log_views import short_duration

ERROR = "exit code 1: the model is not loaded"


def failed(**more: Any) -> Any:
    asked = request(status="failed", **more)
    return asked, response(asked, None, error=ERROR, metadata='{"duration_ms":1200.0,"code":"agent_failed"}')


def lines(home: Home, *options: str, columns: int = 80, **environment: str) -> list[str]:
    """The lines at a terminal, without colors."""
    return plain(at_terminal(home, "log", *options, columns=columns, PAGER="cat", **environment)).splitlines()


def test_a_line_has_the_status_the_agent_and_the_error_in_80_columns(home: Home) -> None:
    done = request("a-long-session-name-2026-01-31", capability="translate_documents", to_agent="translator_001")
    put(home.ledger, *failed(capability="summarize"), done, response(done, {"text": "x" * 300}))
    header, second, first = lines(home)
    assert max(map(len, (header, first, second))) <= 80
    assert header.split() == ["id", "age", "capability", "agent", "took", "session", "result", "or", "error"]
    assert re.match(
        rf"✓ {done.contract_id[-6:]}  \d+s +tran…ments +tra…_001 +2ms +a-l…1-31  \{{\"text\":\"x+…$", second
    )
    assert re.search(r"✗ \w{6}  \d+s +summarize .* 1.2s .* exit code 1: the model is …$", first)


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 200])
def test_lines_fit_any_terminal_and_show_the_error(home: Home, columns: int) -> None:
    put(home.ledger, *failed(session="数据" * 20, capability="scan " * 9, to_agent="🦊" * 30), *pairs(2))
    shown = lines(home, columns=columns)
    from rich.cells import cell_len

    assert all(cell_len(line) <= columns for line in shown), shown
    assert "exit" in shown[-1]


def test_a_wide_terminal_shows_whole_names(home: Home) -> None:
    put(home.ledger, *pairs(1, "a-session-of-20-char"))
    (_, line) = lines(home, columns=120)
    assert "  agent_example_001  " in line
    assert "  a-session-of-20-char  " in line


def test_each_status_has_a_mark_and_open_tasks_say_what_they_do(home: Home) -> None:
    lost = request(status="failed")
    put(home.ledger, lost, response(lost, None, status="interrupted", error="gone"))
    for status in ("completed", "cancelled", "pending"):
        put(home.ledger, request(status=status, completed_at=None))
    marks = [(line[0], line.split()[-1]) for line in lines(home)[1:]]
    assert marks == [("○", "queued"), ("–", "cancelled"), ("✓", "result"), ("✗", "gone")]


def test_filters_of_one_value_hide_its_column(home: Home) -> None:
    put(home.ledger, *pairs(1))
    assert lines(home, "-s", "s", "-c", "echo")[0].split()[:4] == ["id", "age", "agent", "took"]


def test_colors_are_left_out_with_no_color(home: Home) -> None:
    put(home.ledger, *failed())
    assert "\x1b[31m✗\x1b[0m" in at_terminal(home, "log", "--no-pager")
    assert "\x1b" not in at_terminal(home, "log", "--no-pager", "--no-color")


def test_content_controls_no_terminal(home: Home) -> None:
    asked = request(UNKIND, capability=UNKIND, to_agent=UNKIND, status="failed", contract_id="A" + UNKIND)
    put(home.ledger, asked, response(asked, UNKIND, error=UNKIND), *pairs(1, UNKIND))
    for options in ((), ("--last",), ("--failed", "--last")):
        shown = plain(at_terminal(home, "log", "--no-pager", *options, columns=200))
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown), repr(shown)


def test_a_pipe_gets_whole_tab_separated_lines(home: Home) -> None:
    asked, answered = failed(session="s" * 300)
    open_ = request(status="pending", completed_at=None, to_agent=None)
    put(home.ledger, asked, answered, open_)
    waiting, ended = (line.split("\t") for line in home.aorch("log").out.splitlines())
    assert ended == [
        *(asked.contract_id, asked.created_at, "failed", "echo", "agent_example_001", "1200.0", "s" * 300),
        *("orchestrator", ERROR),
    ]
    assert waiting[4:6] == ["", ""]


def test_filters_are_read_from_options(home: Home) -> None:
    old = request("old", created_at="2020-01-01T00:00:00.000Z", from_agent="ann", to_agent="scanner", text="needle")
    put(home.ledger, old, response(old), *failed(session="new"))

    def found(*options: str) -> list[str]:
        done = home.aorch("log", *options)
        assert done.code == 0, done.err
        return [line.split("\t")[6] for line in done.out.splitlines()]

    assert found("--failed") == found("--status", "FAILED") == found("--error", "MODEL is") == ["new"]
    assert found("--since", "1h") == found("-s", "new") == ["new"]
    assert (
        found("--until", "1h")
        == found("-a", "scanner")
        == found("--by", "ann")
        == found("--caller", "ann")
        == found("-t", "needle")
        == ["old"]
    )
    assert found("-c", "echo") == ["new", "old"]
    assert found("-n", "1") == ["new"]
    assert found("-c", "scan") == []


@pytest.mark.parametrize("search", [(), ("--text", "word*")])
def test_the_next_page_starts_before_the_last_exchange_shown(home: Home, search: tuple[str, ...]) -> None:
    rows = pairs(5)
    put(home.ledger, *rows)
    seen: list[str] = []
    following: list[str] = []
    while True:
        page = home.aorch("log", "-n", "2", "--json", *search, *following).json
        seen += [exchange["request_id"] for exchange in page["exchanges"]]
        if page["next"] is None:
            break
        following = ["--before", page["next"]]
    assert seen == [row.contract_id for row in reversed(rows) if row.contract_type == "REQUEST"]


def test_json_fields_and_csv_work_as_in_every_listing(home: Home) -> None:
    asked, answered = failed()
    put(home.ledger, asked, answered)
    whole = home.aorch("log", "--json").json
    assert list(whole) == ["exchanges", "next"]
    assert json.loads(home.aorch("log", "--jsonl").out) == whole["exchanges"][0]
    assert home.aorch("log", "--fields", "status,error").out == f'{{"status":"failed","error":"{ERROR}"}}\n'
    csv = home.aorch("log", "--format", "csv", "--fields", "request_id,duration_ms").out
    assert csv.splitlines() == ["request_id,duration_ms", f"{asked.contract_id},1200.0"]


def test_one_exchange_is_shown_in_full(home: Home) -> None:
    home.aorch("run", "echo", "text=hi", "-s", "mine")
    asked, answered = failed(
        metadata='{"routing":{"reason":"least_busy"},"context":{"k":1},"caller":{"name":"ci","id":"t"}}'
    )
    child = request(parent_id=asked.contract_id, capability="below", status="failed")
    put(home.ledger, asked, child, response(child, error="no\nmore"), answered)
    for name in (asked.contract_id, answered.contract_id, asked.contract_id[-8:].lower()):
        text = home.aorch("log", name).out
        assert text.startswith(f"✗ failed  echo  {asked.contract_id}\n")
    shown = dict(re.findall(r"^  (\w+(?: by)?) +(.*)$", text, re.M))
    assert shown | {"agent": "agent_example_001  (least busy)", "caller": "ci", "took": "1.2s"} == shown
    assert (
        shown | {"parameters": '{"text":"hi"}', "context": '{"k":1}', "error": ERROR, "code": "agent_failed"} == shown
    )
    assert re.search(rf"^    ✗ below  agent_example_001  2ms  {child.contract_id}  no$", text, re.M)
    whole = home.aorch("log", asked.contract_id, "--json").json
    assert list(whole) == ["exchange", "request", "response", "attempts", "children"]
    assert whole["request"]["payload"] == {"text": "hi"}
    assert whole["children"][0]["contract_id"] == child.contract_id


def test_last_shows_the_newest_matching_exchange(home: Home) -> None:
    asked, answered = failed()
    put(home.ledger, asked, answered, *pairs(1))
    assert home.aorch("log", "--failed", "--last").out.startswith(f"✗ failed  echo  {asked.contract_id}\n")
    assert home.aorch("log", "--last", "--fields", "status").out == '{"status":"completed"}\n'
    nothing = home.aorch("log", "--last", "-c", "none")
    assert (nothing.code, nothing.err.splitlines()[0]) == (12, "error: no exchange matches")


@pytest.mark.parametrize(
    "options", [("01K8", "--last"), ("--last", "-f"), ("--since", "5x"), ("-n", "-1"), ("--fields", "payload")]
)
def test_invalid_options_exit_2(home: Home, options: tuple[str, ...]) -> None:
    put(home.ledger, *pairs(1))
    done = home.aorch("log", *options)
    assert (done.code, done.out) == (2, "")


def test_an_unknown_id_and_a_response_without_its_request_exit_12(home: Home) -> None:
    orphan = response(request())
    put(home.ledger, orphan)
    assert home.aorch("log", "nosuchid").code == 12
    done = home.aorch("log", orphan.contract_id)
    assert (done.code, "contracts show" in done.err) == (12, True)


def test_an_empty_ledger_has_no_exchanges(home: Home) -> None:
    done = home.aorch("log")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert "no exchanges found" in at_terminal(home, "log")


# The pager


@pytest.fixture
def pager(home: Home) -> str:
    """A pager that shows three lines and tells the options of less."""
    path = home.write("pager", '#!/bin/sh\nhead -n 3\necho "LESS=$LESS $*"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{path} --option"


def test_a_terminal_gets_all_exchanges_through_the_pager(home: Home, pager: str) -> None:
    put(home.ledger, *pairs(3000))
    shown = plain(at_terminal(home, "log", PAGER=pager)).splitlines()
    assert (len(shown), shown[-1]) == (4, "LESS=FRX --option")
    assert plain(at_terminal(home, "log", PAGER=pager, LESS="R")).splitlines()[-1] == "LESS=R --option"
    assert plain(at_terminal(home, "log", "--last", PAGER=pager)).splitlines()[-1] == "LESS=FRX --option"


@pytest.mark.parametrize("environment", [{"PAGER": ""}, {"PAGER": "cat"}, {"PAGER": "no-such-pager"}, {"TERM": "dumb"}])
def test_without_a_pager_the_newest_50_are_printed(home: Home, environment: dict[str, str]) -> None:
    put(home.ledger, *pairs(51))
    shown = plain(at_terminal(home, "log", **environment)).splitlines()
    if environment != {"PAGER": "no-such-pager"}:
        assert len(shown) == 52
        assert shown[-1].startswith("next page: --before ")
    else:
        assert len(shown) == 52


def test_other_forms_use_no_pager(home: Home, pager: str) -> None:
    put(home.ledger, *pairs(5))
    for options in (("--no-pager",), ("--jsonl",), ("--fields", "status"), ("--json",)):
        assert "LESS" not in at_terminal(home, "log", *options, PAGER=pager)


# Following


@contextmanager
def following(home: Home, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = home.start("log", "-f", *options)
    try:
        yield process
    finally:
        abandon(process)


def line_of(process: "subprocess.Popen[bytes]") -> str:
    """The next line, waited for at most WAIT_S."""
    assert process.stdout is not None
    line, end = b"", time.monotonic() + WAIT_S
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0, end - time.monotonic()))
        assert ready, f"no line within {WAIT_S:g} s, only {line!r}"
        line += os.read(process.stdout.fileno(), 1)
    return line.decode()


def test_follow_prints_older_exchanges_and_then_each_one_when_it_ends(home: Home) -> None:
    first, second = request("first", status="in_progress", completed_at=None), request("second")
    put(home.ledger, *pairs(2, "older"), first)
    with following(home, "-n", "2", "--jsonl") as process:
        shown = [json.loads(line_of(process)) for _ in range(2)]
        assert [each["session_id"] for each in shown] == ["older", "first"]
        put(home.ledger, second, response(second, "two"))
        put(home.ledger, response(first, "one", status="completed"))
        ended = [json.loads(line_of(process)) for _ in range(2)]
        assert [(each["session_id"], each["result"], each["status"]) for each in ended] == [
            ("second", "two", "completed"),
            ("first", "one", "completed"),
        ]
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130


def test_follow_prints_only_what_matches(home: Home) -> None:
    put(home.ledger, *pairs(1))
    with following(home, "--failed", "-n", "0", "-t", "loaded") as process:
        deadline = time.monotonic() + WAIT_S
        ready: list[Any] = []
        while not ready and time.monotonic() < deadline:
            put(home.ledger, *pairs(1), *failed(session="wanted"))
            ready, _, _ = select.select([process.stdout], [], [], 0.2)
        assert line_of(process).split("\t")[6] == "wanted"


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0.2, "0ms"),
        (999.4, "999ms"),
        (999.6, "1.0s"),
        (59_949, "59.9s"),
        (59_960, "1m00s"),
        (192_000, "3m12s"),
        (7_500_000, "2h05m"),
    ],
)
def test_durations_are_short(milliseconds: float, shown: str) -> None:
    assert short_duration(milliseconds) == shown


@pytest.mark.sqlite_only("the file is removed")
def test_follow_ends_with_an_error_if_the_ledger_is_removed(home: Home) -> None:
    put(home.ledger, *pairs(1))
    with following(home, "-n", "1") as process:
        assert line_of(process)
        for file in home.ledger.parent.glob("ledger.db*"):
            if file.is_file():
                file.unlink()
        assert process.wait(WAIT_S) == 14
