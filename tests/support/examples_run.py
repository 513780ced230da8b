"""The programs in `examples/` and what their ledgers contain."""

import asyncio
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from aorch import Orchestrator

REPOSITORY = Path(__file__).parents[2]


def run(folder: Path, *words: str | Path, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    """A program with a HOME of its own and nothing of aorch in its environment; no environment is activated."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AORCH_", "VIRTUAL_ENV"))}
    home = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "configuration"),
    }
    return subprocess.run(
        words, cwd=folder, env={**kept, **home, "PATH": path}, capture_output=True, text=True, timeout=120, check=False
    )


def example(folder: Path, name: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """`name` over the ledger and into the output folder of `folder`, in the session `trial`."""
    where = (folder / "out", "--ledger", folder / f"{name}.db", "--session", "trial")
    return run(folder, sys.executable, REPOSITORY / "examples" / name, *where, *options)


def finished(clone: Path, name: str) -> dict[str, Any]:
    ledger = clone / f"{name}.db"
    command = (sys.executable, f"examples/{name}", "out", "--ledger", ledger, "--session", "trial")
    return {"process": run(clone, *command), "folder": clone, "ledger": ledger}


def contracts_in(ledger: Path) -> list[dict[str, Any]]:
    """The contracts of the session `trial`, oldest first."""

    async def read() -> list[dict[str, Any]]:
        async with Orchestrator(ledger) as orchestrator:
            return await orchestrator.get_contracts("trial")

    return asyncio.run(read())


def exchanges_in(ledger: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each REQUEST of the session with the RESPONSE that answers it; fails where one has not exactly one."""
    contracts = contracts_in(ledger)
    requests = [contract for contract in contracts if contract["contract_type"] == "REQUEST"]
    responses = {contract["request_id"]: contract for contract in contracts if contract["contract_type"] == "RESPONSE"}
    assert len(contracts) == 2 * len(requests) == 2 * len(responses)
    return [(request, responses[request["contract_id"]]) for request in requests]


def results_in(ledger: Path) -> dict[str, Any]:
    """The result of each capability that was asked for from outside."""
    pairs = exchanges_in(ledger)
    return {request["capability"]: response["result"] for request, response in pairs if not request["parent_id"]}


def assert_completed(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for request, response in pairs:
        assert (request["status"], response["status"]) == ("completed", "completed")
        assert request["completed_at"]
        assert response["result"]
        assert (response["from_agent"], response["to_agent"]) == (request["to_agent"], request["from_agent"])


def longest(folder: Path, *items: str) -> subprocess.CompletedProcess[str]:
    """`aorch run longest_files` as a newcomer runs it, in the example's own folder."""
    where = REPOSITORY / "examples" / "longest_files"
    words = ("run", "longest_files", *items, "--session", "trial", "--ledger", str(folder / "longest.db"))
    line = shlex.join([sys.executable, "-m", "aorch", *words])
    return run(folder, "sh", "-c", f"cd {shlex.quote(str(where))} && {line}")
