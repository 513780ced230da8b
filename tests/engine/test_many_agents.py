"""Registered agents of which many die while tasks run: each task gets one RESPONSE, and retries succeed where they are safe."""

import asyncio
import os
import random
import signal
from collections import Counter
from typing import Any, NamedTuple

import aiohttp
import psutil
import pytest
from homes import Home
from many_endpoints import endpoints
from serving import Server, serving
from waiting import wait_for

AGENTS, KILLED = 50, 20
RATE_PER_S, DURATION_S = 200, 30
SUSTAINED = 0.95
"""The part of the rate at which tasks must be answered from the first to the last one that is sent."""
IN_FLIGHT = 500
"""Number of tasks that wait for their answers at once, if the machine is too slow for the rate."""
SAFE, ONCE = "safe", "once"


def registration(number: int, url: str) -> dict[str, Any]:
    capabilities = [{"name": SAFE, "idempotent": True}, {"name": ONCE}]
    return {"agent_id": f"agent_{number}", "endpoint": url, "capabilities": capabilities}


class Sent(NamedTuple):
    """The number of answers by capability and error code (empty: success), and how many there were per second until the last
    task was sent.
    """

    answers: Counter[tuple[str, str]]
    rate_per_s: float


async def send_all(url: str, pids: list[int]) -> Sent:
    """Send the tasks at RATE_PER_S while the processes `pids` are killed at random times."""
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
        rate_per_s = answers.total() / (loop.time() - started)
        await asyncio.gather(*sent)
    return Sent(answers, rate_per_s)


def states(server: Server) -> Counter[str]:
    """The number of registered agents by state."""
    return Counter(each["status"] for each in server.get("/v1/agents").json()["agents"] if each["owner"] is not None)


@pytest.mark.torture
def test_agents_that_die_cost_no_task_that_can_be_retried(home: Home) -> None:
    with endpoints(AGENTS) as urls, serving(home) as server:
        for number, url in enumerate(urls.values()):
            assert server.post("/v1/agents/register", json=registration(number, url)).status_code == 201
        pids = random.sample(sorted(urls), KILLED)
        began = psutil.Process(server.process.pid).cpu_times()
        answers, rate_per_s = asyncio.run(send_all(server.url, pids))
        ended = psutil.Process(server.process.pid).cpu_times()
        wait_for(lambda: states(server)["offline"] == KILLED)
        assert states(server) == {"offline": KILLED, "available": AGENTS - KILLED}
    tasks, cpu_s = RATE_PER_S * DURATION_S, ended.user + ended.system - began.user - began.system
    assert sum(answers.values()) == tasks
    assert answers[SAFE, ""] == tasks // 2
    assert {code for capability, code in answers if capability == ONCE} <= {"", "agent_lost"}
    ((requests, responses, answered),) = home.rows(
        "SELECT count(*) FILTER (WHERE contract_type = 'REQUEST'), count(*) FILTER (WHERE contract_type = 'RESPONSE'),"
        " count(DISTINCT request_id) FROM contracts WHERE capability IN ('safe', 'once')"
    )
    assert requests == responses == answered == tasks
    took = f"{rate_per_s:.1f} tasks per second, {cpu_s * 1000 / tasks:.2f} ms of processor time of the service for each"
    assert rate_per_s >= SUSTAINED * RATE_PER_S, took
