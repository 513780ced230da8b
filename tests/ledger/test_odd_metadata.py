"""Metadata of any shape comes in by an import, and no command that reads it crashes on it."""

import json
import subprocess
import sys
from typing import Any

import pytest
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from rows import request, response

ALL_COMMANDS = """
import json, os, sys, traceback
from aorch.cli.main import app
from aorch.config.settings import ledger_path
from aorch.errors import AorchError
from aorch.ledger.database import package_of
package_of(ledger_path())
import aorch.cli.commands.contracts, aorch.memory.compressor, aorch.orchestrator, aorch.memory.memory_queries, aorch.ledger.reader
for arguments in json.load(sys.stdin):
    if (child := os.fork()) == 0:
        try:
            app(arguments, prog_name="aorch", standalone_mode=False)
        except (AorchError, SystemExit):
            pass
        except BaseException:
            traceback.print_exc()
            os._exit(99)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99:
        sys.exit(f"crashed: aorch {' '.join(arguments)}")
print("all of them")
"""
"""Runs many commands, each in a fork of one process: starting one for each would take minutes."""

NAMES = [
    "routing", "context", "queue", "step", "index", "resumes", "retry_of", "line", "priority", "code", "duration_ms",
    "called", "reused", "caller", "request_id", "memory", "attempts", "exit_code", "stderr", "resumes",
]  # fmt: skip
scalars = (
    some.none()
    | some.booleans()
    | some.integers()
    | some.sampled_from([10**400, -1, 0.5, 1e308, "x", "", "A\u0300", "\x00", "true", "A1", "asked for by id"])
)
shapes = some.recursive(
    scalars,
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from([*NAMES, "chosen", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
metadata = some.dictionaries(some.sampled_from(NAMES), shapes, max_size=6)
DEEP: Any = "deep"
for _ in range(150):
    DEEP = {"x": [DEEP]}


def commands(names: list[str]) -> list[list[str]]:
    of_each = ("contracts show", "contracts show --tree", "contracts show --json", "contracts wait", "contracts resume")
    each = [[*command.split()[:2], name, *command.split()[2:]] for command in of_each for name in names]
    whole = (
        "log", "log --json", "log --failed --last", "log --caller x", "sessions show s", "sessions show s --mermaid",
        "contracts list", "contracts list --json", "contracts list --text x", "contracts export",
        "status", "run --retry-failed s", "compress s", "compress --all", "memory show s", "memory export --as prompt",
        "memory verify --all", "trace status", "worker --drain", "contracts list --status failed",
        "run --batch b.jsonl --session s", "run --batch b.jsonl --resume",
    )  # fmt: skip
    each += [["log", name, *more] for name in names for more in ([], ["--json"])]
    return [*each, *(command.split() for command in whole), *(["contracts", "cancel", name] for name in names)]


ODD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"routing": "round robin", "context": "none"}, {"code": ["x"], "duration_ms": "many"}),
    ({"x": DEEP, "line": [1], "priority": 10**400}, {"reused": DEEP, "duration_ms": 10**400, "called": "x"}),
]


def test_no_command_crashes_on_odd_metadata(home: Home) -> None:
    check(home, ODD)


@pytest.mark.torture
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=5
)
@given(about=some.lists(some.tuples(metadata, metadata), min_size=8, max_size=12))
def test_no_command_crashes_on_metadata_of_any_shape(
    home: Home, about: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    check(home, about)


def check(home: Home, about: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Import a REQUEST and a RESPONSE with each of these, and run every command that reads contracts."""
    for file in home.folder.glob("ledger.db*"):
        if file.is_file():
            file.write_bytes(b"") if file.name == "ledger.db" else file.unlink()
    forms = []
    for number, (asks, answers) in enumerate(about):
        status = ["failed", "cancelled", "completed", "in_progress"][number % 4]
        asked = request(contract_id=f"ASKED{number}", status=status, capability="" if number == 5 else "echo")
        forms.append({**asked.as_dict(), "metadata": asks})
        if status != "in_progress":
            answer = response(asked, contract_id=f"ANSWER{number}", error=None if status == "completed" else "no")
            forms.append({**answer.as_dict(), "metadata": answers})
    home.write("odd.jsonl", "\n".join(json.dumps(form) for form in forms))
    home.write("b.jsonl", '{"capability": "echo", "parameters": {"text": "x"}}')
    asked = [["contracts", "import", "odd.jsonl"], *commands([form["contract_id"] for form in forms])]
    done = subprocess.run(
        [sys.executable, "-c", ALL_COMMANDS], input=json.dumps(asked).encode(),
        capture_output=True, cwd=home.folder, env=home.environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert done.stdout.endswith(b"all of them\n")
    assert home.rows("SELECT count(*) FROM contracts WHERE contract_id LIKE 'A%'") == [(len(forms),)]
