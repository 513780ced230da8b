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

OPEN_S = 1.0


@asynccontextmanager
async def process(
    ledger: LedgerLocation, url: str, open_s: float = OPEN_S
) -> AsyncIterator[tuple[Orchestrator, HttpAgent]]:
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


async def test_a_circuit_that_one_process_opens_and_closes_opens_and_closes_in_the_others(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with endpoint() as remote:
        async with (
            process(ledger, f"{remote.url}/deaf") as (one, first),
            process(ledger, f"{remote.url}/deaf") as (two, second),
        ):
            for _ in range(FAILURES):
                assert "broke" in str((await one.orchestrate("s", {"capability": "work"}))["error"])
            await becomes(second.breaker.blocks)
            refused = await two.orchestrate("s", {"capability": "work"})
            assert f"its last {FAILURES} tasks were not answered" in str(refused["error"])
            assert two.registry.get("a").as_dict()["status"] == "error"
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
        async with process(ledger, url, open_s=60) as (one, first), process(ledger, url, open_s=60) as (two, second):
            until = rfc3339(datetime.now(UTC) + timedelta(seconds=0.1))
            for agent in (first, second):
                agent.breaker.hear(until, until)
            await becomes(lambda: not (first.breaker.blocks() or second.breaker.blocks()))
            tasks = (each.orchestrate("s", {"capability": "work"}) for each in (one, two, one, two))
            errors = [str(answer["error"]) for answer in await asyncio.gather(*tasks)]
    assert sorted("broke" in error for error in errors) == [False, False, False, True]
