"""`aorch contracts`: lists, exchanges and what comes next, at a terminal and in a pipe."""

import json
import os
import re
import select
import signal
import subprocess
import time
from typing import Any

import pytest
from homes import Home
from ledgers import exists
from rows import pairs, put, request, response
from terminal import UNKIND, at_terminal, plain
from waiting import WAIT_S

from aorch.ids import new_id


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    """The next line of its standard output, waited for at most WAIT_S."""
    assert process.stdout is not None
    line = b""
    end = time.monotonic() + WAIT_S
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0, end - time.monotonic()))
        assert ready, f"no line within {WAIT_S:g} s, only {line!r}"
        line += os.read(process.stdout.fileno(), 1)
    return line


def test_a_list_in_a_pipe_is_tab_separated_whole_and_newest_first(home: Home) -> None:
    asked = request("s" * 10_240, text="x" * 300)
    answered = response(asked, {"message": "y" * 300})
    put(home.ledger, asked, answered)
    result = home.aorch("contracts", "list")
    assert (result.code, result.err) == (0, "")
    newest, oldest = (line.split("\t") for line in result.out.splitlines())
    assert newest[0] == answered.contract_id
    assert newest[8] == json.dumps({"message": "y" * 300}, separators=(",", ":"))
    assert oldest == [
        *(asked.contract_id, asked.created_at, "REQUEST", "orchestrator", "agent_example_001", "echo", "completed"),
        *("s" * 10_240, '{"text":"' + "x" * 300 + '"}'),
    ]


def test_a_session_after_a_run_holds_request_and_response(home: Home) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "mine")
    home.aorch("run", "echo", "text=hi", "--session", "other")
    found = home.aorch("contracts", "list", "--session", "mine", "--json").json
    assert found["next"] is None
    answered, asked = found["contracts"]
    assert (asked["contract_type"], asked["status"], asked["payload"]) == ("REQUEST", "completed", {"text": "hi"})
    assert (answered["contract_type"], answered["result"]) == ("RESPONSE", {"message": "Echo: hi"})
    assert answered["request_id"] == asked["contract_id"]


def test_the_next_page_starts_before_the_last_contract_shown(home: Home) -> None:
    rows = pairs(4)
    put(home.ledger, *rows)
    seen: list[str] = []
    following: list[str] = []
    while True:
        page = home.aorch("contracts", "list", "--limit", "3", "--json", *following).json
        seen += [contract["contract_id"] for contract in page["contracts"]]
        if page["next"] is None:
            break
        following = ["--before", page["next"]]
    assert seen == [row.contract_id for row in reversed(rows)]


def test_jsonl_is_a_contract_a_line(home: Home) -> None:
    rows = [request(f"a\nb{number}", text="\u2028") for number in range(3)]
    put(home.ledger, *rows)
    lines = home.aorch("contracts", "list", "--jsonl").out.rstrip("\n").split("\n")
    assert [json.loads(line) for line in lines] == [row.as_dict() for row in reversed(rows)]


def test_filters_are_read_from_options(home: Home) -> None:
    old = request("old", created_at="2020-01-01T00:00:00.000Z", completed_at=None, status="failed", text="needle one")
    new = request("new", to_agent="scanner", capability="scan", text="needle two")
    put(home.ledger, old, new, response(new, "needle three"))

    def found(*options: str) -> list[str]:
        result = home.aorch("contracts", "list", *options)
        assert result.code == 0, result.err
        return [line.split("\t")[7] for line in result.out.splitlines()]

    assert found("--session", "old") == ["old"]
    assert found("--agent", "scanner", "--type", "request") == ["new"]
    assert found("--capability", "scan", "--type", "RESPONSE") == ["new"]
    assert found("--status", "failed") == found("--until", "1h") == found("--until", "2020-01-02") == ["old"]
    assert found("--since", "90s") == found("--since", "2020-01-01T02:00:00+01:00") == ["new", "new"]
    assert found("--text", "needle") == ["new", "new", "old"]
    assert found("--text", "NEEDLE tw*") == ["new"]


