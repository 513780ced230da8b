"""Agents that are programs."""

import json
from typing import Any

from homes import Home


def worker(home: Home, *command: str, more: str = "") -> None:
    """Declare the agent `worker`: that program, with the one capability `work`."""
    program = json.dumps(command, ensure_ascii=False)
    home.write("aorch.toml", f"[agents.worker]\ncommand = {program}\n{more}\n[agents.worker.capabilities.work]\n")


def ends_of(home: Home) -> list[tuple[Any, ...]]:
    """(type, status, error) of every contract, in order."""
    return home.rows("SELECT contract_type, status, error FROM contracts ORDER BY position")
