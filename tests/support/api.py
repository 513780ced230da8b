"""The HTTP API in tests: the agents of a home, requests to its server, and checks of the responses."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from homes import Home
from serving import Server

from aorch import jsonio

CONFIG = """
[agents.parrot]
command = ["cat"]
capabilities.parrot.description = "Gives back the whole document that an agent is given"

[agents.broken]
command = ["sh", "-c", "echo no such table >&2; exit 3"]
capabilities.fail.description = "Never succeeds"

[agents.absent]
command = ["no-such-program"]
capabilities.absent.description = "Has a program that is not there"

[agents.held]
command = ["cat", "{gate}"]
capabilities.hold.description = "Runs until somebody writes to the FIFO `gate`"
"""

SEED_AGENT = """
from typing import Any, Dict, List

from aorch.agents import Agent, AgentCapability

class MyAgent(Agent):
    def __init__(self):
        super().__init__(
            agent_id="my_agent_001",
            name="My Custom Agent",
            description="Does custom things"
        )

    async def execute(self, task: Dict[str, Any]) -> Dict[str, Any]:
        capability = task["capability"]
        parameters = task["parameters"]

        if capability == "my_capability":
            # Do something
            result = self.process(parameters)
            return {
                "success": True,
                "data": result
            }
        else:
            return {
                "success": False,
                "error": f"Unknown capability: {capability}"
            }

    def process(self, parameters):
        return {"seen": parameters["param1"]}

    def get_capabilities(self) -> List[AgentCapability]:
        return [
            AgentCapability(
                name="my_capability",
                description="My custom capability",
                parameters={"param1": "string"}
            ),
            AgentCapability(name="another_capability"),
        ]
"""
"""The seed document's own, word for word but for the package's name and for `process`, which it leaves open."""


def with_agents(home: Home) -> Home:
    """Add the agents of CONFIG and SEED_AGENT to `home`."""
    home.write("my_agents.py", SEED_AGENT)
    home.write("aorch.toml", CONFIG + '[agents.my_agent_001]\nclass = "my_agents:MyAgent"\n')
    return home


def ask(
    server: Server, capability: str = "echo", *, session: str = "s", headers: Any = None, **body: Any
) -> httpx.Response:
    """POST /v1/orchestrate; an echo of `hi` unless the body says more."""
    given = {"session_id": session, "capability": capability, "parameters": {"text": "hi"}, **body}
    return server.post("/v1/orchestrate", json=given, headers=headers)


def hold(server: Server, gate: Path, **more: Any) -> httpx.Response:
    """A task that runs until the FIFO `gate` is opened for writing, and that answers with what is written."""
    return ask(server, "hold", parameters={"gate": str(gate)}, **more)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, which must be one of that status and code, whole, and must say so in the seed's way too."""
    assert response.headers["Content-Type"] == "application/problem+json"
    said: dict[str, Any] = response.json()
    assert (response.status_code, said["status"], said["code"]) == (status, status, code), said
    assert said["success"] is False
    assert said["error"] == said["detail"]
    assert said["type"] == f"urn:aorch:error:{code}"
    assert "Traceback" not in response.text
    return said


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    id: int
    type: str
    contract: dict[str, Any]


@contextmanager
def listening(server: Server, headers: dict[str, str] | None = None, **query: Any) -> Iterator[Iterator[Event]]:
    """GET /v1/events, from when the server hears: what is written in the block is told."""
    with server.client.stream("GET", "/v1/events", params=query, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        blocks = _blocks(response.iter_raw())
        assert next(blocks) == b":"
        yield (event(block) for block in blocks)


def event(block: bytes) -> Event:
    """The event that `block` is, which must have an id, a type and data, a line each."""
    id_, type_, data = block.split(b"\n")
    assert id_.startswith(b"id: ")
    assert type_.startswith(b"event: ")
    assert data.startswith(b"data: ")
    return Event(int(id_[4:]), type_[7:].decode(), jsonio.decode(data[6:]))


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    waiting = b""
    for chunk in chunks:
        *whole, waiting = (waiting + chunk).split(b"\n\n")
        yield from whole
