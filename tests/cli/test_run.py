"""`aorch run`: parameters in, the answer on stdout, the truth in the exit code, both contracts in the ledger."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from homes import Home
from hypothesis import given
from hypothesis import strategies as st
from terminal import at_terminal, plain

from aorch.cli.parameters_cli import parse_items
from aorch.errors import AorchError


def test_a_pipe_gets_the_text_of_the_answer_and_nothing_on_stderr(home: Home) -> None:
    done = home.aorch("run", "echo", "text=hi")
    assert (done.code, done.out, done.err) == (0, "Echo: hi\n", "")


def test_both_contracts_are_in_the_ledger(home: Home) -> None:
    home.aorch("run", "uppercase", "text=hi", "--session", "s1")
    request, response = home.rows("SELECT contract_id, contract_type, status, from_agent, to_agent, result, request_id "
                                  "FROM contracts WHERE session_id = 's1' ORDER BY position")  # fmt: skip
    assert request[1:6] == ("REQUEST", "completed", "orchestrator", "agent_example_001", None)
    assert response[1:] == (
        "RESPONSE", "completed", "agent_example_001", "orchestrator", '{"result":"HI"}', request[0]
    )  # fmt: skip


def test_json_is_the_response_object_on_one_line(home: Home) -> None:
    done = home.aorch("run", "echo", "text=hi", "--session", "s1", "--json")
    assert done.out.count("\n") == 1
    assert list(done.json) == ["success", "data", "error", "contract_id", "agent_id", "session_id", "timestamp"]
    assert done.json["data"] == {"message": "Echo: hi"}
    assert done.json["session_id"] == "s1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", done.json["timestamp"])


def test_a_session_that_is_not_named_is_a_new_one_each_time(home: Home) -> None:
    first, second = (home.aorch("run", "echo", "text=a", "--json").json["session_id"] for _ in range(2))
    assert first.startswith("session_")
    assert first < second


def test_a_parameter_comes_from_a_file_or_from_standard_input(home: Home) -> None:
    home.write("notes.md", "From a file\n")
    assert home.aorch("run", "uppercase", "text=@notes.md").out == "FROM A FILE\n"
    assert home.aorch("run", "uppercase", "text=@-", stdin="from a pipe").out == "FROM A PIPE\n"


def test_one_run_feeds_the_next(home: Home) -> None:
    assert home.bash("aorch run uppercase text=a | aorch run echo text=@-").stdout == "Echo: A\n"


def test_params_is_one_object_and_items_override_it(home: Home) -> None:
    home.write("task.json", '{"text": "x"}')
    assert home.aorch("run", "echo", "--params", '{"text": "a"}').out == "Echo: a\n"
    assert home.aorch("run", "echo", "--params", "@task.json").out == "Echo: x\n"
    assert home.aorch("run", "echo", "text=b", "--params", '{"text": "a"}').out == "Echo: b\n"
    refused = home.aorch("run", "echo", "--params", "[1]")
    assert refused.code == 2
    assert "--params must be a JSON object" in refused.err


def test_data_that_is_not_one_text_is_json(home: Home) -> None:
    home.write(
        "aorch.toml",
        '[agents.j]\ncommand = ["printf", "{out}"]\n[agents.j.capabilities.print]\n',
    )
    done = home.aorch("run", "print", 'out={"n": 12345678901234567890123, "list": [1, "é"]}')
    assert done.out == '{"n":12345678901234567890123,"list":[1,"é"]}\n'


def test_the_context_reaches_the_agent_and_the_ledger(home: Home) -> None:
    home.write("aorch.toml", '[agents.cat]\ncommand = ["cat"]\n[agents.cat.capabilities.see]\n')
    done = home.aorch("run", "see", "--context", '{"why": "test"}', "--session", "s")
    assert done.json["context"] == {"why": "test"}
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE contract_type = 'REQUEST'")
    assert json.loads(metadata)["context"] == {"why": "test"}


def test_an_agent_without_the_capability_exits_11(home: Home) -> None:
    assert home.aorch("run", "echo", "text=a", "--agent", "agent_example_001").code == 0
    done = home.aorch("run", "echo", "text=a", "--agent", "agent_example_002")
    assert done.code == 11
    assert "Did you mean agent_example_001?" in done.err


def test_the_request_contains_the_reason_for_the_choice(home: Home) -> None:
    home.aorch("run", "echo", "text=a")
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE contract_type = 'REQUEST'")
    assert json.loads(metadata)["routing"] == {"reason": "only_candidate"}


def test_a_terminal_shows_agent_duration_and_contract(home: Home) -> None:
    said = plain(at_terminal(home, "run", "echo", "text=hi", "--session", "s1"))
    assert "Echo: hi" in said
    assert re.search(r"agent_example_001 · \d+ ms · contract [0-9A-Z]{26} · session s1", said)
    unnamed = plain(at_terminal(home, "run", "echo", "text=hi"))
    assert re.search(r"agent_example_001 · \d+ ms · contract [0-9A-Z]{26}\r?\n", unnamed)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "TERM=dumb"])
def test_no_color_and_a_dumb_terminal_switch_colors_off(home: Home, environment: dict[str, str]) -> None:
    assert "\x1b" not in at_terminal(home, "run", "ecko", "text=hi", code=11, **environment)
    assert "\x1b" in at_terminal(home, "run", "ecko", "text=hi", code=11)


def test_the_output_of_an_agent_cannot_control_a_terminal(home: Home) -> None:
    said = at_terminal(home, "run", "echo", "text=\x1b]0;owned\x07")
    assert "\\x1b]0;owned\\x07" in said
    assert home.aorch("run", "echo", "text=\x1b]0;x\x07").out == "Echo: \x1b]0;x\x07\n"


def test_a_closed_pipe_prints_no_error(home: Home) -> None:
    home.write("big", "x" * 1_000_000)
    done = home.bash("aorch run echo text=@big | head -c 1")
    assert (done.stdout, done.stderr) == ("E", "")


@pytest.mark.sqlite_only("the files of ledgers")
def test_the_ledger_is_the_one_of_the_option_the_environment_or_the_file(home: Home) -> None:
    home.aorch("run", "echo", "text=a", "--ledger", "here/by-option.db")
    assert (home.folder / "here/by-option.db").is_file()
    home.aorch("run", "echo", "text=a")
    assert home.ledger.is_file()
    del home.environment["AORCH_LEDGER"]
    home.write("aorch.toml", 'ledger = "by-file.db"')
    below = home.folder / "deep/er"
    below.mkdir(parents=True)
    assert Home(below, home.environment).aorch("run", "echo", "text=a").code == 0
    assert (home.folder / "by-file.db").is_file()
    (home.folder / "aorch.toml").unlink()
    home.aorch("run", "echo", "text=a")
    assert (home.folder / "data/aorch/ledger.db").is_file()


@pytest.mark.parametrize("command", ["", "run", "agents", "agents add", "agents check", "contracts", "status"])
def test_every_help_page_has_an_example_or_lists_commands(home: Home, command: str) -> None:
    done = home.aorch(*command.split(), "--help")
    assert done.code == 0
    assert "Example" in done.out or "Commands" in done.out


def test_help_fits_a_narrow_terminal(home: Home) -> None:
    home.environment["COLUMNS"] = "40"
    assert max(len(line) for line in home.aorch("run", "--help").out.splitlines()) <= 40


def test_the_shell_completes_capabilities_agents_sessions_and_contracts(home: Home) -> None:
    contract_id = home.aorch("run", "echo", "text=a", "--session", "alpha", "--json").json["contract_id"]

    def completed(*words: str) -> str:
        line = " ".join(("aorch", *words))
        home.environment |= {"_AORCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
        return home.aorch().out

    assert completed("run", "ec").split() == ["echo"]
    assert completed("run", "echo", "--agent", "agent_").split() == ["agent_example_001"]
    assert completed("run", "echo", "--session", "al").split() == ["alpha"]
    assert completed("contracts", "show", contract_id[:20]).startswith(contract_id[:20])


@given(st.dictionaries(st.text(min_size=1), st.text() | st.text("\\@-", max_size=4)))
def test_any_text_survives_the_way_through_an_item(parameters: dict[str, str]) -> None:
    def escaped(key: str) -> str:
        return re.sub(r"([\\=:@])", r"\\\1", key)

    def literal(value: str) -> str:
        return "\\" + value if value.lstrip("\\").startswith("@") else value

    items = [f"{escaped(key)}={literal(value)}" for key, value in parameters.items()]
    assert parse_items([item for item in items if not item.endswith("=\\@-")]) == {
        key: value for key, value in parameters.items() if value != "@-"
    }


@given(st.text())
def test_any_item_is_parsed_or_rejected_with_an_aorch_error(item: str) -> None:
    with contextlib.suppress(AorchError):
        assert len(parse_items([item])) == 1


def test_numbers_and_structures_are_written_as_json(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"a": [1]}')
    assert parse_items(["n:=3", "t=3", f"doc:=@{tmp_path}/d.json", r"a\=b=c", "url=http://x/?a=b"]) == {
        "n": 3, "t": "3", "doc": {"a": [1]}, "a=b": "c", "url": "http://x/?a=b"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("item", "reason"),
    [("text", "missing value"), ("n:=x", "not JSON"), ("=x", "invalid parameter"), ("text=@/no", "not found")],
)
def test_an_invalid_item_is_rejected_by_name(item: str, reason: str) -> None:
    with pytest.raises(AorchError, match=reason):
        parse_items([item])


def test_a_named_ledger_is_read_even_if_the_configuration_is_invalid(home: Home) -> None:
    home.aorch("run", "echo", "text=a")
    home.write("aorch.toml", "this is no TOML")
    assert home.aorch("run", "echo", "text=a").code == 2
    assert home.aorch("contracts", "list", "--ledger", str(home.ledger)).out.count("\n") == 2


@pytest.mark.parametrize("where", ["> /dev/full", ">&-"])
def test_a_full_standard_output_is_one_error_and_the_exchange_is_recorded(home: Home, where: str) -> None:
    done = home.bash(f"aorch run echo text=a {where}", new_python=where == ">&-")
    assert done.returncode == 74
    assert done.stderr.startswith("error: cannot write to standard output")
    assert done.stderr.count("\n") == 2
    assert home.rows("SELECT count(*) FROM contracts WHERE status = 'completed'") == [(2,)]


def test_an_export_to_a_full_disk_is_one_error(home: Home) -> None:
    home.aorch("run", "echo", "text=a")
    done = home.bash("aorch contracts export > /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (74, 2)
    assert done.stderr.startswith("error: cannot write to standard output")


def test_a_terminal_shows_the_pause_before_another_attempt(home: Home) -> None:
    home.write(
        "busy.py",
        "from aorch import AgentBusy, capability\n"
        "answers = iter([False, True])\n"
        "@capability('work')\n"
        "async def work() -> str:\n"
        "    if next(answers):\n"
        "        return 'finished'\n"
        "    raise AgentBusy('it is full', retry_after_s=0.2)\n",
    )
    home.write("aorch.toml", '[agents.work]\nclass = "busy:work"\n')
    said = plain(at_terminal(home, "run", "work"))
    assert "next attempt in 0.2 s: it is full" in said
    assert "finished" in said
