"""Help pages, the root options, aliases, and the form of errors in arguments."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from homes import Home
from terminal import at_terminal, plain

from aorch.cli.help_page import help_page, help_text
from aorch.cli.main import COMMANDS, app

ROOT = Path(__file__).parents[2]


def commands(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Each command below `command` and itself, with its context."""
    yield command, context
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            yield from commands(found, typer.Context(found, info_name=name, parent=context))


root = app
EVERY = list(commands(root, typer.Context(root, info_name="aorch", help_option_names=["-h", "--help"])))


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_every_help_page_fits_its_terminal_and_80_columns(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command, context in EVERY:
        lines = help_text(command, context).splitlines()
        long = [line for line in lines if len(line) > min(columns, 80) and " " in line.strip()]
        assert long == [], context.command_path


def test_every_help_page_names_its_documentation_and_has_a_text_for_every_option() -> None:
    for command, context in EVERY:
        page = help_page(command, context)
        assert (ROOT / f"docs/{page.docs}.md").is_file(), context.command_path
        assert help_text(command, context).endswith(f"Documentation: aorch help --docs {page.docs}\n")
        for title, rows in page.sections:
            for label, text in rows:
                assert text, (context.command_path, title, label)
        assert page.paragraphs[0].endswith("."), context.command_path


def test_every_option_with_a_default_shows_it() -> None:
    for command, context in EVERY:
        for parameter in command.get_params(context):
            takes_value = parameter.param_type_name == "option" and not parameter.is_flag and not parameter.hidden
            if takes_value and parameter.default not in (None, (), "") and not callable(parameter.default):
                assert f"(default: {parameter.default})" in parameter.help, (context.command_path, parameter.opts)


def test_an_option_has_one_short_name_and_one_metavar_in_all_commands() -> None:
    found: dict[str, set[tuple[str, ...]]] = {}
    for command, context in EVERY:
        for parameter in command.get_params(context):
            if parameter.param_type_name == "option":
                long = next(each for each in parameter.opts if each.startswith("--"))
                short = tuple(each for each in parameter.opts if not each.startswith("--"))
                found.setdefault(long, set()).add((parameter.metavar or "", *short))
    assert {name: forms for name, forms in found.items() if len(forms) > 1} == {}
    shorts = [short for forms in found.values() for _, *all_shorts in forms for short in all_shorts]
    assert {short for short in shorts if shorts.count(short) > 1} == set()


def test_the_root_lists_every_command_without_importing_it(home: Home) -> None:
    shown = home.aorch("--help").out
    assert re.findall(r"^  (\w+)  ", shown.partition("Commands:")[2].partition("Global options:")[0], re.M) == [
        *COMMANDS
    ]
    assert "  ls " not in shown


@pytest.mark.parametrize(
    ("words", "same"), [(["run"], ["run"]), (["contracts", "list"], ["contracts", "list"]), ([], [])]
)
def test_help_shows_the_page_of_a_command(home: Home, words: list[str], same: list[str]) -> None:
    assert home.aorch("help", *words).out == home.aorch(*same, "--help").out


def test_help_of_an_unknown_command_exits_2(home: Home) -> None:
    done = home.aorch("help", "contracts", "lst")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: no such command 'contracts lst'")


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_has_a_short_option(home: Home, option: str) -> None:
    assert re.fullmatch(r"aorch \d+\.\d+\.\d+\n", home.aorch(option).out)


@pytest.mark.parametrize("arguments", [("--no-color", "agents", "show", "x"), ("agents", "show", "x", "--no-color")])
def test_no_color_prints_without_colors_on_a_terminal(home: Home, arguments: tuple[str, ...]) -> None:
    assert "\x1b" not in at_terminal(home, *arguments, code=12)


def test_headings_are_bold_on_a_terminal(home: Home) -> None:
    shown = at_terminal(home, "--help")
    assert "\x1b[1mCommands:\x1b[0m" in shown
    assert "Commands:" in plain(shown)


def test_ls_and_rm_are_aliases_of_list_and_remove(home: Home) -> None:
    assert home.aorch("agents", "ls").out == home.aorch("agents", "list").out
    assert home.aorch("contracts", "ls").code == 0
    assert "agent 'x'" in home.aorch("agents", "rm", "x").err
    assert home.aorch("trace", "rm").code == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("contracts", "list", "--limit", "0"), "invalid value for '--limit' / '-n': 0 is less than 1"),
        (("contracts", "list", "--nosuch"), "no such option: --nosuch"),
        (("contracts", "show"), "missing argument 'ID'"),
        (("contracts", "nosuch"), "no such command 'nosuch'"),
        (("contract",), "no such command 'contract'"),
        (("run", "echo", "--timeout", "x"), "invalid value for '--timeout': 'x' is not a number"),
    ],
)
def test_an_error_in_arguments_has_the_form_of_all_errors(home: Home, arguments: tuple[str, ...], error: str) -> None:
    done = home.aorch(*arguments)
    first, second = done.err.splitlines()
    assert (done.code, done.out, first) == (2, "", f"error: {error}")
    assert re.match(r"hint: (Did you mean .*\? )?`aorch .*--help`", second)


@pytest.mark.parametrize(
    ("arguments", "similar"),
    [
        (("contract",), "Did you mean contracts? "),
        (("agents", "ad"), "Did you mean add? "),
        (("contracts", "list", "--sesion", "x"), "Did you mean --session? "),
        (("run", "echo", "--detatch"), "Did you mean --detach? "),
        (("run", "echo", "--budget", "5"), ""),  # only the dashes are like those of others
    ],
)
def test_a_mistyped_command_or_option_gets_a_suggestion(home: Home, arguments: tuple[str, ...], similar: str) -> None:
    assert home.aorch(*arguments).err.splitlines()[1].startswith(f"hint: {similar}`aorch ")


def test_every_page_of_the_documentation_is_listed_and_shown(home: Home) -> None:
    listed = dict(line.split("\t") for line in home.aorch("help", "--docs").out.splitlines())
    assert listed.keys() == {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert listed["agents"] == "Agents"
    for name in ("agents", "agents.md", "docs/agents.md"):
        assert home.aorch("help", "--docs", name).out == (ROOT / "docs/agents.md").read_text()
    unknown = home.aorch("help", "--docs", "agent")
    assert (unknown.code, unknown.out) == (12, "")
    assert unknown.err == (
        "error: there is no page 'agent' in the documentation\n"
        "hint: Did you mean agents? `aorch help --docs` lists the pages.\n"
    )
