"""Two servers of one ledger, as behind a load balancer: what one of them knows holds at the other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
from api import ask, listening, with_agents
from homes import Home
from serving import Server, serving
from tokens import bearer, token
from waiting import wait_for

SERVERS = tuple[Server, Server]


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    return with_agents(module_home)


@pytest.fixture(scope="module")
def servers(home: Home) -> Iterator[SERVERS]:
    """Two servers of the same ledger."""
    with serving(home) as one, serving(home) as other:
        yield one, other


def test_a_key_is_executed_once_whichever_server_gets_the_requests(home: Home, servers: SERVERS) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = (ask(server, session="keyed", headers=headers) for server in servers)
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    with ThreadPoolExecutor(8) as threads:
        both = [servers[number % 2] for number in range(8)]
        answers = list(threads.map(lambda each: ask(each, session="raced", headers={"Idempotency-Key": "two"}), both))
    assert {each.status_code for each in answers} <= {200, 409}  # 409: the first request is still running
    assert len({each.json()["contract_id"] for each in answers if each.status_code == 200}) == 1
    ((count,),) = home.rows("SELECT count(*) FROM contracts WHERE session_id = 'raced' AND contract_type = 'REQUEST'")
    assert count == 1


def test_a_stream_continues_at_another_server(servers: SERVERS) -> None:
    one, other = servers
    with listening(one, session_id="followed") as events:
        for server in (one, other):
            ask(server, session="followed")
        seen = list(islice(events, 3))
    with listening(other, session_id="followed", last_event_id=str(seen[1].id)) as events:
        ask(one, session="followed")
        rest = list(islice(events, 4))
    assert rest[0].id == seen[2].id
    assert len({each.id for each in (*seen, *rest)}) == 6


def test_a_registered_agent_and_a_queued_task_are_known_at_both(servers: SERVERS) -> None:
    one, other = servers
    agent = {"agent_id": "shared", "endpoint": "http://127.0.0.1:9", "capabilities": [{"name": "shared"}]}
    assert one.post("/v1/agents/register", json=agent).status_code == 201
    wait_for(lambda: other.get("/v1/agents/shared").status_code == 200)
    queued = one.post("/v1/tasks", json={"capability": "echo", "session_id": "q", "parameters": {"text": "x"}}).json()
    done = other.get(f"/v1/tasks/{queued['contract_id']}", params={"wait_s": 30}).json()
    assert done["status"] == "completed"
    assert other.client.delete("/v1/agents/shared").status_code == 200
    wait_for(lambda: one.get("/v1/agents/shared").status_code == 404)


def test_the_rate_of_a_token_and_its_revocation_hold_at_both(own_home: Home) -> None:
    own_home.write("aorch.toml", "[serve]\nrate_per_s = 0.5\n")
    secret, other = token(own_home, "one"), token(own_home, "other")
    with serving(own_home) as one, serving(own_home) as two:
        assert [one.get("/v1/agents", headers=bearer(secret)).status_code for _ in range(6)] == [200] * 5 + [429]

        def wait_s() -> int:
            return int(two.get("/v1/agents", headers=bearer(secret)).headers.get("Retry-After", 0))

        wait_for(lambda: wait_s() > 4)  # without what it spent at the other server, it would be 2
        own_home.aorch("tokens", "revoke", "other")
        for server in (one, two):
            wait_for(lambda server=server: server.get("/v1/", headers=bearer(other)).json().get("caller") is None)
