"""Programs as agents: what they print, how they end, and what they are given, with nothing thrown away and no secret shown."""

import json
from typing import Any

import pytest
from homes import Home
from serving import serving

LINT = """[agents.lint]
command = ["sh", "-c", 'cat; echo "the reason" >&2; exit {code}']
stdin = '{out}'
[agents.lint.capabilities.lint]
"""


def lint(home: Home, out: str, code: int, *more: str) -> Any:
    """What `aorch run` says of a program that prints `out` and ends with `code`."""
    home.write("aorch.toml", LINT)
    return home.aorch("run", "lint", "--params", json.dumps({"out": out, "code": code}), *more)


def recorded(home: Home) -> tuple[Any, Any]:
    """The result and the metadata of the only RESPONSE."""
    ((result, metadata),) = home.rows("SELECT result, metadata FROM contracts WHERE request_id IS NOT NULL")
    return json.loads(result or "null"), json.loads(metadata)


# A program that fails


@pytest.mark.parametrize(
    ("out", "data", "shown"),
    [('{"found": [1]}', {"found": [1]}, '{"found":[1]}\n'), ("a.py:1: no\n", {"text": "a.py:1: no\n"}, "a.py:1: no\n")],
)
def test_a_program_that_fails_keeps_its_output(home: Home, out: str, data: Any, shown: str) -> None:
    done = lint(home, out, 3)
    assert (done.code, done.out) == (10, shown)
    assert "error: lint: exit code 3: the reason" in done.err
    result, metadata = recorded(home)
    assert result == data
    assert (metadata["exit_code"], metadata["stderr"], metadata["code"]) == (3, "the reason\n", "agent_failed")


def test_the_response_object_has_output_exit_code_and_stderr(home: Home) -> None:
    failed = lint(home, "out", 3, "--json").json
    assert (failed["success"], failed["data"], failed["exit_code"]) == (False, {"text": "out"}, 3)
    assert failed["stderr"] == "the reason\n"
    succeeded = lint(home, "out", 0, "--json").json
    assert (succeeded["success"], succeeded["exit_code"], succeeded["stderr"]) == (True, 0, "the reason\n")


def test_after_success_the_end_of_stderr_is_shown_and_kept(home: Home) -> None:
    done = lint(home, "out", 0)
    assert (done.code, done.out, done.err) == (0, "out\n", "the reason\n")
    assert recorded(home)[1]["stderr"] == "the reason\n"


def test_a_program_that_prints_nothing_and_fails_has_no_data(home: Home) -> None:
    done = lint(home, "", 3)
    assert (done.code, done.out, recorded(home)[0]) == (10, "", None)


def test_a_program_that_a_signal_ended_keeps_its_output_and_has_the_exit_code_of_a_shell(home: Home) -> None:
    home.write("aorch.toml", '[agents.a]\ncommand = ["sh", "-c", "echo half; kill -9 $$"]\n[agents.a.capabilities.a]\n')
    done = home.aorch("run", "a", "--json")
    assert (done.json["data"], done.json["exit_code"]) == ({"text": "half\n"}, 137)


def test_of_an_output_that_passes_the_limit_the_beginning_is_kept(home: Home) -> None:
    home.write(
        "aorch.toml",
        '[agents.a]\ncommand = ["seq", "100000"]\nmax_output_bytes = 100000\n[agents.a.capabilities.a]\n',
    )
    done = home.aorch("run", "a", "--json")
    assert not done.json["success"]
    assert done.json["data"]["text"].startswith("1\n2\n3\n")


@pytest.mark.parametrize(
    "out", ['{"a": NaN}', '{"a": -Infinity}', r'{"a": "\x41"}', '{"a": "tab\there"}', '{"a":' * 5000 + "1" + "}" * 5000]
)
def test_what_is_nearly_json_is_an_error_that_says_so_and_is_kept(home: Home, out: str) -> None:
    done = lint(home, out, 0, "--json")
    assert (done.code, done.json["data"]) == (10, None)
    assert done.json["error"].startswith("the output of the program is not valid JSON (RFC 8259): ")
    assert recorded(home)[1]["stdout"] == out


def test_what_is_nearly_json_is_printed_and_told_after_an_exit_code_too(home: Home) -> None:
    done = lint(home, '{"a": NaN}', 3)
    assert (done.code, done.out) == (10, '{"a": NaN}\n')
    assert "error: lint: exit code 3" in done.err
    assert "; the output of the program is not valid JSON (RFC 8259): " in done.err


# Exit codes that are success


def test_other_exit_codes_can_be_success(home: Home) -> None:
    added = home.aorch("agents", "add", "grep", "--capability", "search", "--ok-exit-code", "1", "--stdin", "{text}",
                       "--", "grep", "{pattern}")  # fmt: skip
    assert added.code == 0, added.err
    found = home.aorch("run", "search", "pattern=a", "text=abc")
    missed = home.aorch("run", "search", "pattern=x", "text=abc", "--json")
    wrong = home.aorch("run", "search", "pattern=[", "text=abc", "--json")
    assert (found.code, found.out) == (0, "abc\n")
    assert (missed.code, missed.json["success"], missed.json["exit_code"]) == (0, True, 1)
    assert (wrong.code, wrong.json["exit_code"]) == (10, 2)


@pytest.mark.parametrize("codes", ["[]", "[256]", "[-1]", '["1"]', "1"])
def test_exit_codes_that_are_none_are_refused(home: Home, codes: str) -> None:
    home.write("aorch.toml", f'[agents.a]\ncommand = ["true"]\nok_exit_codes = {codes}\n[agents.a.capabilities.a]\n')
    done = home.aorch("run", "a")
    assert done.code == 2
    assert "agents.a.ok_exit_codes" in done.err


