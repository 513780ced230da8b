"""The program agent: what a program is given, what it answers, and programs that do not exist."""

import json
import subprocess
import sys
from typing import Any

import pytest
from homes import Home
from program_agents import ends_of, worker
from waiting import WAIT_S, wait_for

ARGUMENTS = "import json, sys; print(json.dumps({'arguments': sys.argv[1:]}))"
"""A program that tells what arguments it was given."""


# What the program is given


def test_the_task_arrives_as_one_json_document_on_stdin(home: Home) -> None:
    worker(home, "cat")
    done = home.aorch("run", "work", "text=hé", "n:=12345678901234567890123", "--session", "s 1",
                      "--context", '{"why": ["a", null]}', "--json")  # fmt: skip
    assert done.json["data"] == {
        "task_id": done.json["contract_id"],
        "session_id": "s 1",
        "capability": "work",
        "parameters": {"text": "hé", "n": 12345678901234567890123},
        "context": {"why": ["a", None]},
    }


def test_a_value_is_always_one_argument_whatever_is_in_it(home: Home) -> None:
    hostile = [
        """it's "quoted" and 'quoted'""", "two words", "; touch broken-out", "$(touch broken-out)", "`touch broken-out`",
        "a\nb\r\n\tc", "", "*", "-rf", "--help", "\\", "\\n", "${HOME} $HOME", "{b}", "{{b}}", "&& false | cat > x", "🐚 ñ",
    ]  # fmt: skip
    worker(home, sys.executable, "-c", ARGUMENTS, *(f"{{p{i}}}" for i in range(len(hostile))))
    given = json.dumps({f"p{i}": value for i, value in enumerate(hostile)})
    assert home.aorch("run", "work", "--params", given).json == {"arguments": hostile}
    assert not (home.folder / "broken-out").exists()


def test_a_place_may_stand_inside_an_argument_and_what_is_no_text_is_json(home: Home) -> None:
    worker(home, sys.executable, "-c", ARGUMENTS, "--name={name}", "{n}/{yes}", "{list}", "{a}{a}")
    given = {"name": "x y", "n": 1.5, "yes": True, "list": [1, {"b": None}], "a": "ab"}
    done = home.aorch("run", "work", "--params", json.dumps(given))
    assert done.json == {"arguments": ["--name=x y", "1.5/true", '[1,{"b":null}]', "abab"]}


def test_a_place_in_double_braces_and_braces_that_are_none_stand_as_they_are(home: Home) -> None:
    worker(home, sys.executable, "-c", ARGUMENTS, "{{literal}}", "{ }", "{}", "{print $1}", '{"a": 1}')
    done = home.aorch("run", "work", "literal=no")
    assert done.json == {"arguments": ["{literal}", "{ }", "{}", "{print $1}", '{"a": 1}']}


def test_a_place_without_its_parameter_is_refused_by_name(home: Home) -> None:
    worker(home, "echo", "{colour}")
    done = home.aorch("run", "work", "color=red")
    assert done.code == 2
    assert "'colour'" in done.err
    assert [row[:2] for row in ends_of(home)] == [("REQUEST", "failed"), ("RESPONSE", "failed")]


def test_a_value_that_no_program_can_be_given_fails_cleanly(home: Home) -> None:
    worker(home, "echo", "{a}")
    for value in ("a\0b", "x" * 200_000):
        home.write("value.json", json.dumps({"a": value}))
        done = home.aorch("run", "work", "--params", "@value.json")
        assert done.code == 10
        assert "could not be started" in done.err
        assert "Traceback" not in done.err


def test_stdin_may_be_a_text_made_of_the_parameters(home: Home) -> None:
    worker(home, "cat", more='stdin = "{text} {{text}}"')
    assert home.aorch("run", "work", "text=it's; $HOME").out == "it's; $HOME {text}\n"


def test_a_variable_that_is_not_set_is_named_before_the_program_runs(home: Home) -> None:
    """Its name would reach the program in place of a key."""
    worker(home, "touch", "seen", more='env = {KEY = "$NOT_SET", MORE = "a${NOT_SET_EITHER}b$HOME"}')
    done = home.aorch("run", "work")
    assert done.code == 11
    assert "its env refers to NOT_SET, NOT_SET_EITHER, which is not set" in done.err
    assert not (home.folder / "seen").exists()
    home.environment |= {"NOT_SET": "", "NOT_SET_EITHER": "now"}
    assert home.aorch("run", "work").code == 0


