"""Pipelines in tests: agents for their steps, and a home with one of them."""

import asyncio
from typing import Any

from homes import Home

from aorch import Agent, AgentCapability, Orchestrator, Step

AGENTS = """
[agents.give]
command = ["printf", "%s", "{json}"]
capabilities.give.description = "Answers with what it is given"

[agents.say]
command = ["echo", "{text}"]
capabilities.say.description = "Answers with a text"

[agents.fail]
command = ["sh", "-c", "echo no such table >&2; exit 3"]
capabilities.fail.description = "Never succeeds"

[agents.hang]
command = ["sh", "-c", "touch hanging; exec sleep 60"]
capabilities.hang.description = "Takes a minute"

[agents.count]
command = ["sh", "-c", 'echo x >> "did-$0"; while [ "$0" = b ] && [ ! -e go ]; do sleep 0.02; done; echo "$0"', "{name}"]
concurrency = 1
capabilities.count.description = "Writes a line to a file of that name; b waits until there is a file called go"
"""


class Worker(Agent):
    """Does what its tasks say: gives back `give`, fails with `fail`, waits for ever, and remembers all of them."""

    def __init__(self) -> None:
        super().__init__("worker", "Worker")
        self.done: list[Any] = []
        self.now = self.most = 0
        self.waiting = asyncio.Event()

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        parameters = task["parameters"]
        self.done.append(parameters.get("name", parameters.get("give")))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if parameters.get("wait"):
            self.waiting.set()
            await asyncio.get_running_loop().create_future()
        if "fail" in parameters:
            return {"success": False, "error": parameters["fail"]}
        return {"success": True, "data": parameters.get("give")}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work")]


def give(name: str, value: Any, **more: Any) -> Step:
    """A step that gives back `value`."""
    return Step(name, "work", {"name": name, "give": value}, **more)


async def requests(orchestrator: Orchestrator, capability: str | None = None) -> list[dict[str, Any]]:
    contracts = await orchestrator.get_contracts("s")
    return [
        each for each in contracts if each["contract_type"] == "REQUEST" and capability in (None, each["capability"])
    ]


def pipeline_home(home: Home, *steps: str, more: str = "") -> None:
    home.write("aorch.toml", AGENTS + f"[pipelines.p]\n{more}\nsteps = [\n" + ",\n".join(steps) + "]\n")


def statuses(home: Home) -> dict[str, list[str]]:
    """By capability, the status of each REQUEST and of its RESPONSE."""
    found: dict[str, list[str]] = {}
    for capability, request, response in home.rows(
        "SELECT q.capability, q.status, r.status FROM contracts q LEFT JOIN contracts r ON r.request_id = q.contract_id"
        " WHERE q.contract_type = 'REQUEST' ORDER BY q.position"
    ):
        found.setdefault(capability, []).extend([request, response])
    return found
