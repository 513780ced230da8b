"""Registered agents of which many die while tasks run: each task gets one RESPONSE, and retries succeed where they are safe."""

import asyncio
import os
import random
import signal
from collections import Counter
from typing import Any

import aiohttp
import pytest
from homes import Home
from many_endpoints import endpoints
from serving import Server, serving
from waiting import wait_for

AGENTS, KILLED = 50, 20
RATE_PER_S, DURATION_S = 200, 30
IN_FLIGHT = 500
"""Number of tasks that wait for their answers at once, if the machine is too slow for the rate."""
SAFE, ONCE = "safe", "once"


def registration(number: int, url: str) -> dict[str, Any]:
    capabilities = [{"name": SAFE, "idempotent": True}, {"name": ONCE}]
    return {"agent_id": f"agent_{number}", "endpoint": url, "capabilities": capabilities}


async def send_all(url: str, pids: list[int]) -> Counter[tuple[str, str]]:
    """Send the tasks at RATE_PER_S while the processes `pids` are killed at random times. Returns the number of answers by
    capability and error code (empty: success).
    """
    answers: Counter[tuple[str, str]] = Counter()
    loop, free = asyncio.get_running_loop(), asyncio.Semaphore(IN_FLIGHT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send(number: int) -> None:
            capability = SAFE if number % 2 else ONCE
            task = {"session_id": f"s{number % 10}", "capability": capability, "parameters": {"number": number}}
            async with session.post(f"{url}/v1/orchestrate", json=task) as response:
                body = await response.json()
            free.release()
            assert not body["success"] or body["data"] == {"number": number}
            answers[capability, "" if body["success"] else body["code"]] += 1

        for pid in pids:
            loop.call_later(random.uniform(1, DURATION_S - 1), os.kill, pid, signal.SIGKILL)
        started, sent = loop.time(), []
        for number in range(RATE_PER_S * DURATION_S):
            await free.acquire()
            sent.append(asyncio.create_task(send(number)))
            await asyncio.sleep(max(0.0, started + number / RATE_PER_S - loop.time()))
        await asyncio.gather(*sent)
    return answers


def states(server: Server) -> Counter[str]:
    """The number of registered agents by state."""
    return Counter(each["status"] for each in server.get("/v1/agents").json()["agents"] if each["owner"] is not None)


@pytest.mark.torture
def test_agents_that_die_cost_no_task_that_can_be_retried(home: Home) -> None:
    with endpoints(AGENTS) as urls, serving(home) as server:
        for number, url in enumerate(urls.values()):
            assert server.post("/v1/agents/register", json=registration(number, url)).status_code == 201
        pids = random.sample(sorted(urls), KILLED)
        answers = asyncio.run(send_all(server.url, pids))
        wait_for(lambda: states(server)["offline"] == KILLED)
        assert states(server) == {"offline": KILLED, "available": AGENTS - KILLED}
    tasks = RATE_PER_S * DURATION_S
    assert sum(answers.values()) == tasks
    assert answers[SAFE, ""] == tasks // 2
    assert {code for capability, code in answers if capability == ONCE} <= {"", "agent_lost"}
    ((requests, responses, answered),) = home.rows(
        "SELECT count(*) FILTER (WHERE contract_type = 'REQUEST'), count(*) FILTER (WHERE contract_type = 'RESPONSE'),"
        " count(DISTINCT request_id) FROM contracts WHERE capability IN ('safe', 'once')"
    )
    assert requests == responses == answered == tasks
