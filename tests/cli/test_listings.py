"""The options that every listing has: --fields, --jq, --format, --json; and errors as JSON."""

import csv
import io
import json

import pytest
import typer
from homes import Home
from rows import pairs, put, request, response
from terminal import at_terminal
from test_shell_completion import completed

from aorch.cli.listing import ListingOptions
from aorch.cli.main import COMMANDS, app
from aorch.cli.typer_classes import leaves

root = app
LISTINGS = {
    f"{name} {command.name}" if hasattr(group, "commands") else name: group_of
    for name in COMMANDS
    for group in [root.get_command(typer.Context(root), name)]
    for command in leaves(group)
    for group_of in getattr(command.callback, "option_groups", ())
    if issubclass(group_of, ListingOptions)
}
"""Each command that prints a listing, with its options."""


@pytest.fixture(scope="module")
def filled(module_home: Home) -> Home:
    """A home in which each listing has items."""
    home = module_home
    for number in range(3):
        home.aorch("run", "echo", f"text=number {number}", "--session", "work")
    home.aorch("run", "nosuch", "--session", "work")
    home.aorch("compress", "work")
    home.aorch("memory", "note", "work", "Three numbers are enough.")
    home.aorch("run", "echo", "text=later", "--detach", "--not-before", "2h")
    home.aorch("tokens", "create", "ci", "--expires", "30d")
    return home


def words_of(listing: str) -> list[str]:
    """The words of a command that prints this listing with items, if a test can produce them."""
    return [*listing.split(), *(["number"] if listing == "memory search" else [])]


@pytest.mark.parametrize("listing", [name for name in LISTINGS if name != "plugins list"])
def test_every_item_of_a_listing_has_the_known_fields(filled: Home, listing: str) -> None:
    lines = filled.aorch(*words_of(listing), "--jsonl").out.splitlines()
    assert lines
    for line in lines:
        assert set(LISTINGS[listing].known) <= json.loads(line).keys()


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_has_the_same_forms(filled: Home, listing: str) -> None:
    words, options = words_of(listing), LISTINGS[listing]
    first, *_, last = options.known
    chosen = [json.loads(line) for line in filled.aorch(*words, "--fields", f"{last}, {first}").out.splitlines()]
    assert all(list(item) == [last, first] for item in chosen)
    rows = list(csv.reader(io.StringIO(filled.aorch(*words, "--format", "csv").out)))
    assert (rows[0], len(rows)) == (list(options.known), len(chosen) + 1)
    lines = filled.aorch(*words, "--format", "tsv", "--fields", first).out.splitlines()
    assert (lines[0], len(lines)) == (first, len(chosen) + 1)
    jq = filled.aorch(*words, "--jq", f".{first}")
    assert (jq.err, len(jq.out.splitlines())) == ("", len(chosen))
    if listing != "contracts tail":
        assert len(filled.aorch(*words, "--json", "--fields", first).json[options.items]) == len(chosen)


@pytest.mark.parametrize("listing", LISTINGS)
def test_an_unknown_field_is_rejected_with_the_list_of_fields(filled: Home, listing: str) -> None:
    done = filled.aorch(*words_of(listing), "--fields", "no_such_field")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --fields: unknown field 'no_such_field'\nhint: ")
    assert f"Fields: {', '.join(LISTINGS[listing].known)}." in done.err


@pytest.mark.parametrize(("command", "word", "field"), [("log", "by", "caller"), ("stats", "caller", "key")])
def test_another_word_for_a_field_is_explained(home: Home, command: str, word: str, field: str) -> None:
    assert f"Did you mean {field}? " in home.aorch(command, "--fields", word).err


def test_fields_are_completed_after_those_that_are_given(home: Home) -> None:
    assert completed(home, "contracts", "list", "--fields", "contract_id,contract_") == ["contract_id,contract_type"]
    assert completed(home, "agents", "list", "--fields", "ki") == ["kind"]


def test_csv_shows_formulas_as_text_and_any_json_unambiguously(home: Home) -> None:
    asked = request("=1+1", text="a")
    put(home.ledger, asked, response(asked, "@x", error="-2\r\n+3"), response(request("-9"), -5))
    shown = list(
        csv.reader(
            io.StringIO(
                home.aorch("contracts", "list", "--format", "csv", "--fields", "session_id,result,error").out,
                newline="",
            )
        )
    )
    assert shown[1:] == [["'-9", "-5", ""], ["'=1+1", '"@x"', "'-2\r\n+3"], ["'=1+1", "", ""]]
    exported = home.aorch("contracts", "export", "--format", "csv", "--fields", "session_id,result,error").out
    assert list(csv.reader(io.StringIO(exported, newline="")))[1:] == shown[:0:-1]


def test_tsv_escapes_as_jq_does_and_changes_nothing_else(home: Home) -> None:
    put(home.ledger, request("=a\tb\\n\n"))
    assert (
        home.aorch("contracts", "list", "--format", "tsv", "--fields", "session_id").out
        == "session_id\n=a\\tb\\\\n\\n\n"
    )
    jq = home.aorch("contracts", "list", "--jq", "[.session_id] | @tsv").out
    assert jq == "=a\\tb\\\\n\\n\n"


