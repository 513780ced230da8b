"""What `aorch run` prints on stderr besides the answer: the chosen agent, and undeclared parameters."""

import json

import pytest
from homes import Home

TWO = """
[agents.first]
command = ["echo", "first"]
[agents.first.capabilities.work]
parameters = { text = "string" }
[agents.second]
command = ["echo", "second"]
[agents.second.capabilities.work]
parameters = { text = "string", extra = "string" }
"""
STRICT = """
[agents.strict]
command = ["true"]
[agents.strict.capabilities.work]
parameters = { type = "object", properties = { text = {} }, additionalProperties = false }
"""


def test_the_agent_that_was_chosen_among_several_is_printed(home: Home) -> None:
    home.write("aorch.toml", TWO)
    done = home.aorch("run", "work")
    assert (done.out, done.err) == ("first\n", "chosen agent: first (--agent ID chooses another: second)\n")
    assert home.aorch("run", "work", "--agent", "second").err == ""
    assert home.aorch("run", "echo", "text=x").err == ""


def test_an_undeclared_parameter_is_a_warning(home: Home) -> None:
    home.write("aorch.toml", TWO)
    said = "warning: work does not declare the parameter 'txet' (it has: text)\n"
    for more in ((), ("--detach",)):
        done = home.aorch("run", "work", "txet=x", "text=y", *more)
        assert done.code == 0
        assert said in done.err
    assert "warning" not in home.aorch("run", "work", "extra=x").err
    assert "warning" in home.aorch("run", "work", "extra=x", "--agent", "first").err


def test_a_batch_warns_once_of_each_undeclared_parameter(home: Home) -> None:
    home.write("aorch.toml", TWO)
    lines = [{"capability": "work", "parameters": {"txet": str(n), "other": 1}} for n in range(3)]
    done = home.aorch("run", "--batch", "-", stdin="".join(json.dumps(line) + "\n" for line in lines))
    assert done.code == 0
    assert [done.err.count(f"parameter {name!r}") for name in ("txet", "other")] == [1, 1]


@pytest.mark.parametrize("batch", [False, True])
def test_an_undeclared_parameter_is_an_error_if_the_schema_forbids_it(home: Home, batch: bool) -> None:
    home.write("aorch.toml", STRICT)
    line = json.dumps({"capability": "work", "parameters": {"txet": "x"}})
    done = home.aorch("run", "--batch", "-", stdin=line) if batch else home.aorch("run", "work", "txet=x")
    assert done.code == 2
    assert "txet" in done.err + done.out
    assert "warning" not in done.err


@pytest.mark.parametrize(
    "parameters",
    [
        "{}",
        '{ type = "object" }',
        '{ type = "object", properties = { text = {} }, additionalProperties = true }',
        '{ type = "object", properties = { text = {} }, patternProperties = { "^o" = {} } }',
    ],
)
def test_a_schema_that_allows_other_names_gives_no_warning(home: Home, parameters: str) -> None:
    home.write("aorch.toml", f'[agents.a]\ncommand = ["true"]\n[agents.a.capabilities.a]\nparameters = {parameters}\n')
    assert home.aorch("run", "a", "other=x").err == ""


def test_an_unknown_parameter_of_a_strict_schema_is_an_error_that_names_similar_ones(home: Home) -> None:
    home.write("aorch.toml", STRICT)
    failed = home.aorch("run", "work", "txt=x")
    assert failed.code == 2
    assert failed.err.startswith(
        "error: 'work' has no parameter 'txt'\nhint: Did you mean text? Its parameters: text.\n"
    )


def test_a_number_for_a_string_is_shown_as_text(home: Home) -> None:
    failed = home.aorch("run", "echo", "text:=5")
    assert (failed.code, "hint: Write text=5 for a string.\n" in failed.err) == (2, True)


def test_a_number_that_was_given_as_text_is_shown_as_json(home: Home) -> None:
    home.write("aorch.toml", TWO.replace('"string"', '"integer"', 1))
    for given, example in (("3", "text:=3"), ("three", "text:=…")):
        failed = home.aorch("run", "work", f"text={given}", "--agent", "first")
        assert (failed.code, f"hint: Write {example} for a value" in failed.err) == (2, True)
