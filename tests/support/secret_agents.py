"""Agents that are given secrets and let them out in every way, and what a ledger then contains."""

import json
import logging
from pathlib import Path
from typing import Any

from ledger_state import stored_bytes

from aorch import Agent, AgentCapability, AgentTask, report_progress
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import AgentFailed

SCHEMA = {
    "type": "object",
    "properties": {
        "user": {"type": "string"},
        "password": {"writeOnly": True},
        "server": {"$ref": "#/$defs/server"},
        "keys": {"type": "array", "items": {"type": "object", "properties": {"key": {"writeOnly": True}}}},
    },
    "$defs": {"server": {"type": "object", "properties": {"token": {"type": "string", "writeOnly": True}}}},
}
HOW = ("result", "failure", "exception", "delegation")


class Gossip(Agent):
    """Repeats its secret in its answer, its progress, its errors, and to another agent, in the way that the task names."""

    def __init__(self, orchestrator: Any = None) -> None:
        super().__init__("gossip", "Gossip")
        self.orchestrator = orchestrator
        self.told: list[Any] = []

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("login", "", SCHEMA), AgentCapability("note", "")]

    async def execute(self, task: AgentTask) -> dict[str, Any]:
        given = task["parameters"]
        if task["capability"] == "note":
            return {"success": True, "data": given}
        self.told.append(given)
        secret = given.get("password")
        text = secret if isinstance(secret, str) else json.dumps(secret)
        report_progress({"status": f"logging in with {text}", "secret": secret})
        for character in text:
            report_progress({"text": character})
        logging.getLogger("aorch.agents").warning("a log of the agent itself is not aorch's")
        how = given.get("user")
        if how == "exception":
            raise ValueError(f"wrong password {text!r}: {given}")
        if how == "failure":
            failure = AgentFailed(f"rejected {text}", f"Do not use {text}.")
            failure.answer = {"data": {"tried": secret}, "stderr": f"said {text}", "stdout": json.dumps({"p": secret})}
            raise failure
        if how == "delegation":
            answer = await self.orchestrator.orchestrate(
                task["session_id"], {"capability": "note", "parameters": {"copied": secret, "text": f"<{text}>"}}
            )
            return {"success": True, "data": answer["data"]}
        return {"success": True, "data": {"nested": [{text: {"deep": [secret, f"a{text}b"]}}]}, "stderr": f"{text}\n"}


def all_bytes(ledger: LedgerLocation, folder: Path) -> bytes:
    """The bytes of the ledger and of all files in `folder`."""
    files = (file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())
    return b"".join((stored_bytes(ledger), *files))