@pytest.mark.parametrize(
    "options",
    [
        ("list", "--since", "yesteryear"),
        ("list", "--until", "5x"),
        ("list", "--since", "99999999999d"),
        ("list", "--text", "--"),
        ("list", "--type", "question"),
        ("list", "--status", "done"),
        ("list", "--limit", "0"),
        ("export", "--format", "xml"),
        ("tail", "-n", "-1"),
        ("import",),
    ],
)
def test_invalid_options_exit_2(home: Home, options: tuple[str, ...]) -> None:
    put(home.ledger, request())
    result = home.aorch("contracts", *options)
    assert (result.code, result.out) == (2, "")
    assert result.err


def test_show_takes_the_end_of_an_id_and_shows_the_whole_exchange(home: Home) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "mine")
    (answered, *_), (asked, *_) = (line.split("\t") for line in home.aorch("contracts", "list").out.splitlines())
    shown = home.aorch("contracts", "show", answered[-8:].lower()).out
    assert shown == home.aorch("contracts", "show", asked).out
    assert f"REQUEST {asked}  completed\n" in shown
    assert f"RESPONSE {answered}  completed\n" in shown
    assert '  payload       {"text":"hi"}\n' in shown
    assert '  result        {"message":"Echo: hi"}\n' in shown
    exchange = home.aorch("contracts", "show", asked, "--json").json
    assert exchange["request"]["contract_id"] == asked
    assert exchange["response"]["contract_id"] == answered
    assert exchange["children"] == []


def test_show_indents_what_was_delegated(home: Home) -> None:
    top = request()
    below = request(parent_id=top.contract_id, status="in_progress", completed_at=None)
    failed = response(top, None, status="failed", error="first line\nsecond line")
    put(home.ledger, top, below, failed)
    shown = home.aorch("contracts", "show", top.contract_id).out
    assert f"\n    REQUEST {below.contract_id}  in_progress\n" in shown
    assert shown.endswith("\n    no RESPONSE yet\n")
    assert "  error         first line\n                second line\n" in shown


def test_show_of_an_unknown_contract_exits_12_and_of_an_ambiguous_part_2(home: Home) -> None:
    put(home.ledger, request(contract_id="01SAMEA"), request(contract_id="01SAMEB"))
    unknown = home.aorch("contracts", "show", new_id())
    assert (unknown.code, unknown.out) == (12, "")
    several = home.aorch("contracts", "show", "01same")
    assert several.code == 2
    assert "01SAMEA, 01SAMEB" in several.err
    assert home.aorch("contracts", "list", "--before", "nobody").code == 12


def test_tail_shows_the_last_contracts_the_newest_last(home: Home) -> None:
    rows = pairs(10)
    put(home.ledger, *rows)
    lines = home.aorch("contracts", "tail", "-n", "3").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [row.contract_id for row in rows[-3:]]
    lines = home.aorch("contracts", "tail", "--jsonl", "--type", "request").out.splitlines()
    assert [json.loads(line)["contract_id"] for line in lines] == [
        row.contract_id for row in rows if not row.request_id
    ]
    assert home.aorch("contracts", "tail", "-n", "0").out == ""


def test_tail_follows_the_contracts_of_other_processes_until_it_is_interrupted(home: Home) -> None:
    put(home.ledger, *pairs(3, "before"))
    tail = home.start("contracts", "tail", "-f", "-n", "1", "--jsonl")
    assert json.loads(line_of(tail))["session_id"] == "before"
    home.aorch("run", "echo", "text=hi", "--session", "after")
    assert [json.loads(line_of(tail))["contract_type"] for _ in range(2)] == ["REQUEST", "RESPONSE"]
    tail.send_signal(signal.SIGINT)
    out, err = tail.communicate(timeout=WAIT_S)
    assert (tail.returncode, out, err) == (130, b"", b"")