def test_it_runs_in_its_cwd_with_the_variables_that_are_added(home: Home) -> None:
    (home.folder / "place").mkdir()
    home.environment |= {"SECRET": "s3cret", "OUTER": "outer"}
    worker(home, "sh", "-c", 'echo "$PWD $TOKEN $OUTER $PLAIN" > seen',
           more='cwd = "place"\nenv = {TOKEN = "-$SECRET-${SECRET}-", PLAIN = "a b"}')  # fmt: skip
    assert home.aorch("run", "work").code == 0
    assert (home.folder / "place/seen").read_text() == f"{home.folder}/place -s3cret-s3cret- outer a b\n"
    assert not home.rows("SELECT * FROM contracts WHERE metadata LIKE '%s3cret%' OR payload LIKE '%s3cret%'")


def test_a_program_is_found_on_the_path_that_the_agent_adds_and_beside_the_file(home: Home) -> None:
    (home.folder / "bin").mkdir()
    program = home.write("bin/mine", "#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    worker(home, "mine", more=f'env = {{PATH = "{home.folder}/bin:$PATH"}}')
    assert home.aorch("run", "work").out == "mine\n"
    worker(home, "bin/mine")
    assert home.aorch("run", "work").out == "mine\n"
    (home.folder / "elsewhere").mkdir()
    worker(home, "bin/mine", more='cwd = "elsewhere"')
    assert home.aorch("run", "work").out == "mine\n"


# What it answers


@pytest.mark.parametrize(
    ("printed", "data"),
    [
        ('{"a": [1, "é"]}', {"a": [1, "é"]}),
        ('\n  {"a": 1}\n', {"a": 1}),
        ("plain\n", {"text": "plain\n"}),
        ("", {"text": ""}),
        ("[1, 2]", {"text": "[1, 2]"}),
        ('{"broken": ', {"text": '{"broken": '}),
        ('{"a": 1} {"b": 2}', {"text": '{"a": 1} {"b": 2}'}),
        ("{a: 1}", {"text": "{a: 1}"}),
        ('\ufeff{"a": 1}', {"a": 1}),
        (
            r'{"half": "\ud83d", "pair": "\ud83d\ude00", "not": "\\ud83d"}',
            {"half": "\ufffd", "pair": "😀", "not": "\\ud83d"},
        ),
    ],
)
def test_an_object_on_stdout_is_the_data_and_anything_else_is_text(home: Home, printed: str, data: Any) -> None:
    worker(home, "printf", "%s", "{printed}")
    done = home.aorch("run", "work", "--params", json.dumps({"printed": printed}), "--json")
    assert done.json["data"] == data
    assert json.loads(home.rows("SELECT result FROM contracts WHERE request_id IS NOT NULL")[0][0]) == data


def test_an_exit_code_other_than_0_is_a_failure_with_the_end_of_stderr(home: Home) -> None:
    worker(
        home, "sh", "-c", "echo half an answer; head -c 100000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; exit 3"
    )
    done = home.aorch("run", "work")
    assert (done.code, done.out) == (10, "half an answer\n")
    assert "exit code 3: xxx" in done.err
    assert done.err.endswith("xxxthe reason\n")
    assert 4000 < len(done.err) < 4200
    (request, response) = ends_of(home)
    assert request == ("REQUEST", "failed", None)
    assert response[:2] == ("RESPONSE", "failed")
    assert response[2].endswith("the reason")


@pytest.mark.parametrize(("number", "name"), [("SEGV", "SIGSEGV"), ("40", "40")])
def test_a_program_that_a_signal_ended_says_which(home: Home, number: str, name: str) -> None:
    worker(home, "sh", "-c", f"kill -{number} $$")
    done = home.aorch("run", "work")
    assert (done.code, done.err) == (10, f"error: work (agent worker): the program was killed by signal {name}\n")


def test_broken_utf_8_is_replaced_and_kept(home: Home) -> None:
    worker(home, "printf", r"caf\351 \377\000 {kind}")
    assert home.aorch("run", "work", "kind=x").out == "caf� � x\n".replace("� x", "�\0 x")
    worker(home, "sh", "-c", r"printf 'bad \377 reason' >&2; exit 1")
    failed = home.aorch("run", "work")
    assert (failed.code, failed.err) == (10, "error: work (agent worker): exit code 1: bad � reason\n")
    results = home.rows("SELECT result, error FROM contracts WHERE request_id IS NOT NULL ORDER BY position")
    assert results == [('{"text":"caf� �� x"}', None), (None, "exit code 1: bad � reason")]


# Programs that are not there


@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        ("no-such-program", "", "no-such-program"),
        ("./not-there", "", "not-there"),
        ("/etc/passwd", "", "/etc/passwd"),
        ("echo", 'cwd = "no-such-folder"', "no-such-folder"),
    ],
)
def test_a_program_or_folder_that_is_not_there_is_named(home: Home, command: str, more: str, said: str) -> None:
    worker(home, command, more=more)
    done = home.aorch("run", "work")
    assert done.code == 11
    assert said in done.err
    assert [row[:2] for row in ends_of(home)] == [("REQUEST", "failed"), ("RESPONSE", "failed")]
    checked = home.aorch("agents", "check")
    assert checked.code == 10
    assert said in checked.out
    assert home.aorch("run", "echo", "text=still works").out == "Echo: still works\n"


