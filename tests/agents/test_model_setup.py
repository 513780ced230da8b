"""Adding and checking agents that ask models: what is missing or invalid is named before a model is called."""

import tomllib
from pathlib import Path

import pytest
from doubles import running
from homes import Home
from model_agents import model_agent, python_without
from model_double import ModelDouble

from aorch.agents import kinds
from aorch.config.settings import Config
from aorch.errors import ConfigInvalid

NOBODY = "http://127.0.0.1:1/v1"
TABLE = "[agents.a]\nllm = 'openai'\nmodel = 'm'\n"
PROMPT = "[agents.a.capabilities.c]\nprompt = '{text}'\n"


def test_one_command_adds_a_model_whose_parameters_come_from_its_prompt(home: Home) -> None:
    added = home.aorch(
        "agents", "add", "summarize", "--llm", "openai/test/model-1", "--prompt", "In {words} words: {text} {a.b|json}",
    )  # fmt: skip
    assert (added.code, added.out) == (0, f"summarize added to {home.folder}/aorch.toml\n")
    assert "warning: summarize cannot run tasks yet: the environment variable OPENAI_API_KEY" in added.err
    (table,) = tomllib.loads((home.folder / "aorch.toml").read_text())["agents"].values()
    prompt = {"prompt": "In {words} words: {text} {a.b|json}"}
    assert table == {"llm": "openai", "model": "test/model-1", "capabilities": {"summarize": prompt}}
    shown = home.aorch("agents", "show", "summarize", "--json").json
    assert (shown["kind"], shown["endpoint"], shown["env"]) == ("llm", "https://api.openai.com/v1", ["OPENAI_API_KEY"])
    assert shown["capabilities"][0]["parameters"]["required"] == ["words", "text", "a"]


def test_every_option_of_a_model_is_a_key_of_its_table(home: Home) -> None:
    home.aorch(
        "agents", "add", "ask", "--capability", "judge", "--description", "Judge it", "--param", "text=string",
        "--llm", "anthropic/m", "--prompt", "{text}", "--system", "Be fair.", "--base-url", "http://localhost:1",
        "--result", '{"type": "object"}', "--temperature", "0", "--max-output-tokens", "9", "--key-env", "MINE",
        "--timeout", "5", "--concurrency", "2",
    )  # fmt: skip
    (table,) = tomllib.loads((home.folder / "aorch.toml").read_text())["agents"].values()
    judge = {
        "description": "Judge it",
        "parameters": {"text": "string"},
        "prompt": "{text}",
        "result": {"type": "object"},
    }
    assert table == {
        "llm": "anthropic", "model": "m", "base_url": "http://localhost:1", "key_env": "MINE", "system": "Be fair.",
        "temperature": 0.0, "max_output_tokens": 9, "timeout_s": 5.0, "concurrency": 2, "capabilities": {"judge": judge},
    }  # fmt: skip
    assert home.aorch("agents", "show", "ask", "--json").json["problem"] == (
        "the environment variable MINE, which holds the API key, is not set"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("ask", "--llm", "gpt", "--prompt", "x"), "--llm names no API and model"),
        (("ask", "--llm", "openai/"), "--llm names no API and model"),
        (("--llm", "openai/m"), "the agent needs an ID and --prompt"),
        (("ask", "--llm", "openai/m", "--prompt", "x", "--stdin", "y"), "--stdin cannot be used for a model"),
        (("ask", "--llm", "openai/m", "--prompt", "x", "--result", "{"), "--result is not JSON"),
        (("ask", "--llm", "openai/m", "--prompt", "x", "--result", "{}"), "result is not a JSON Schema of an object"),
        (("ask", "--llm", "openai/m", "--prompt", "x", "--", "cat"), "a program and a model"),
    ],
)
def test_options_that_describe_no_model_are_rejected(home: Home, arguments: tuple[str, ...], reason: str) -> None:
    done = home.aorch("agents", "add", *arguments)
    assert (done.code, reason in done.err) == (2, True), done.err
    assert (home.folder / "aorch.toml").read_text() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{TABLE}", "agents.a needs a `model` and at least one capability"),
        (f"[agents.a]\nllm = 'gpt'\nmodel = 'm'\n{PROMPT}", "agents.a.llm: invalid value 'gpt'"),
        (f"[agents.a]\nllm = 'openai'\n{PROMPT}", "agents.a: the key model is missing"),
        (f"{TABLE}key = 'sk-x'\n{PROMPT}", "unknown key agents.a.key"),
        (f"{TABLE}temperature = -1\n{PROMPT}", "agents.a.temperature is -1"),
        (f"{TABLE}max_output_tokens = 0\n{PROMPT}", "agents.a.max_output_tokens is 0"),
        (f"{TABLE}base_url = 'localhost'\n{PROMPT}", "agents.a.base_url is not a valid URL"),
        (f"{TABLE}base_url = 'https://ann:pw@example.org'\n{PROMPT}", "must not contain a user, a password or a query"),
        (f"{TABLE}[agents.a.capabilities.c]\n", "agents.a.capabilities.c: the key prompt is missing"),
        (f"{TABLE}{PROMPT}result = {{ title = 'string' }}", "c.result is not a JSON Schema of an object"),
    ],
)
def test_an_invalid_table_of_a_model_is_rejected_by_key_and_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        list(kinds.configured(Config(Path("ledger.db"), agents=tomllib.loads(text)["agents"])))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("prompt", "more", "problem"),
    [
        ("{text|csv}", "", "{text|csv} has an unknown encoding"),
        ("{$HOME}", "", "contains {$HOME}: environment variables cannot be used in a prompt"),
        ("{txt}", "parameters = { text = 'string' }", "contains {txt}, which its parameters do not declare"),
        (
            "{text}",
            "result = { type = 'object', properties = 3 }",
            "the result of summarize is not a valid JSON Schema",
        ),
    ],
)
def test_an_invalid_prompt_or_schema_is_a_problem_of_the_agent(
    home: Home, prompt: str, more: str, problem: str
) -> None:
    model_agent(home, NOBODY, prompt=prompt, more=more)
    assert problem in home.aorch("agents", "show", "summarize", "--json").json["problem"]
    assert home.aorch("run", "echo", "text=a").code == 0