# What a program is given


def test_placeholders_can_be_encoded(home: Home) -> None:
    home.write(
        "aorch.toml",
        """[agents.a]
command = ["sh", "-c", 'printf "%s " "$@"; cat', "sh", "{q|url}", "{q|json}", "{n|url}", "{{q|json}}"]
stdin = 'url = {q|json} {q|url}'
[agents.a.capabilities.a]
""",
    )
    done = home.aorch("run", "a", 'q=a/b "c" é&', 'n:={"x": true}')
    url, text = "a%2Fb%20%22c%22%20%C3%A9%26", '"a/b \\"c\\" é&"'
    assert done.out == f"{url} {text} %7B%22x%22%3Atrue%7D {{q|json}} url = {text} {url}\n"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('command = ["echo", "{a|base64}"]', "{a|base64} has an unknown encoding"),
        ('command = ["echo", "{$TOKEN}"]', "{$TOKEN} is in its command line, which every user can read"),
        ('command = ["cat"]\nstdin = "{$NO_SUCH_TOKEN}"', "its stdin refers to NO_SUCH_TOKEN, which is not set"),
        ('command = ["./crlf"]', "ends in a carriage return"),
        ('command = ["./gone"]', "the interpreter '/nowhere/python' of its program"),
    ],
)
def test_agents_check_finds_what_would_fail(home: Home, table: str, said: str) -> None:
    home.write("crlf", "#!/bin/sh\r\necho hi\r\n").chmod(0o755)
    home.write("gone", "#!/nowhere/python -u\nprint()\n").chmod(0o755)
    home.write("aorch.toml", f"[agents.a]\n{table}\n[agents.a.capabilities.a]\n")
    done = home.aorch("agents", "check", "a")
    assert done.code == 10
    assert said in done.out


SECRETS = """
[queue]
webhook_secret_env = "HOOK"
[llm]
provider = "anthropic"
[agents.plain]
command = ["env"]
env = { PRICE = "$$5 $$HOME ${HOME}" }
[agents.plain.capabilities.plain]
[agents.trusted]
command = ["sh", "-c", "env; echo $HOOK $API > seen; tee -a seen"]
stdin = "authorization: {$API}"
env = { HOOK = "$HOOK", API = "$GITHUB_TOKEN" }
[agents.trusted.capabilities.trusted]
"""


def test_a_program_has_only_the_secrets_that_its_env_lists(home: Home) -> None:
    home.write("aorch.toml", SECRETS)
    home.environment |= {
        "HOOK": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0",
        "ANTHROPIC_API_KEY": "sk-1",
        "GITHUB_TOKEN": "ghp_1",
        "OTHER": "other",
    }
    plain = home.aorch("run", "plain").out.splitlines()
    trusted = home.aorch("run", "trusted").out.splitlines()
    assert "OTHER=other" in plain
    assert f"PRICE=$5 $HOME {home.environment['HOME']}" in plain
    assert not [line for line in plain if line.partition("=")[0] in ("HOOK", "ANTHROPIC_API_KEY", "GITHUB_TOKEN")]
    assert {"HOOK=***", "API=***", "authorization: ***"} <= set(trusted)
    assert (home.folder / "seen").read_text() == "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0 ghp_1\nauthorization: ghp_1"
    assert not [line for line in trusted if line.startswith(("ANTHROPIC_API_KEY=", "GITHUB_TOKEN="))]


def test_a_secret_that_is_named_in_stdin_alone_reaches_that_program_alone(home: Home) -> None:
    teller = '[agents.teller]\ncommand = ["cat"]\nstdin = "{$TELLER_KEY}"\n[agents.teller.capabilities.tell]\n'
    home.write("aorch.toml", teller + '[agents.plain]\ncommand = ["env"]\n[agents.plain.capabilities.plain]\n')
    home.environment["TELLER_KEY"] = "k-1"
    assert home.aorch("run", "tell").out == "k-1\n"
    assert "TELLER_KEY" not in home.aorch("run", "plain").out


def test_lists_of_agents_show_names_of_variables_and_never_values(home: Home) -> None:
    home.write("aorch.toml", SECRETS.replace('"$HOOK"', '"literal-secret"'))
    home.environment |= {"HOOK": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "GITHUB_TOKEN": "ghp_1"}
    listed, shown = home.aorch("agents", "list"), home.aorch("agents", "show", "trusted")
    as_json = home.aorch("agents", "list", "--json")
    with serving(home) as api:
        served = api.get("/v1/agents").text
    for text in (listed.out, shown.out, as_json.out, served):
        assert "HOOK" in text
        assert not any(value in text for value in ("literal-secret", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "ghp_1"))
    assert [agent["env"] for agent in as_json.json["agents"]] == [[], ["PRICE"], ["HOOK", "API"]]


def test_a_program_that_is_cut_off_keeps_what_it_had_printed(home: Home) -> None:
    script = "echo half; echo reason >&2; exec sleep 60"
    home.write("aorch.toml", f'[agents.a]\ncommand = ["sh", "-c", "{script}"]\n[agents.a.capabilities.a]\n')
    done = home.aorch("run", "a", "--timeout", "1")
    assert (done.code, done.out) == (5, "half\n")
    assert done.err == "reason\nerror: a gave no answer within 1 s\n"
    result, metadata = recorded(home)
    assert (result, metadata["stderr"], metadata["code"]) == ({"text": "half\n"}, "reason\n", "agent_timed_out")