def test_tail_waits_for_a_ledger_that_does_not_exist_yet(home: Home) -> None:
    tail = home.start("contracts", "tail", "-f")
    home.aorch("run", "echo", "text=hi", "--session", "first")
    assert line_of(tail).split(b"\t")[2] == b"REQUEST"
    tail.terminate()
    tail.communicate(timeout=WAIT_S)


def test_a_closed_pipe_ends_tail_without_an_error(home: Home) -> None:
    put(home.ledger, request())
    tail = home.start("contracts", "tail", "-f")
    line_of(tail)
    assert tail.stdout is not None
    tail.stdout.close()
    put(home.ledger, request())
    assert tail.wait(timeout=WAIT_S) == 141
    assert tail.stderr is not None
    assert tail.stderr.read() == b""
    tail.stderr.close()


def test_writing_to_a_ledger_that_was_named_and_does_not_exist_warns_that_one_is_created(bare_home: Home) -> None:
    """Once: then it exists. A ledger that the command did not name is created without a warning."""
    bare_home.write("tasks.jsonl", '{"capability": "echo", "parameters": {"text": "hi"}}\n')
    bare_home.write("contracts.jsonl", "")
    commands = [
        ("run", "echo", "text=hi"),
        ("run", "echo", "text=hi", "--detach"),
        ("run", "--batch", "tasks.jsonl"),
        ("tokens", "create", "ci"),
        ("contracts", "import", "contracts.jsonl"),
    ]
    for number, command in enumerate(commands):
        ledger = bare_home.folder / f"typo{number}.db"
        warning = f"warning: no ledger at {ledger}: aorch creates it\n"
        first, again = (bare_home.aorch(*command, "--ledger", ledger.name) for _ in range(2))
        assert first.code == 0
        assert first.err.count(warning) == 1
        assert "warning" not in again.err
        assert ledger.exists()
    del bare_home.environment["AORCH_LEDGER"]
    assert "warning" not in bare_home.aorch("run", "echo", "text=hi").err


def test_a_named_ledger_that_cannot_be_created_is_an_error_without_that_warning(bare_home: Home) -> None:
    bare_home.write("file", "")
    for command in (("run", "echo", "text=hi"), ("tokens", "create", "ci"), ("serve", "--port", "0")):
        result = bare_home.aorch(*command, "--ledger", "file/ledger.db")
        assert result.code == 14
        assert "warning" not in result.err
        assert "error: cannot open the ledger" in result.err


def test_reading_makes_no_ledger_and_warns_of_one_that_was_named(bare_home: Home) -> None:
    """A mistyped name must not look like an empty ledger. The default ledger does not exist before its first use."""
    warning = f"warning: no ledger at {bare_home.ledger}: aorch shows an empty one\n"
    for arguments in (("list", "--text", "x"), ("tail",), ("export",)):
        result = bare_home.aorch("contracts", *arguments)
        assert (result.code, result.out, result.err) == (0, "", warning)
    del bare_home.environment["AORCH_LEDGER"]
    result = bare_home.aorch("contracts", "list", "--ledger", str(bare_home.ledger))
    assert (result.code, result.out, result.err) == (0, "", warning)
    result = bare_home.aorch("contracts", "list")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert not exists(bare_home.ledger)


@pytest.mark.parametrize("columns", [40, 80, 100, 160, 240])
def test_a_table_fits_its_terminal_and_keeps_ids_whole(home: Home, columns: int) -> None:
    rows = pairs(3, "s" * 10_240)
    put(home.ledger, *rows)
    header, *lines = plain(at_terminal(home, "contracts", "list", columns=columns)).splitlines()
    assert len(lines) == 6
    assert header.startswith("contract")
    assert [line[:26] for line in lines] == [row.contract_id for row in reversed(rows)]
    assert max(map(len, lines)) <= columns
    assert "status" in header
    assert ("capability" in header) == (columns >= 80)
    assert ("session" in header) == (columns >= 160)
    assert ("from → to" in header) == (columns >= 160)


