"""Every setting is described once: `aorch init` writes it, `aorch config show` prints it, docs/configuration.md lists it."""

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
from homes import Home, script_command

from aorch.config import environment, sections, settings, starter_file

PACKAGE = Path(settings.__file__).parents[1]
MCP_FILES = Path(__file__).parents[1] / "support" / "mcp_files.py"


def uncommented() -> str:
    """The file of `aorch init` with every setting in use."""
    return re.sub(r"^#(?=[\w\[])", "", starter_file.text(), flags=re.MULTILINE)


def test_every_key_of_the_file_has_a_description() -> None:
    described = {(key.table, key.name) for key in sections.all_keys()}
    for table, shape in sections.TABLES.items():
        for name in shape.__struct_fields__:
            named = {*sections.TABLES, "agents", "credentials", "pipelines", "prices"}
            assert (table, name) in described or name in named, f"{table}.{name}"


def test_the_file_of_init_is_valid_commented_out_and_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    assert tomllib.loads(starter_file.text()) == {}
    written = tomllib.loads(uncommented())
    for key in sections.all_keys():
        value = (written[key.table] if key.table else written)[key.name]
        assert key.default in (None, "") or value == key.default, key.path
    home.write("aorch.toml", uncommented())
    home.write(
        "my_agents.py",
        "from aorch.agents import ExampleAgent\n"
        "class MyAgent(ExampleAgent):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.agent_id = 'my_agent'\n",
    )
    npx = home.write("npx", f"#!/bin/sh\nexec {shlex.join(script_command(MCP_FILES))}\n")  # which downloads nothing
    npx.chmod(0o755)
    home.environment["PATH"] = f"{home.folder}:{home.environment['PATH']}"
    assert home.aorch("agents", "check").code == 0
    assert home.aorch("run", "shout_hello", "name=Ann").out == "HELLO ANN\n"


def test_init_creates_the_file_and_never_overwrites_one(home: Home) -> None:
    file = home.folder / "aorch.toml"
    file.unlink()
    created = home.aorch("init")
    assert (created.code, created.out) == (0, f"created: {file}\n")
    assert file.read_text() == starter_file.text()
    file.write_text("timeout_s = 5\n")
    refused = home.aorch("init")
    assert refused.code == 13
    assert f"{file} already exists" in refused.err
    assert file.read_text() == "timeout_s = 5\n"


def test_show_prints_every_setting_with_its_source(home: Home) -> None:
    file = home.write(
        "aorch.toml",
        "max_depth = 3\n[serve]\nport = 1\nhost = '::1'\n[agents.a]\ncommand = ['x']\n[queue]\nparallel = 2\n",
    )
    home.environment |= {"ORCHESTRATOR_PORT": "9", "TRACE_URL": "off", "MEMAGENT_URL": "http://127.0.0.1:5"}
    shown = home.aorch("config", "show", "--json").json
    by_key = {each["key"]: (each["value"], each["source"]) for each in shown["settings"]}
    assert (shown["file"], shown["agents"], shown["pipelines"]) == (str(file), ["a"], [])
    assert by_key["ledger"] == (str(home.ledger), "AORCH_LEDGER")
    assert by_key["max_depth"] == (3, str(file))
    assert by_key["serve.port"] == (9, "ORCHESTRATOR_PORT")
    assert by_key["serve.host"] == ("::1", str(file))
    assert by_key["trace.url"] == ("off", "TRACE_URL")
    assert by_key["memagent_url"] == ("http://127.0.0.1:5", "MEMAGENT_URL")
    assert by_key["timeout_s"] == (600.0, "default")
    expected = {key.path for key in sections.all_keys() if key.table != "llm"} | {"memagent_url"}
    assert set(by_key) == expected
    assert f"queue.parallel\t2\t{file}\n" in home.aorch("config", "show").out
    named = home.aorch("config", "show", "--json", "--ledger", "other.db").json["settings"][0]
    assert (named["value"], named["source"]) == (str(home.folder / "other.db"), "--ledger")


def test_show_prints_no_secret(home: Home) -> None:
    home.write(
        "aorch.toml",
        "[queue]\nwebhook_secret_env = 'HOOKS'\n[llm]\nkey_env = 'KEY'\n"
        "[agents.a]\ncommand = ['x']\nenv = {TOKEN = 'pa55word'}\n[agents.a.capabilities.c]\n",
    )
    home.environment |= {"HOOKS": "pa55word", "KEY": "pa55word"}
    for arguments in ((), ("--json",)):
        shown = home.aorch("config", "show", *arguments)
        assert shown.code == 0
        assert "KEY" in shown.out
        assert "pa55word" not in shown.out + shown.err


def test_path_prints_the_file_in_use_or_fails(home: Home) -> None:
    assert home.aorch("config", "path").out == f"{home.folder}/aorch.toml\n"
    other = home.write("other.toml", "")
    assert home.aorch("--config", "other.toml", "config", "path").out == f"{other}\n"
    (home.folder / "aorch.toml").unlink()
    missing = home.aorch("config", "path")
    assert (missing.code, "aorch init" in missing.err) == (12, True)


def test_edit_opens_the_editor_and_checks_the_file_afterwards(home: Home) -> None:
    editor = home.write("editor.py", "import sys; open(sys.argv[2], 'a').write(sys.argv[1])")
    home.environment["EDITOR"] = f"{sys.executable} {editor} 'max_depth = 3'"
    edited = home.aorch("config", "edit")
    assert (edited.code, edited.out) == (0, f"valid: {home.folder}/aorch.toml\n")
    assert (home.folder / "aorch.toml").read_text() == "max_depth = 3"
    home.environment["VISUAL"] = f"{sys.executable} {editor} '\n[agents.a]\nstdin = 1\n'"
    wrong = home.aorch("config", "edit")
    assert (wrong.code, "agents.a has no key that selects the kind" in wrong.err) == (2, True)
    home.environment["VISUAL"] = "false"
    assert "exited with code 1" in home.aorch("config", "edit").err
    home.environment["VISUAL"] = "no-such-editor"
    assert "cannot start the editor 'no-such-editor'" in home.aorch("config", "edit").err


def test_only_the_configuration_reads_the_environment_and_every_variable_is_described() -> None:
    """The watchdog passes the environment on to a process, and reads nothing of it."""
    readers = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if re.search(r"\benviron\b|\bgetenv\b", file.read_text())
    }
    assert readers == {"config/environment.py", "process/watchdog.py"}
    constants = {value for name, value in vars(environment).items() if name.isupper() and isinstance(value, str)}
    assert constants <= environment.DESCRIPTIONS.keys()
    assert set(sections.VARIABLES.values()) <= environment.DESCRIPTIONS.keys()
    assert os.environ
