"""Workers over HTTP that hang, crash and lose connections at random, at two servers of which one is killed: each task has one
RESPONSE, no task that is not idempotent starts twice, and no accepted report is lost.
"""

import asyncio
import random
from collections import Counter
from typing import Any

import httpx
import pytest
from homes import Home
from http_worker import RENDERER
from serving import Server, serving

from aorch.ids import new_id

TASKS, WORKERS = 300, 12
CAPACITIES = [
    {"capability": name, "free": 8, "agents": {"renderer": {"free": 8}}} for name in ("render", "render_again")
]


class Chaos:
    """What the workers did: how often each task started, and the reports that a server accepted."""

    def __init__(self, urls: list[str], seed: int) -> None:
        self.urls, self.random = urls, random.Random(seed)
        self.starts: Counter[str] = Counter()
        self.accepted: dict[str, str] = {}
        self.refused: set[int] = set()
        self.ended = False

    async def post(
        self, client: httpx.AsyncClient, path: str, body: Any, *, repeated: bool = True
    ) -> httpx.Response | None:
        """A response, or None if it was lost. One in ten is lost although the server may have done its work."""
        for _ in range(40 if repeated else 1):
            timeout = self.random.uniform(0, 0.05) if self.random.random() < 0.1 else 10
            try:
                response = await client.post(self.random.choice(self.urls) + path, json=body, timeout=timeout)
            except httpx.TransportError:
                await asyncio.sleep(self.random.uniform(0, 0.1))
                continue
            if response.status_code < 500:
                return response
        return None

    async def work(self, client: httpx.AsyncClient) -> None:
        """A worker, which forgets everything from time to time."""
        while not self.ended:
            body = {"worker": "chaos", "lease_s": 1, "agents": [RENDERER]}
            opened = await self.post(client, "/v1/work/leases", body)
            if opened is not None:
                await self._live(client, f"/v1/work/leases/{opened.json()['lease_id']}")

    async def _live(self, client: httpx.AsyncClient, lease: str) -> None:
        """Work under a lease, some with two claims at once, until it ends or the worker crashes."""
        loops = [self._renew(client, lease)]
        loops += [self._claim(client, lease) for _ in range(self.random.randint(1, 2))]
        running = [asyncio.create_task(each) for each in loops]
        await asyncio.wait(running[1:])
        running[0].cancel()
        for each in running[1:]:
            each.result()

    async def _claim(self, client: httpx.AsyncClient, lease: str) -> None:
        while not self.ended and self.random.random() > 0.03:  # otherwise it crashes
            claim = {"capacities": CAPACITIES, "limit": self.random.randint(1, 4), "wait_s": 0.5}
            claimed = await self.post(client, f"{lease}/claim", claim, repeated=False)
            if claimed is None:
                continue
            if claimed.status_code != 200:
                return
            if not claimed.json()["tasks"] or self.random.random() < 0.05:  # it forgets what it was given
                continue
            await asyncio.sleep(self.random.choice((0, 0.05)))
            confirmed = await self.post(client, f"{lease}/renew", {"delivery_id": claimed.json()["delivery_id"]})
            if confirmed is None or confirmed.status_code != 200:
                return
            if confirmed.json()["confirmed"]:
                tasks = [each["request"]["contract_id"] for each in claimed.json()["tasks"]]
                await asyncio.gather(*(self._execute(client, lease, each) for each in tasks))

    async def _renew(self, client: httpx.AsyncClient, lease: str) -> None:
        while True:
            await asyncio.sleep(3.0 if self.random.random() < 0.03 else 0.3)
            await self.post(client, f"{lease}/renew", {})

    async def _execute(self, client: httpx.AsyncClient, lease: str, contract_id: str) -> None:
        self.starts[contract_id] += 1
        await asyncio.sleep(self.random.uniform(0, 0.1))
        body = {"response_id": new_id(), "agent_id": "renderer", "status": "completed", "result": contract_id}
        path = f"{lease}/tasks/{contract_id}/result"
        for _ in range(2 if self.random.random() < 0.2 else 1):
            reported = await self.post(client, path, body)
            if reported is not None and reported.status_code == 200:
                self.accepted[contract_id] = body["response_id"]
            elif reported is not None:
                self.refused.add(reported.status_code)


async def _run(chaos: Chaos, first: Server, second: Server) -> dict[str, str]:
    """Let the workers finish all tasks, and kill the first server in the middle. Returns the capability of each task."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as client:
        working = [asyncio.create_task(chaos.work(client)) for _ in range(WORKERS)]
        while not (await client.get(f"{second.url}/v1/work/leases")).json()["total"]:  # noqa: ASYNC110  a server tells it
            await asyncio.sleep(0.02)
        ids: dict[str, str] = {}
        for number in range(TASKS):
            name = ("render", "render_again")[number % 2]
            body = {"capability": name, "session_id": f"s{number % 5}"}
            queued = await client.post(f"{second.url}/v1/tasks", json=body)
            ids[queued.json()["contract_id"]] = name
            if number == TASKS // 3:
                first.kill()
        for contract_id in ids:
            for _ in range(6):
                shown = await client.get(f"{second.url}/v1/tasks/{contract_id}", params={"wait_s": 20}, timeout=60)
                if shown.json()["answer"] is not None:
                    break
            else:
                raise AssertionError(f"{contract_id} has no RESPONSE: {shown.text}")
        chaos.ended = True
        done, hanging = await asyncio.wait(working, timeout=30)
        assert not hanging
        for each in done:
            each.result()
    return ids


@pytest.mark.torture
@pytest.mark.parametrize("seed", [1, 2])
def test_each_task_has_one_response_whatever_happens_to_workers_and_servers(home: Home, seed: int) -> None:
    home.write("aorch.toml", "[queue]\nparallel = 0\n")
    with serving(home) as first, serving(home) as second:
        chaos = Chaos([first.url, second.url], seed)
        ids = asyncio.run(_run(chaos, first, second))
    found = home.rows("SELECT request_id, contract_id, status, result FROM contracts WHERE request_id IS NOT NULL")
    assert Counter(row[0] for row in found) == Counter(dict.fromkeys(ids, 1))
    responses = {row[0]: row[1:] for row in found}
    for contract_id, response_id in chaos.accepted.items():
        assert responses[contract_id][:2] == (response_id, "completed")
    for contract_id, name in ids.items():
        if name == "render":
            assert chaos.starts[contract_id] <= 1
        assert responses[contract_id][1] in ("completed", "interrupted")
        if responses[contract_id][1] == "completed":
            assert responses[contract_id][2] == f'"{contract_id}"'
    assert chaos.refused <= {409}
    completed = sum(row[2] == "completed" for row in found)
    assert completed > TASKS / 2, completed
    assert not home.rows("SELECT 1 FROM contracts WHERE status IN ('pending', 'in_progress')")