def test_a_key_that_is_not_set_and_a_server_that_is_not_there_are_named_before_the_model_is_called(home: Home) -> None:
    model_agent(home, NOBODY)
    offline = home.aorch("agents", "check", "summarize", "--json")
    assert offline.code == 10
    assert offline.json["agents"][0]["problem"] == f"cannot connect to {NOBODY}: Connection refused"
    assert "cannot connect to" in home.aorch("run", "summarize", "text=a").err
    del home.environment["TEST_LLM_KEY"]
    checked = home.aorch("agents", "check", "summarize")
    assert (checked.code, "the environment variable TEST_LLM_KEY" in checked.out) == (10, True)
    failed = home.aorch("run", "summarize", "text=a")
    assert (failed.code, "TEST_LLM_KEY, which holds the API key, is not set" in failed.err) == (11, True)


def test_a_dry_run_shows_the_prompt_and_asks_no_model(home: Home) -> None:
    with running(ModelDouble()) as double:
        model_agent(home, double.url, prompt="In one sentence: {text}")
        shown = home.aorch("run", "summarize", "text=much", "--dry-run", "--json").json
    assert shown["preview"] == {"model": f"test-model-1 at {double.url}", "prompt": "In one sentence: much"}
    assert double.asked == []


def test_no_connection_is_made_to_the_metadata_of_a_cloud(home: Home) -> None:
    model_agent(home, "http://169.254.169.254/v1")
    (checked,) = home.aorch("agents", "check", "summarize", "--json").json["agents"]
    assert "169.254.169.254 is a link-local address, to which aorch never connects" in checked["problem"]


def test_programs_do_not_inherit_the_key_of_a_model(home: Home) -> None:
    model_agent(home, NOBODY)
    with (home.folder / "aorch.toml").open("a") as file:
        file.write('[agents.env]\ncommand = ["env"]\n[agents.env.capabilities.show]\n')
    shown = home.aorch("run", "show")
    assert (shown.code, "TEST_LLM_KEY" in shown.out) == (0, False)


def test_without_the_package_the_error_says_how_to_install_it(home: Home) -> None:
    model_agent(home, NOBODY)
    done = python_without("openai", home, "-m", "aorch", "run", "summarize", "text=a")
    assert done.returncode == 11
    assert "the package `openai` is not installed. Run `aorch plugins install openai`, or `pip install" in done.stderr
