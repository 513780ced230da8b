"""Batches in tests: an agent that records every task in a file, and lines for a batch."""

import json
from typing import Any

from homes import Home, Result

WITNESS = """
import asyncio, os, pathlib
from aorch.agents import Agent, AgentCapability

class Witness(Agent):
    '''Says in a file that it saw a task, does as it says, and answers. `once` and `again` are the same to do.'''

    def __init__(self):
        super().__init__("witness", "Witness")
        self.file = os.open("seen", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def get_capabilities(self):
        return [AgentCapability("once"), AgentCapability("again", idempotent=True)]

    async def execute(self, task):
        given = task["parameters"]
        os.write(self.file, f"{given['n']}\\n".encode())
        await asyncio.sleep(given.get("sleep", 0))
        while "wait" in given and not pathlib.Path(given["wait"]).exists():
            await asyncio.sleep(0.01)
        if pathlib.Path("broken").exists() or given.get("fail"):
            return {"success": False, "error": "it is broken"}
        return {"success": True, "data": given["n"]}
"""
CONFIG = """
[agents.witness]
class = "witness:Witness"
"""


def with_witness(home: Home) -> Home:
    """Add the agent of WITNESS to `home`."""
    home.write("witness.py", WITNESS)
    home.write("aorch.toml", CONFIG)
    return home


def task(n: Any, capability: str = "once", *, about: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    """A line for it; `about` are other fields of the line."""
    return {"capability": capability, "parameters": {"n": n, **parameters}, **(about or {})}


def lines(*tasks: Any) -> str:
    """The text of a batch."""
    return "".join(json.dumps(each) + "\n" for each in tasks)


def results(done: Result | str) -> list[dict[str, Any]]:
    """What a batch printed."""
    return [json.loads(line) for line in (done if isinstance(done, str) else done.out).splitlines()]


def seen(home: Home) -> list[str]:
    """The `n` of each task that the agent was called for, in order."""
    file = home.folder / "seen"
    return file.read_text().split() if file.exists() else []


def statuses(home: Home, session: str = "%") -> list[tuple[str, str, int]]:
    """(type, status, how many) of the contracts in that session."""
    return home.rows(
        "SELECT contract_type, status, count(*) FROM contracts WHERE session_id LIKE ? GROUP BY 1, 2", session
    )