COMMANDS: list[tuple[str, ...]] = [
    ("list",),
    ("list", "--json"),
    ("list", "--jsonl"),
    ("tail",),
    ("tail", "--jsonl"),
    ("show", "01UNKIND"),
    ("show", "01UNKIND", "--json"),
    ("export",),
    ("export", "--format", "csv"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_text_of_contracts_cannot_control_a_terminal(home: Home, command: tuple[str, ...]) -> None:
    asked = request(UNKIND, UNKIND, capability=UNKIND, to_agent=UNKIND, contract_id="01UNKIND")
    put(home.ledger, asked, response(asked, {UNKIND: UNKIND}, error=UNKIND, contract_id=f"x{UNKIND}"))
    shown = plain(at_terminal(home, "contracts", *command, columns=240))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert "[bold red]" in shown
    if command in (("list",), ("tail",)):
        assert len(shown.splitlines()) == (3 if command == ("list",) else 2)


def test_a_terminal_shows_how_to_get_the_next_page(home: Home) -> None:
    rows = pairs(2)
    put(home.ledger, *rows)
    shown = plain(at_terminal(home, "contracts", "list", "--limit", "3"))
    more = f"next page: --before {rows[1].contract_id}\n"
    assert shown.endswith(more)
    assert "more contracts" not in at_terminal(home, "contracts", "list", "--limit", "4")
    assert "no contracts found" in at_terminal(home, "contracts", "list", "--session", "nobody")


def test_a_pipe_gets_a_note_about_the_next_page_on_stderr(home: Home) -> None:
    """Whoever counts its lines, or cancels each of them, would take a page for all."""
    rows = pairs(2)
    put(home.ledger, *rows)
    listed = home.aorch("contracts", "list", "--limit", "3", "--jsonl")
    assert len(listed.out.splitlines()) == 3
    assert listed.err == f"next page: --before {rows[1].contract_id}\n"
    assert home.aorch("contracts", "list", "--limit", "4").err == ""


def test_a_line_of_tail_keeps_the_id_and_the_status_whole_at_80_columns(home: Home) -> None:
    asked, answered = pairs(1, "s" * 100)
    put(home.ledger, asked, answered)
    for row, line in zip(
        (asked, answered), plain(at_terminal(home, "contracts", "tail", columns=80)).splitlines(), strict=True
    ):
        assert row.contract_id in line
        assert row.status in line
        assert len(line) <= 80


def test_long_work_shows_a_progress_bar(home: Home) -> None:
    put(home.ledger, *pairs(1_000))
    shown = at_terminal(home, "contracts", "list", "--text", "word7")
    assert re.search("indexing text .*━", plain(shown))
    assert "━" not in at_terminal(home, "contracts", "list", "--text", "word7")


def test_a_table_has_no_colors_with_no_color(home: Home) -> None:
    put(home.ledger, request())
    assert "\x1b[3" not in at_terminal(home, "contracts", "list", NO_COLOR="1")


def test_json_at_a_terminal_is_indented_and_still_json(home: Home) -> None:
    row = request(text="é")
    put(home.ledger, row)
    shown = at_terminal(home, "contracts", "list", "--json")
    assert json.loads(shown) == {"contracts": [row.as_dict()], "next": None}
    assert shown.count("\n") > 10


@pytest.mark.parametrize("command", ["list", "show", "tail", "export", "import"])
def test_each_help_has_an_example(home: Home, command: str) -> None:
    shown = home.aorch("contracts", command, "--help").out
    assert f"aorch contracts {command}" in shown.partition("Example")[2]


def test_the_types_and_statuses_of_the_options_are_those_of_the_ledger() -> None:
    from aorch.cli.options import ContractType, Status
    from aorch.ledger import record as row

    known: Any = (row.PENDING, row.IN_PROGRESS, row.COMPLETED, row.FAILED, row.CANCELLED, row.INTERRUPTED)
    assert tuple(Status) == known
    assert tuple(ContractType) == (row.REQUEST, row.RESPONSE)
