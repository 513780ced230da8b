"""Agents that register over HTTP: used by every process on the ledger, owned by a token, and gone when their lease ends."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from api import ask, problem
from endpoint_program import Endpoint, endpoint
from homes import Home
from serving import Server, serving
from tokens import bearer
from waiting import wait_for

ALICE, BOB, ADMIN, READER = (f"a-token-of-{name}-in-the-file" for name in ("alice", "bob", "admin", "reader"))
REGISTER = "/v1/agents/register"
CONFIG = """
[serve]
token_file = "tokens"
[registration]
share = ["uppercase"]
[credentials.internal]
env = "INTERNAL_TOKEN"
hosts = ["127.0.0.1"]
[credentials.elsewhere]
env = "INTERNAL_TOKEN"
hosts = ["agents.example.org"]
[agents.parrot]
command = ["cat"]
capabilities.parrot = {}
"""


def worker(url: str, agent_id: str = "worker", **more: Any) -> dict[str, Any]:
    """The description of an agent at `url` with the capability `work`."""
    return {"agent_id": agent_id, "name": "A worker", "endpoint": url, "capabilities": [{"name": "work"}], **more}


def status(server: Server, agent_id: str = "worker", **options: Any) -> Any:
    return server.get(f"/v1/agents/{agent_id}", **options).json().get("status")


@pytest.fixture(scope="module")
def remote() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


def test_a_registered_agent_is_used_by_every_process_on_the_ledger(own_home: Home, remote: Endpoint) -> None:
    home, task = own_home, ("run", "work", "text=hi", "--json")
    assert home.aorch(*task).code == 11
    with ExitStack() as servers:
        one, two = (servers.enter_context(serving(home)) for _ in range(2))
        registered = one.post(REGISTER, json=worker(f"{remote.url}/fine", labels={"gpu": "yes"}, version="2"))
        assert registered.status_code == 201
        assert (registered.json()["owner"], registered.json()["lease_ends_at"]) == ("", None)
        assert one.post(REGISTER, json=worker(f"{remote.url}/fine")).status_code == 200
        assert ask(one, "work").json()["agent_id"] == "worker"
        wait_for(lambda: ask(two, "work").status_code == 200)
        assert home.aorch(*task).json["data"]["task"]["parameters"] == {"text": "hi"}
        queued = home.aorch("run", "work", "--detach").out.strip()
        assert two.get(f"/v1/tasks/{queued}?wait_s=30").json()["status"] == "completed"
        assert two.client.delete("/v1/agents/worker").status_code == 200
        problem(ask(two, "work"), 404, "no_agent")
        wait_for(lambda: ask(one, "work").status_code == 404)
        problem(one.client.delete("/v1/agents/worker"), 404, "not_found")
    assert home.aorch(*task).code == 11


def test_an_agent_belongs_to_the_token_that_registered_it(own_home: Home, remote: Endpoint) -> None:
    own_home.write("aorch.toml", CONFIG)
    tokens = f"{ALICE} agents name=alice\n{BOB} agents name=bob\n{ADMIN} admin name=admin\n{READER} read name=reader\n"
    own_home.write("tokens", tokens).chmod(0o600)
    agent, path = worker(f"{remote.url}/fine"), "/v1/agents/worker"
    with serving(own_home) as server:

        def send(secret: str, method: str, path: str, body: Any = None) -> Any:
            return server.client.request(method, path, json=body, headers=bearer(secret))

        problem(send(READER, "POST", REGISTER, agent), 403, "forbidden")
        assert send(ALICE, "POST", REGISTER, agent).json()["owner"] == "file:alice"
        problem(send(BOB, "POST", REGISTER, agent), 409, "conflict")
        changed = {**agent, "version": "2"}
        for method, where, body in (
            ("PUT", path, changed),
            ("DELETE", path, None),
            ("POST", f"{path}/heartbeat", None),
            ("POST", f"{path}/drain", None),
            ("POST", f"{path}/check", None),
        ):
            problem(send(BOB, method, where, body), 403, "forbidden")
        replaced = send(ADMIN, "PUT", path, changed).json()
        assert (replaced["version"], replaced["owner"]) == ("2", "file:alice")
        assert send(ALICE, "DELETE", path).status_code == 200
        assert send(BOB, "POST", REGISTER, agent).status_code == 201


INVALID = [
    ({"endpoint": "ftp://example.org"}, 422, "endpoint"),
    ({"endpoint": "http://user:secret@example.org"}, 422, "it contains a user name or a password"),
    ({"endpoint": "http://example.org/?a=1"}, 422, "it contains a query"),
    ({"endpoint": "http://169.254.169.254/"}, 422, "link-local address"),
    ({"endpoint": "http://[::ffff:10.0.0.1]/"}, 422, "private address"),
    ({"endpoint": "http://0xa.1/"}, 422, "private address"),
    ({"capabilities": []}, 422, "capabilities"),
    (
        {"capabilities": [{"name": "x", "parameters": {"type": "object", "properties": 3}}]},
        422,
        "not a valid JSON Schema",
    ),
    ({"capabilities": [{"name": "x"}, {"name": "x"}]}, 422, "more than once"),
    ({"capabilities": [{"name": "a\nb"}]}, 422, "printable"),
    ({"capabilities": [{"name": str(number)} for number in range(101)]}, 422, "at most 100"),
    ({"agent_id": ".."}, 422, "a part of a path"),
    ({"description": "x" * 4001}, 422, "description"),
    ({"ttl_s": 0.5}, 422, "ttl_s"),
    ({"credential": "unknown"}, 422, "'unknown' is not configured"),
    ({"credential": "elsewhere"}, 422, "must not be sent to 127.0.0.1:"),
    ({"agent_id": "parrot"}, 409, "is configured, not registered"),
    ({"agent_id": "orchestrator"}, 409, "is reserved"),
    ({"capabilities": [{"name": "parrot"}]}, 409, "configured agents already have the capability parrot"),
]


def test_an_invalid_registration_is_rejected_with_the_reason(own_home: Home, remote: Endpoint) -> None:
    own_home.write("aorch.toml", CONFIG.replace('token_file = "tokens"', ""))
    own_home.environment["INTERNAL_TOKEN"] = "s3cret"
    with serving(own_home) as server:
        for change, code, reason in INVALID:
            rejected = server.post(REGISTER, json={**worker(remote.url), **change})
            assert reason in problem(rejected, code, "conflict" if code == 409 else "parameters_invalid")["detail"]
        assert server.get("/v1/agents/worker").status_code == 404
        shared = worker(f"{remote.url}/fine", capabilities=[{"name": "uppercase"}], credential="internal")
        assert server.post(REGISTER, json=shared).status_code == 201
        answer = ask(server, "uppercase", agent_id="worker").json()
        assert answer["data"]["headers"]["Authorization"] == "Bearer ***"


def test_a_registration_without_a_heartbeat_ends(own_home: Home, remote: Endpoint) -> None:
    agent = worker(f"{remote.url}/fine", ttl_s=1)
    with serving(own_home) as server:
        server.post(REGISTER, json=agent)
        first = server.post("/v1/agents/worker/heartbeat").json()["lease_ends_at"]
        assert ask(server, "work").status_code == 200
        wait_for(lambda: server.post("/v1/agents/worker/heartbeat").json()["lease_ends_at"] > first)
        wait_for(lambda: status(server) == "offline")
        assert "its registration ended" in problem(ask(server, "work"), 502, "agent_unreachable")["detail"]
        problem(server.post("/v1/agents/worker/heartbeat"), 404, "not_found")
        wait_for(lambda: "agent worker: its registration ended" in server.log)
        assert server.post(REGISTER, json={**agent, "ttl_s": None}).status_code == 201
        assert ask(server, "work").status_code == 200


def test_a_draining_agent_gets_no_tasks_until_it_registers_again(own_home: Home, remote: Endpoint) -> None:
    with serving(own_home) as server:
        server.post(REGISTER, json=worker(f"{remote.url}/fine"))
        assert server.post("/v1/agents/worker/drain").json()["status"] == "draining"
        problem(ask(server, "work"), 503, "no_agent_available")
        assert server.post("/v1/agents/worker/check").json()["status"] == "draining"
        server.post(REGISTER, json=worker(f"{remote.url}/fine"))
        assert server.post("/v1/agents/worker/check").json()["status"] == "available"
        assert ask(server, "work").status_code == 200


def test_the_configuration_takes_its_ids_and_capabilities_back(own_home: Home, remote: Endpoint) -> None:
    with serving(own_home) as server:
        for agent_id, capability in (("worker", "work"), ("other", "work"), ("third", "play")):
            agent = worker(f"{remote.url}/fine", agent_id, capabilities=[{"name": capability}])
            assert server.post(REGISTER, json=agent).status_code == 201
        server.post("/v1/agents/worker/drain")
    own_home.write("aorch.toml", '[agents.worker]\ncommand = ["cat"]\ncapabilities.work = {}\n')
    agents = {each["agent_id"]: each for each in own_home.aorch("agents", "list", "--json").json["agents"]}
    assert (agents["worker"]["kind"], agents["worker"]["status"], agents["worker"]["owner"]) == (
        "command",
        "available",
        None,
    )
    assert agents["other"]["capabilities"] == []
    assert [each["name"] for each in agents["third"]["capabilities"]] == ["play"]
    assert own_home.aorch("run", "work", "--json").json["agent_id"] == "worker"
    shown = own_home.aorch("agents", "show", "third").out
    assert "registered by a client without a token until it is deregistered" in shown
