"""What a command imports is what it costs to start: nothing that it does not use."""

import re
import subprocess
import sys

import pytest
from homes import Home

TYPER = {"typer", "annotated_doc", "shellingham", "typing_extensions"}
START = TYPER | {"aorch", "msgspec", "platformdirs"}
HELP = {"rich", "pygments", "markdown_it", "mdurl"} | {
    "linkify_it",
    "attr",
}  # rich takes these two where they are there
COMPLETION = {"_AORCH_COMPLETE": "complete_bash", "COMP_WORDS": "aorch run ec", "COMP_CWORD": "2"}
HEAVY = {"sqlalchemy", "sqlmodel", "alembic", "aiohttp", "httpx", "pydantic", "ulid", "tomlkit"}


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
    home: Home, arguments: list[str], environment: dict[str, str], printed: str, allowed: set[str]
) -> None:
    """Beyond the standard library, on a ledger that is there already."""
    home.write("one.jsonl", "{}\n")
    home.aorch("run", "echo", "text=first", "--session", "a line of work")
    out, imported = watched(home, environment, "-m", "aorch", *arguments)
    assert printed in out
    assert imported - watched(home, {}, "-c", "")[1] <= allowed
    assert not imported & HEAVY


def watched(home: Home, environment: dict[str, str], *arguments: str) -> tuple[str, set[str]]:
    """What Python prints, and the packages beyond the standard library that it imports (`-v` tells of each)."""
    done = subprocess.run(
        [sys.executable, "-v", *arguments],
        cwd=home.folder,
        env=home.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    packages = {name.partition(".")[0] for name in re.findall(r"^import '([\w.]+)' #", done.stderr, re.MULTILINE)}
    return done.stdout, packages - sys.stdlib_module_names


def test_a_package_that_a_command_must_not_import_would_be_seen(home: Home) -> None:
    """Without this, a misspelt name in HEAVY, or a Python that tells in other words, would hold nothing."""
    code = "\n".join(f"import {name}" for name in sorted(HEAVY))
    assert watched(home, {"PYTHONWARNINGS": ""}, "-c", code)[1] >= HEAVY