def test_a_program_whose_name_is_a_parameter_and_is_not_there_fails(home: Home) -> None:
    worker(home, "{program}")
    assert home.aorch("run", "work", "program=true").code == 0
    failed = home.aorch("run", "work", "program=no-such-program")
    assert failed.code == 10
    assert "no-such-program could not be started" in failed.err


# Delegation and concurrency


def test_a_run_inside_a_program_stands_below_it_in_the_ledger(home: Home) -> None:
    nested = " ".join(home.command("run", "echo", "text=inner", "--json"))
    worker(home, "sh", "-c", nested)
    outer = home.aorch("run", "work", "--session", "tree", "--json").json
    assert outer["success"]
    inner = outer["data"]["contract_id"]
    assert outer["data"]["session_id"] == "tree"
    requests = home.rows("SELECT contract_id, parent_id, from_agent, to_agent FROM contracts "
                         "WHERE contract_type = 'REQUEST' AND session_id = 'tree' ORDER BY position")  # fmt: skip
    assert requests == [
        (outer["contract_id"], None, "orchestrator", "worker"),
        (inner, outer["contract_id"], "worker", "agent_example_001"),
    ]


def test_a_program_that_runs_itself_is_ended_by_the_depth_limit(home: Home) -> None:
    worker(home, "sh", "-c", " ".join(home.command("run", "work", 'n:="$(($0 + 1))"')), "{n}")
    home.write("aorch.toml", "max_depth = 3\n" + (home.folder / "aorch.toml").read_text())
    done = home.aorch("run", "work", "n:=0")
    assert done.code == 10
    assert "the limit is 3 (max_depth)" in done.err
    assert home.rows("SELECT count(*) FROM contracts WHERE contract_type = 'REQUEST'") == [(4,)]


def test_tasks_beyond_an_agents_concurrency_wait_visibly_as_pending(home: Home) -> None:
    worker(
        home, "sh", "-c", "echo + >> log; while [ ! -e go ]; do sleep 0.02; done; echo - >> log", more="concurrency = 1"
    )
    program = """
        import asyncio
        from aorch import Orchestrator

        async def main():
            async with Orchestrator() as orchestrator:
                tasks = [orchestrator.orchestrate(session_id="s", task={"capability": "work"}) for _ in range(3)]
                assert all([answer["success"] for answer in await asyncio.gather(*tasks)])

        asyncio.run(main())
    """
    running = subprocess.Popen(
        [sys.executable, "-c", "if True:" + program], cwd=home.folder, env=home.environment, stderr=subprocess.PIPE
    )
    statuses = "SELECT status FROM contracts WHERE session_id = 's' AND contract_type = 'REQUEST' ORDER BY position"
    try:
        assert wait_for(lambda: home.rows(statuses) == [("in_progress",), ("pending",), ("pending",)])
    finally:
        home.write("go", "")
        _, err = running.communicate(timeout=WAIT_S)
    assert (running.returncode, err) == (0, b"")
    assert (home.folder / "log").read_text().split() == ["+", "-"] * 3
    assert home.rows(statuses) == [("completed",)] * 3
    assert (
        list((home.folder / "ledger.db-owners").glob("0*")) == []
    )  # besides the file that counts the tasks of an agent
