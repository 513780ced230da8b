"""The server does what /openapi.json describes, and rejects everything else: schemathesis, with all of its checks.

What it is told of this API stands in schemathesis.toml, its one further check in schemathesis_checks.py.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from homes import Home
from serving import Server, serving

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-token-file"


@pytest.fixture
def home(home: Home) -> Home:
    """A home with agents and a ledger."""
    home.write("tokens", f"{TOKEN} admin\n").chmod(0o600)
    return home


def find_nothing(server: Server, home: Home, *arguments: str, timeout_s: float = 600) -> None:
    """Run schemathesis, which must find no difference between the server and its document."""
    program = Path(sys.executable).with_name("schemathesis")
    address = f"{server.url}/openapi.json"
    done = subprocess.run(
        [program, "--config-file", ROOT / "schemathesis.toml", "run", address, *arguments],
        cwd=home.folder,
        env=home.environment
        | {"PYTHONPATH": str(ROOT / "tests/support"), "SCHEMATHESIS_HOOKS": "schemathesis_checks"}
        | {"PYTHONWARNINGS": "default"},  # Hypothesis warns of long requests, which schemathesis makes on purpose
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"Operations: +(\d+) selected / (\d+) total", done.stdout)
    assert counts is not None, done.stdout
    assert int(counts[1]) == int(counts[2]) - 1, "all but the claim of a worker, which waits as long as its body says"
    assert "No issues found" in done.stdout, done.stdout
    assert "Traceback" not in server.log


@pytest.mark.torture
def test_schemathesis_finds_nothing(home: Home) -> None:
    with serving(home) as server:
        find_nothing(server, home, "--max-examples", "10", "--generation-deterministic")


@pytest.mark.torture
def test_schemathesis_finds_nothing_where_a_token_is_needed(home: Home) -> None:
    with serving(home, "--token-file", "tokens") as server:
        arguments = ("-H", f"Authorization: Bearer {TOKEN}", "--max-examples", "5", "--generation-deterministic")
        find_nothing(server, home, *arguments)


@pytest.mark.torture
def test_schemathesis_finds_nothing_in_a_long_search(home: Home) -> None:
    with serving(home) as server:
        find_nothing(server, home, "--max-examples", "300", "--continue-on-failure", timeout_s=3600)
