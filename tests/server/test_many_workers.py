"""A thousand workers over HTTP at one server: every task is answered, and the server's memory stays bounded."""

import asyncio
from typing import Any

import aiohttp
import psutil
import pytest
from homes import Home
from serving import Server, serving

from aorch.ids import new_id

WORKERS, TASKS = 1000, 500
CONFIG = f"[serve]\nmax_concurrent = {2 * WORKERS}\n[queue]\nparallel = 0\n"
"""All workers may open their leases at once while others ask: at the default, 1000, one of them could get 503."""
AGENT = {"agent_id": "many", "capabilities": [{"name": "many", "idempotent": True}]}
CAPACITY = {"capability": "many", "free": 2, "agents": {"many": {"free": 2}}}


async def post(session: aiohttp.ClientSession, path: str, body: Any) -> Any:
    async with session.post(path, json=body) as response:
        assert response.status < 300, await response.text()
        return await response.json()


async def work(session: aiohttp.ClientSession, number: int, done: list[str]) -> None:
    """A worker that waits for tasks, and answers each at once."""
    body = {"worker": str(number), "lease_s": 300, "agents": [AGENT]}
    lease = "/v1/work/leases/" + (await post(session, "/v1/work/leases", body))["lease_id"]
    while True:
        claimed = await post(session, f"{lease}/claim", {"capacities": [CAPACITY], "limit": 2, "wait_s": 25})
        if not claimed["tasks"]:
            continue
        assert (await post(session, f"{lease}/renew", {"delivery_id": claimed["delivery_id"]}))["confirmed"]
        for each in claimed["tasks"]:
            contract_id = each["request"]["contract_id"]
            result = {"response_id": new_id(), "agent_id": "many", "status": "completed", "result": number}
            await post(session, f"{lease}/tasks/{contract_id}/result", result)
            done.append(contract_id)


async def run(server: Server) -> tuple[list[str], list[str], float, float]:
    """The queued and the answered tasks, and the server's memory while all workers wait and after the tasks (bytes)."""
    process, done, queued = psutil.Process(server.process.pid), [], []
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=timeout) as session:
        working = [asyncio.create_task(work(session, number, done)) for number in range(WORKERS)]
        while True:
            async with session.get("/v1/work/leases") as response:
                assert response.status == 200, await response.text()
                if (await response.json())["total"] == WORKERS:
                    break
        waiting = process.memory_info().rss
        for number in range(TASKS):
            body = {"capability": "many", "session_id": f"s{number % 10}"}
            queued.append((await post(session, "/v1/tasks", body))["contract_id"])
        while len(done) < TASKS:
            assert not any(each.done() for each in working)
            await asyncio.sleep(0.05)
        peak = process.memory_info().rss
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    return queued, done, waiting, peak


@pytest.mark.torture
def test_a_thousand_workers_share_the_tasks_of_a_server_with_bounded_memory(home: Home) -> None:
    home.write("aorch.toml", CONFIG)
    with serving(home) as server:
        queued, done, waiting, peak = asyncio.run(asyncio.wait_for(run(server), 300))
        assert sorted(done) == sorted(queued)
        assert waiting < 300 * 2**20
        assert peak < waiting * 1.5
    assert home.rows("SELECT count(*) FROM contracts WHERE request_id IS NOT NULL AND status = 'completed'") == [
        (TASKS,)
    ]
