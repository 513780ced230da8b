"""5,000 contracts of four processes are delivered once and in order while Trace and the processes are killed repeatedly."""

import asyncio
import random
import time
from collections import defaultdict
from contextlib import ExitStack

import httpx
import pytest
from homes import Home
from rows import pairs, put
from serving import Server, serving
from trace_checks import status
from trace_double import Double, doubling
from waiting import pause

pytestmark = pytest.mark.torture

LONGEST_S = 240


async def ask_all(servers: list[Server], exchanges: int, sessions: int) -> None:
    """Run `exchanges` tasks on each server, eight at a time, in sessions that all servers share."""

    async def ask(client: httpx.AsyncClient, numbers: list[int]) -> None:
        for number in numbers:
            body = {"session_id": f"s{number % sessions}", "capability": "echo", "parameters": {"text": f"{number}"}}
            answer = await client.post("/v1/orchestrate", json=body)
            assert answer.json()["data"] == {"message": f"Echo: {number}"}

    async with ExitStackOfClients(servers) as clients:
        await asyncio.gather(*(ask(each, list(range(start, exchanges, 8))) for each in clients for start in range(8)))


class ExitStackOfClients:
    """A client of each server."""

    def __init__(self, servers: list[Server]) -> None:
        self.clients = [httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) for server in servers]

    async def __aenter__(self) -> list[httpx.AsyncClient]:
        return self.clients

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients:
            await client.aclose()


def by_session(keys: list[tuple[str, str]]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for session, key in keys:
        found[session].append(key)
    return found


def assert_each_delivered_once_in_order(home: Home, double: Double) -> None:
    rows = home.rows(
        "SELECT session_id, contract_id || ':contract.' || lower(contract_type) FROM contracts ORDER BY position"
    )
    there = [(event["session_id"], event["data"]["idempotency_key"]) for event in double.events]
    assert len(there) == len(set(there)), "a contract was delivered twice"
    assert sorted(there) == sorted(rows), "a contract was not delivered"
    assert by_session(there) == by_session(rows), "a session is out of order"
    asked = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position")
    assert [node["node_id"] for node in double.nodes] == [contract_id for (contract_id,) in asked]
    assert double.collisions == []


def kill_ten_times(home: Home, double: Double, *, after: int, until: int) -> None:
    """Kill Trace each time that `after` more contracts have arrived, and wait until `until` have and no delivery is due."""
    kills, end = 0, time.monotonic() + LONGEST_S
    while kills < 10 or double.count < until or status(home)["due"]:
        assert time.monotonic() < end, (kills, double.count, status(home))
        if kills < 10 and double.count > after * (kills + 1):
            pause(random.uniform(0, 0.01))  # so that it is killed at any point of a request
            double.restart()
            kills += 1


def test_five_thousand_contracts_of_four_processes_survive_ten_kills_of_trace(home: Home) -> None:
    with doubling(home.folder / "trace") as double, ExitStack() as running:
        home.environment["TRACE_URL"] = double.url
        double.mode(delay_s=0.002)
        servers = [running.enter_context(serving(home)) for _ in range(4)]
        asyncio.run(ask_all(servers, 625, sessions=125))
        assert home.rows("SELECT count(*) FROM contracts") == [(5000,)]
        kill_ten_times(home, double, after=400, until=4900)
    found = status(home)
    assert (found["due"], found["delivered"], found["parked"]) == (0, 5000, 0)
    assert_each_delivered_once_in_order(home, double)


def test_contracts_are_delivered_once_despite_forty_kills_of_push(home: Home) -> None:
    """Each `push` is killed at any point, and sometimes Trace as well."""
    put(home.ledger, *(row for number in range(30) for row in pairs(20, f"s{number}")))
    killed = 0
    with doubling(home.folder / "trace") as double:
        home.environment["TRACE_URL"] = double.url
        double.mode(delay_s=0.004)
        while killed < 40:
            before = double.count
            pushing = home.start("trace", "push")
            end = time.monotonic() + 30
            while double.count < before + 8 and pushing.poll() is None:
                assert time.monotonic() < end, status(home)
                pause()
            pause(random.uniform(0, 0.02))
            pushing.kill()
            pushing.communicate()
            killed += 1
            if random.random() < 0.3:
                double.restart()
        double.mode()
        done = home.aorch("trace", "push")
        assert (done.code, done.err) == (0, "")
    assert_each_delivered_once_in_order(home, double)


def test_contracts_of_sessions_that_trace_does_not_read_back_are_never_delivered_twice(home: Home) -> None:
    """Only deliveries in doubt are parked."""
    put(home.ledger, *(row for number in range(2) for row in pairs(250, f"s{number}")))
    with doubling(home.folder / "trace") as double:
        home.environment["TRACE_URL"] = double.url
        double.mode(delay_s=0.002)
        with serving(home):
            kill_ten_times(home, double, after=80, until=980)
    found = status(home)
    assert len(found["parked_deliveries"]) <= 10
    unknown = {each["contract_id"] for each in found["parked_deliveries"]}
    there = [key.split(":")[0] for key in double.keys]
    assert len(there) == len(set(there))
    assert {contract_id for (contract_id,) in home.rows("SELECT contract_id FROM contracts")} - set(there) <= unknown
    assert double.collisions == []
