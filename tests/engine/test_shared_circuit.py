"""The circuit breaker of an endpoint is shared by the processes of a ledger, and closes for all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from endpoint_program import endpoint
from ledgers import new_ledger
from waiting import WAIT_S

from aorch import AgentCapability, Orchestrator, RetryPolicy
from aorch.agents.circuit_breaker import FAILURES, CircuitBreaker
from aorch.agents.http_endpoint import HttpAgent
from aorch.clock import rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.supervision import ignore_turns

SOON_S, LATE_S = 0.2, 60.0


@asynccontextmanager
async def process(ledger: LedgerLocation, url: str, open_s: float) -> AsyncIterator[tuple[Orchestrator, HttpAgent]]:
    """What a service has: an orchestrator that follows the ledger, with an endpoint that says nothing about its health."""
    async with Orchestrator(ledger) as orchestrator:
        agent = HttpAgent(
            "a",
            "A",
            endpoint=url,
            capabilities=[AgentCapability("work", retry=RetryPolicy(attempts=1))],
            health=False,
        )
        agent.breaker = CircuitBreaker("a", open_s)
        orchestrator.register_agent(agent)
        following = asyncio.create_task(orchestrator.executor.registrations().follow(ignore_turns))
        yield orchestrator, agent
        following.cancel()
        await asyncio.wait((following,))


async def becomes(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110  the ledger tells it
            await asyncio.sleep(0.01)


async def fail(orchestrator: Orchestrator) -> None:
    """Run tasks until the circuit opens."""
    for _ in range(FAILURES):
        assert "broke" in str((await orchestrator.orchestrate("s", {"capability": "work"}))["error"])


async def test_a_circuit_that_one_process_opens_is_open_in_the_others(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with endpoint() as remote:
        url = f"{remote.url}/deaf"
        async with process(ledger, url, LATE_S) as (one, _), process(ledger, url, LATE_S) as (two, second):
            await fail(one)
            await becomes(second.breaker.blocks)
            refused = await two.orchestrate("s", {"capability": "work"})
            assert f"its last {FAILURES} tasks were not answered" in str(refused["error"])
            assert two.registry.get("a").as_dict()["status"] == "error"


async def test_a_circuit_that_one_process_closes_closes_in_the_others(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with endpoint() as remote:
        url = f"{remote.url}/deaf"
        async with process(ledger, url, SOON_S) as (one, first), process(ledger, url, SOON_S) as (two, second):
            await fail(one)
            await becomes(second.breaker.is_open)
            await becomes(lambda: not first.breaker.blocks())
            await first.close()
            first.url = f"{remote.url}/good"  # it works again
            async with asyncio.timeout(WAIT_S):
                while not (await one.orchestrate("s", {"capability": "work", "parameters": {}}))["success"]:
                    await becomes(lambda: not first.breaker.blocks())
            await becomes(lambda: second.breaker.until is None)
            assert two.registry.get("a").as_dict()["status"] == "available"


async def test_only_one_process_sends_the_task_that_decides(tmp_path: Path) -> None:
    """Also if they notice at the same moment that the time of the open circuit is over."""
    ledger = new_ledger(tmp_path)
    with endpoint() as remote:
        url = f"{remote.url}/deaf"
        async with process(ledger, url, LATE_S) as (one, first), process(ledger, url, LATE_S) as (two, second):
            until = rfc3339(datetime.now(UTC) + timedelta(seconds=0.1))
            for agent in (first, second):
                agent.breaker.hear(until, until)
            await becomes(lambda: not (first.breaker.blocks() or second.breaker.blocks()))
            tasks = (each.orchestrate("s", {"capability": "work"}) for each in (one, two, one, two))
            errors = [str(answer["error"]) for answer in await asyncio.gather(*tasks)]
    assert sorted("broke" in error for error in errors) == [False, False, False, True]
