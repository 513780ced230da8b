"""An agent server registers its agent, keeps it registered, and deregisters it."""

import asyncio
from collections import deque
from typing import Any

import pytest
from doubles import Double, running
from waiting import WAIT_S

from aorch import capability
from aorch.agents.agent_registration import Registration
from aorch.agents.agent_runs import AgentRuns
from aorch.agents.function import as_agent

HEARTBEAT, REGISTER, END = ("POST", "/v1/agents/greet/heartbeat"), ("POST", "/v1/agents/register"), "DELETE"


@capability("greet")
async def greet(name: str) -> str:
    return f"Hello {name}"


class Registrar(Double):
    """Answers with `statuses` in turn, then with 200, and keeps what it was asked."""

    def __init__(self, *statuses: int) -> None:
        super().__init__()
        self.statuses, self.asked = deque(statuses), list[tuple[str, str, Any, Any]]()

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, Any, dict[str, str]]:
        self.asked.append((method, path, headers.get("Authorization"), body))
        return (self.statuses.popleft() if self.statuses else 200), {"detail": "no"}, {}

    def requests(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, *_ in self.asked]


async def kept(registrar: Registrar, requests: int) -> None:
    """Keep the agent registered until that many requests were sent, and end."""
    registration = Registration(
        registrar.url, "REGISTRY_TOKEN", AgentRuns(as_agent(greet)), credential="greeter", ttl_s=0.03
    )
    keeping = asyncio.create_task(registration.keep("http://127.0.0.1:8900"))
    async with asyncio.timeout(WAIT_S):
        while len(registrar.asked) < requests:  # noqa: ASYNC110  the double is in threads
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.wait((keeping,))


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "s3cret")


async def test_an_agent_is_registered_kept_alive_and_deregistered() -> None:
    with running(Registrar(201)) as registrar:
        await kept(registrar, 3)
    first, second, third, *_, last = registrar.requests()
    assert (first, second, third, last) == (REGISTER, HEARTBEAT, HEARTBEAT, ("DELETE", "/v1/agents/greet"))
    assert {token for _, _, token, _ in registrar.asked} == {"Bearer s3cret"}
    document = registrar.asked[0][3]
    assert (document["agent_id"], document["endpoint"], document["ttl_s"]) == ("greet", "http://127.0.0.1:8900", 0.03)
    assert (document["labels"], document["credential"]) == ({}, "greeter")
    assert document["capabilities"][0]["parameters"]["required"] == ["name"]


async def test_an_agent_that_the_server_has_forgotten_is_registered_again() -> None:
    with running(Registrar(201, 404)) as registrar:
        await kept(registrar, 3)
    assert registrar.requests()[:3] == [REGISTER, HEARTBEAT, REGISTER]


async def test_a_server_that_rejects_the_agent_is_asked_again_and_the_reason_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(Registrar(409, 503)) as registrar:
        await kept(registrar, 2)
    assert registrar.requests()[:2] == [REGISTER, REGISTER]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"POST {registrar.url}/v1/agents/register answered 409: no; trying again"
