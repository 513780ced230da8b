"""What a command imports is what it costs to start: nothing that it does not use."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from homes import Home
from ledgers import ON_POSTGRESQL

TYPER = {"typer", "annotated_doc", "shellingham", "typing_extensions"}
DRIVER = {"psycopg", "psycopg_binary"} if ON_POSTGRESQL else set[str]()
START = TYPER | {"aorch", "msgspec", "platformdirs"} | DRIVER
HELP = {"rich", "pygments", "markdown_it", "mdurl"} | {
    "linkify_it",
    "attr",
}  # rich takes these two where they are there
COMPLETION = {"_AORCH_COMPLETE": "complete_bash", "COMP_WORDS": "aorch run ec", "COMP_CWORD": "2"}
HEAVY = {"sqlalchemy", "sqlmodel", "alembic", "aiohttp", "httpx", "pydantic", "ulid", "tomlkit"}
PIPELINES = {"aorch.config.pipeline_config", "aorch.engine.pipeline"}
CONFIG = """
[agents.give]
command = ["echo", "{text}"]
[agents.give.capabilities.give]
[agents.remote]
url = "http://127.0.0.1:1"
[agents.remote.capabilities.fly]
"""
PIPELINE = """
[[pipelines.report.steps]]
name = "split"
capability = "give"
parameters = { text = "{input.text}" }
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "printed", "allowed"),
    [
        pytest.param(["run", "echo", "text=hi"], {}, "Echo: hi\n", START | {"jsonschema_rs"}, id="run"),
        pytest.param(
            ["run", "echo", "text=hi", "--batch", "one.jsonl"],
            {},
            '"Echo: hi"',
            START | {"jsonschema_rs"},
            id="run --batch",
        ),
        pytest.param(["agents", "list"], {}, "agent_example_001", START, id="agents list"),
        pytest.param(["--help"], {}, "Examples:", TYPER | HELP | {"aorch"}, id="--help"),
        pytest.param([], COMPLETION, "echo\n", START, id="completion of a capability"),
        pytest.param(
            [],
            COMPLETION | {"COMP_WORDS": "aorch run -s a", "COMP_CWORD": "3"},
            "a line of work\n",
            START,
            id="completion of a session",
        ),
    ],
)
def test_a_command_imports_only_what_it_uses(
    home: Home,
    plain: set[str],
    arguments: list[str],
    environment: dict[str, str],
    printed: str,
    allowed: set[str],
) -> None:
    """Beyond the standard library, on a ledger that is there already, and without pipelines nothing for them."""
    home.write("aorch.toml", CONFIG)
    home.write("one.jsonl", "{}\n")
    home.aorch("run", "echo", "text=first", "--session", "a line of work")
    out, imported = watched(home, environment, "-m", "aorch", *arguments)
    assert printed in out
    assert packages(imported) - plain <= allowed
    assert not imported & PIPELINES


@pytest.mark.sqlite_only("the migrations create the tables in a database")
def test_the_first_task_on_a_machine_runs_without_alembic(home: Home) -> None:
    """It creates the ledger."""
    out, imported = watched(home, {}, "-m", "aorch", "run", "echo", "text=hi")
    assert out == "Echo: hi\n"
    assert not packages(imported) & HEAVY


def test_a_pipeline_runs_without_sqlalchemy(home: Home) -> None:
    home.write("aorch.toml", CONFIG + PIPELINE)
    _, imported = watched(home, {}, "-m", "aorch", "run", "report", "text=hi")
    assert imported >= PIPELINES
    assert not packages(imported) & HEAVY


@pytest.fixture(scope="module")
def plain(module_home: Home) -> set[str]:
    """The packages that Python itself imports, as for a coverage tool."""
    return packages(watched(module_home, {}, "-c", "")[1])


READS = {
    "contracts list": "\techo\t",
    "contracts list --session work --text first --json": '"Echo: first"',
    "contracts show ID": "Echo: first",
    "contracts show ID --tree": "echo by agent_example_001",
    "contracts tail": "\techo\t",
    "contracts export": '"Echo: first"',
    "contracts wait ID": "Echo: first",
    "stats": "echo\t1\t0\t",
    "queue": "",
    "contracts list --format csv --fields status": "completed",
    "status": "exchanges  1 in 1 session",
    "memory list": "\twork\t",
    "memory show work": "mem_",
    "memory search first": "first",
    "memory verify --all": "1 ",
    "trace status": "contracts  ",
    "tokens list": "",
    "plugins list": "",
}
"""Commands that read the ledger, and what each prints."""


def test_a_command_that_reads_imports_no_database_toolkit(home: Home, plain: set[str]) -> None:
    """Nothing beyond what every command imports, on a ledger that is there already."""
    home.aorch("run", "echo", "text=first", "--session", "work")
    home.aorch("compress", "work")
    request_id = home.aorch("contracts", "export").out.split('"contract_id":"')[1][:26]
    for command, printed in READS.items():
        out, imported = watched(home, {}, "-m", "aorch", *command.replace("ID", request_id).split())
        assert printed in out, command
        assert packages(imported) - plain <= START, command


def watched(home: Home, environment: dict[str, str], *arguments: str) -> tuple[str, set[str]]:
    """What Python prints, and the modules that it imports (`-v` tells of each)."""
    done = subprocess.run(
        [sys.executable, "-v", *arguments],
        cwd=home.folder,
        env=home.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(re.findall(r"^import '([\w.]+)' #", done.stderr, re.MULTILINE))


def packages(modules: set[str]) -> set[str]:
    """The packages of modules, but for those of the standard library."""
    return {module.partition(".")[0] for module in modules} - sys.stdlib_module_names


def test_a_package_that_a_command_must_not_import_would_be_seen(home: Home) -> None:
    """Without this, a misspelt name in HEAVY, or a Python that tells in other words, would hold nothing."""
    code = "\n".join(f"import {name}" for name in sorted(HEAVY))
    assert packages(watched(home, {"PYTHONWARNINGS": ""}, "-c", code)[1]) >= HEAVY


def test_the_migrations_of_a_ledger_file_import_nothing_of_postgresql(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from aorch.ledger.database import connect; connect(pathlib.Path(sys.argv[1])).close();"
        "print(*(name for name in sys.modules if name.startswith(('psycopg', 'aorch.ledger.postgres'))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "new.db")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
    assert (tmp_path / "new.db").exists()


def test_the_commands_that_read_memory_start_without_what_compresses_and_what_reads_contracts() -> None:
    code = (
        "import sys, aorch.cli.memory_source;"
        "print(*(name for name in sys.modules if name.startswith(('aorch.memory.local', 'aorch.ledger.reader'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