def test_jq_gets_each_item_or_the_whole_object_and_keeps_large_integers(home: Home) -> None:
    asked = request(payload='{"number":12345678901234567890}')
    put(home.ledger, asked, response(asked, {"text": "línea"}))
    assert (
        home.aorch("contracts", "list", "--jq", ".payload.number // empty # a comment").out == "12345678901234567890\n"
    )
    assert home.aorch("contracts", "list", "--jq", ".result | select(.) | .text, .").out == 'línea\n{"text":"línea"}\n'
    assert (
        home.aorch("contracts", "list", "--json", "--jq", "[.contracts[].status] | length, .").out.splitlines()[0]
        == "2"
    )
    assert home.aorch("contracts", "list", "--fields", "status", "--jq", "keys[]").out == "status\nstatus\n"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--jq", ".a |"), "invalid --jq expression: syntax error"),
        (("--jq", ".a) | (.b"), "invalid --jq expression: syntax error"),
        (("--jq", ".status[0]"), "--jq failed: Cannot index string with number"),
        (("--jq", ".", "--format", "csv"), "--jq cannot be combined with --format csv"),
        (("--json", "--format", "csv"), None),
        (("--jsonl", "--format", "tsv"), "--jsonl cannot be combined with --format tsv"),
        (("--fields", ""), "--fields: unknown field ''"),
    ],
)
def test_options_that_cannot_be_applied_are_rejected(home: Home, options: tuple[str, ...], error: str | None) -> None:
    put(home.ledger, request())
    done = home.aorch("contracts", "list", *options)
    assert (done.code, done.out) == (2, "")
    if error is None:
        assert json.loads(done.err)["detail"] == "--json cannot be combined with --format csv"
    else:
        assert done.err.startswith(f"error: {error}")


def test_without_the_package_jq_the_error_says_how_to_install_it(home: Home) -> None:
    home.write("jq.py", "raise ImportError('not here')")
    home.environment["PYTHONPATH"] = str(home.folder)
    done = home.aorch("contracts", "list", "--jq", ".")
    assert (done.code, done.err) == (
        2,
        "error: --jq needs the package `jq`, which is not installed\n"
        "hint: Install it: aorch plugins install jq (or: pip install 'aorch[jq]').\n",
    )


def test_each_item_is_printed_before_the_next_one_is_read(home: Home) -> None:
    put(home.ledger, *pairs(2000))
    done = home.bash("aorch contracts list -n 4000 --jq .status | head -n 1")
    assert (done.stdout, done.stderr) == ("completed\n", "")


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_a_terminal_shows_rows_without_control_characters(home: Home, form: str) -> None:
    put(home.ledger, request("a\x1b[2Jb"))
    shown = at_terminal(home, "contracts", "list", "--format", form, "--fields", "session_id")
    assert shown == "session_id\na\\x1b[2Jb\n"


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code", "detail"),
    [
        (("contracts", "show", "nosuch", "--json"), "not_found", 12, "'nosuch'"),
        (("contracts", "list", "--json", "--limit", "x"), "usage", 2, "is not an integer"),
        (("contracts", "lst", "--json"), "usage", 2, "no such command"),
        (("--json",), "usage", 2, "no such option"),
        (("run", "nosuch", "--json"), "no_agent", 11, "nosuch"),
        (("agents", "show", "nobody", "--json"), "not_found", 12, "nobody"),
    ],
)
def test_with_json_an_error_is_one_line_of_json(
    home: Home, arguments: tuple[str, ...], code: str, exit_code: int, detail: str
) -> None:
    done = home.aorch(*arguments)
    problem = json.loads(done.err)
    assert (done.code, problem["exit_code"], problem["code"]) == (exit_code, exit_code, code)
    assert problem["type"] == f"urn:aorch:error:{code}"
    assert detail in problem["detail"]
    assert {"hint", "success"} < set(problem)
    assert done.err.count("\n") == 1


def test_an_argument_json_after_two_dashes_is_no_option(home: Home) -> None:
    done = home.aorch("run", "nosuch", "--", "text=--json")
    assert done.err.startswith("error: ")
    assert home.aorch("agents", "add", "agent_example_001", "--", "cat", "--json").err.startswith("error: ")


def test_a_query_has_the_formats_of_the_listings(home: Home) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "s")
    sql = "SELECT session_id, exchanges, failed FROM sessions"
    assert (
        home.aorch("query", sql, "--format", "tsv", "--fields", "exchanges,session_id").out
        == "exchanges\tsession_id\n1\ts\n"
    )
    assert home.aorch("query", sql, "--format", "csv").out == home.aorch("query", sql, "--csv").out
    assert home.aorch("query", sql, "--fields", "session_id").json == {"session_id": "s"}
    assert "--csv cannot be combined with --format tsv" in home.aorch("query", sql, "--csv", "--format", "tsv").err
    assert "Fields: session_id, exchanges, failed." in home.aorch("query", sql, "--fields", "nothing").err
