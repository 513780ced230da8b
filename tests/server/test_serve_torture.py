"""`aorch serve` killed under load, and under long load: every response is in the ledger, and nothing accumulates."""

import asyncio
import random
import time
from contextlib import suppress
from itertools import islice
from typing import Any

import aiohttp
import psutil
import pytest
from homes import Home
from ledger_state import is_intact
from serving import Server, serving

pytestmark = pytest.mark.torture

EXCHANGES = (
    "SELECT q.contract_id, q.status, r.status, r.result ->> '$.message' FROM contracts q"
    " LEFT JOIN contracts r ON r.request_id = q.contract_id WHERE q.contract_type = 'REQUEST'"
)


class Load:
    """Clients that send tasks without pause. `answered` has the response of each exchange, by its contract id."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answered: dict[str, str] = {}
        self.asked = 0

    async def run(self, clients: int, seconds: float) -> None:
        """Run the clients for that time. Raises the first error that a client gets."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self.server.url, connector=connector) as session:
            asking = [asyncio.create_task(self._ask(session)) for _ in range(clients)]
            done, _ = await asyncio.wait(asking, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            for task in done:
                task.result()

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        while True:
            self.asked += 1
            text = f"text {self.asked}"
            body = {"session_id": f"s{self.asked % 100}", "capability": "echo", "parameters": {"text": text}}
            async with session.post("/v1/orchestrate", json=body) as response:
                answer: dict[str, Any] = await response.json()
            assert (response.status, answer["data"]) == (200, {"message": f"Echo: {text}"}), answer
            self.answered[answer["contract_id"]] = f"Echo: {text}"


async def test_ten_kills_under_load_lose_no_completed_exchange(own_home: Home) -> None:
    answered: dict[str, str] = {}
    for _ in range(10):
        with serving(own_home) as server:
            load = Load(server)
            running = asyncio.create_task(load.run(32, seconds=60))
            await asyncio.wait((running,), timeout=random.uniform(0.2, 1.5))
            server.kill()
            with suppress(aiohttp.ClientError):
                await running
        assert load.answered
        answered |= load.answered
        assert is_intact(own_home.ledger)
    with serving(own_home):
        exchanges = own_home.rows(EXCHANGES)
    by_id = {contract_id: rest for contract_id, *rest in exchanges}
    assert len(by_id) == len(exchanges), "a REQUEST has two RESPONSEs"
    assert {contract_id: by_id[contract_id] for contract_id in answered} == {
        contract_id: ["completed", "completed", said] for contract_id, said in answered.items()
    }
    assert {(asked, answer) for _, asked, answer, _ in exchanges} <= {
        ("completed", "completed"),
        ("failed", "interrupted"),
    }


async def test_256_clients_get_no_error_and_lose_no_row_in_60_seconds(own_home: Home) -> None:
    with serving(own_home) as server:
        memory = psutil.Process(server.process.pid).memory_info
        load = Load(server)
        await load.run(256, seconds=5)
        before = memory().rss
        await load.run(256, seconds=60)
        assert memory().rss - before < 30 * 2**20
        assert server.stop() == 0
    exchanges = {contract_id: said for contract_id, _, _, said in own_home.rows(EXCHANGES)}
    assert load.answered.items() <= exchanges.items()
    assert load.asked - 512 <= len(load.answered) <= len(exchanges) <= load.asked


def test_a_stream_without_events_gets_a_comment(own_home: Home) -> None:
    """Every 15 seconds, because proxies close connections that are silent for a minute."""
    with serving(own_home) as server, server.client.stream("GET", "/v1/events") as response:
        started = time.monotonic()
        comments = list(islice(response.iter_raw(), 3))
        assert comments == [b":\n\n"] * 3
        assert 29 < time.monotonic() - started < 40
