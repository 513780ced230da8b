"""What a registration may say about its agent: limits, retries, ranks and signatures; and MCP servers by their URL."""

from collections.abc import Iterator
from typing import Any

import pytest
from api import ask, problem
from endpoint_program import Endpoint, endpoint
from homes import Home
from serving import Server, serving
from waiting import wait_for

REGISTER = "/v1/agents/register"
CONFIG = """
[registration]
share = ["parrot"]
[credentials.token]
env = "WORK_TOKEN"
hosts = ["127.0.0.1"]
[credentials.key]
env = "WORK_KEY"
hosts = ["127.0.0.1"]
key_id = "aorch-1"
[agents.parrot]
command = ["cat"]
stdin = "{text}"
capabilities.parrot = {}
"""


@pytest.fixture(scope="module")
def remote() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


@pytest.fixture
def server(own_home: Home) -> Iterator[Server]:
    """A service with CONFIG."""
    own_home.write("aorch.toml", CONFIG)
    own_home.environment |= {"WORK_TOKEN": "s3cret", "WORK_KEY": "k3y-of-thirty-two-bytes-or-more!"}
    with serving(own_home) as found:
        yield found


def worker(url: str, *capabilities: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"agent_id": "worker", "endpoint": url, "capabilities": list(capabilities) or [{"name": "work"}], **more}


def registered(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    answer = server.post(REGISTER, json=body)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def test_the_limits_of_a_registered_agent_hold_for_all_processes(
    server: Server, own_home: Home, remote: Endpoint
) -> None:
    shown = registered(server, worker(f"{remote.url}/hang", concurrency=1, rate_per_min=600))
    assert (shown["concurrency"], shown["rate_per_min"]) == (1, 600)
    sent = server.post("/v1/tasks", json={"capability": "work", "parameters": {}}).json()["contract_id"]
    wait_for(lambda: server.get("/v1/agents/worker").json()["status"] == "busy")
    shown = own_home.aorch("agents", "show", "worker", "--json").json
    assert (shown["status"], shown["concurrency"]) == ("busy", 1)
    assert server.post(f"/v1/tasks/{sent}/cancel").status_code == 200


def test_retries_are_those_of_the_registration(server: Server, own_home: Home, remote: Endpoint) -> None:
    retry = {"attempts": 2, "backoff_s": 0.01}
    capability = {"name": "work", "retry": retry}
    registered(server, worker(f"{remote.url}/overloaded", capability))
    failed = problem(ask(server, "work"), 503, "agent_busy")
    response = server.get(f"/v1/contracts/{failed['contract_id']}").json()["counterpart"]
    assert response["metadata"]["attempts"] == 2
    never = {**retry, "never": ["agent_busy"]}
    registered(server, {**worker(f"{remote.url}/overloaded", {"name": "play", "retry": never}), "agent_id": "other"})
    failed = problem(ask(server, "play"), 503, "agent_busy")
    response = server.get(f"/v1/contracts/{failed['contract_id']}").json()["counterpart"]
    assert "attempts" not in response["metadata"]
    registered(server, worker(f"{remote.url}/unauthorised", capability))
    assert "hint: Register it again with `credential`" in own_home.aorch("run", "work").err


def test_tasks_are_signed_with_a_configured_key_whose_value_no_caller_knows(server: Server, remote: Endpoint) -> None:
    registered(server, worker(f"{remote.url}/good", sign="key", credential="token"))
    headers = ask(server, "work", parameters={"text": "hi"}).json()["data"]["headers"]
    assert headers["Authorization"] == "Bearer ***"  # the agent got the token, and nobody else sees it
    assert 'keyid="aorch-1"' in headers["Signature-Input"]
    assert headers["Signature"].startswith("aorch=:")


def test_a_better_priority_gets_the_tasks_of_registered_agents(server: Server, remote: Endpoint) -> None:
    for agent_id, priority in (("spare", 5), ("main", 1)):
        capability = {"name": "work", "priority": priority}
        registered(server, {**worker(f"{remote.url}/good", capability), "agent_id": agent_id})
    assert {ask(server, "work", parameters={"text": "hi"}).json()["agent_id"] for _ in range(3)} == {"main"}


def test_a_shared_capability_is_not_preferred_to_that_of_a_configured_agent(
    server: Server, own_home: Home, remote: Endpoint
) -> None:
    for rank in ({"priority": 2}, {"weight": 1.5}):
        rejected = server.post(REGISTER, json=worker(f"{remote.url}/good", {"name": "parrot", **rank}))
        assert "parrot: configured agents have this" in problem(rejected, 422, "parameters_invalid")["detail"]
    registered(server, worker(f"{remote.url}/good", {"name": "parrot", "priority": 4}, {"name": "work", "priority": 1}))
    assert ask(server, "parrot", parameters={"text": "hi"}).json()["agent_id"] == "parrot"
    own_home.write(
        "aorch.toml",
        f"{CONFIG.replace(chr(34) + 'parrot' + chr(34), chr(34) + 'work' + chr(34))}capabilities.work = {{}}\n",
    )
    plan = own_home.aorch("run", "work", "text=hi", "--dry-run", "--json").json
    assert plan["routing"]["candidates"] == 2


INVALID = [
    ({"endpoint": None}, "endpoint"),
    ({"mcp": "http://127.0.0.1:1/mcp"}, "it has both endpoint and mcp"),
    ({"concurrency": 0}, "concurrency"),
    ({"rate_per_min": 0}, "rate_per_min"),
    ({"capabilities": [{"name": "work", "priority": 6}]}, "priority"),
    ({"capabilities": [{"name": "work", "weight": 0}]}, "weight"),
    ({"capabilities": [{"name": "work", "retry": {"attempts": 11}}]}, "attempts"),
    ({"capabilities": [{"name": "work", "retry": {"backoff_s": -1}}]}, "backoff_s"),
    ({"sign": "unknown"}, "sign: 'unknown' is not configured"),
    ({"sign": "token"}, "sign: 'token' is a token, not a key"),
    ({"credential": "key"}, "credential: 'key' is a key for signatures, which is never sent"),
    ({"expose": ["a"]}, "expose is only for an MCP server"),
    ({"trust_annotations": True}, "trust_annotations is only for an MCP server"),
    ({"refresh": "auto"}, "refresh is only for an MCP server"),
]


def test_an_invalid_registration_is_rejected_with_the_field_and_the_reason(server: Server, remote: Endpoint) -> None:
    for change, reason in INVALID:
        rejected = server.post(REGISTER, json={**worker(f"{remote.url}/good"), **change})
        assert reason in problem(rejected, 422, "parameters_invalid")["detail"]
    neither = {"agent_id": "worker", "capabilities": [{"name": "work"}]}
    rejected = server.post(REGISTER, json=neither)
    assert "neither endpoint nor mcp" in problem(rejected, 422, "parameters_invalid")["detail"]
    assert server.get("/v1/agents/worker").status_code == 404


def mcp(url: str, **more: Any) -> dict[str, Any]:
    return {"agent_id": "tools", "mcp": url, **more}


def test_an_mcp_server_is_registered_with_its_tools_and_used_by_every_process(server: Server, own_home: Home) -> None:
    from mcp_http import tools_over_http  # importing the SDK takes 0.7 s

    with tools_over_http("s3cret") as tools:
        refused = problem(server.post(REGISTER, json=mcp(tools.url)), 502, "agent_unreachable")
        assert "answered with HTTP 401: it wants a token" in refused["detail"]
        assert "Register it again with `credential`, the name of a table [credentials.NAME]" in refused["hint"]
        body = mcp(
            tools.url,
            credential="token",
            expose=["say"],
            capabilities=[{"name": "say", "idempotent": True, "description": "Repeat"}],
            concurrency=2,
        )
        shown = registered(server, body)
        assert (shown["kind"], shown["endpoint"], shown["version"]) == ("mcp", tools.url, "1.2")
        found = {each["name"]: each for each in shown["capabilities"]}
        assert {"tools.add", "tools.say", "say"} <= found.keys()
        assert (found["say"]["idempotent"], found["say"]["description"]) == (True, "Repeat")
        assert found["tools.add"]["parameters"]["required"] == ["a", "b"]
        assert ask(server, "tools.add", parameters={"a": 1, "b": 2}).json()["data"] == {"sum": 3}
        problem(ask(server, "tools.add", parameters={"a": "1"}), 422, "parameters_invalid")
        assert own_home.aorch("run", "say", "text=hi").out == "hi\nand more\n"
        assert server.client.delete("/v1/agents/tools").json()["kind"] == "mcp"
    assert "s3cret" not in repr(own_home.rows("SELECT document FROM agents"))


def test_changed_tools_of_an_mcp_server_show_until_its_owner_registers_it_again(server: Server, own_home: Home) -> None:
    from mcp_http import tools_over_http
    from mcp_tools import server as made

    def shout(text: str) -> str:
        """Shout a text."""
        return text.upper()

    with tools_over_http() as tools:
        registered(server, mcp(tools.url))
        made.add_tool(shout)
        try:
            assert ask(server, "tools.say", parameters={"text": "hi"}).status_code == 200
            wait_for(lambda: server.get("/v1/agents/tools").json()["changes"] == ["new tool shout"])
            problem(ask(server, "tools.shout", parameters={"text": "hi"}), 404, "no_agent")
            assert "changed" in own_home.aorch("agents", "list").out
            refused = own_home.aorch("agents", "refresh", "tools")
            assert (refused.code, "registering it again" in refused.err) == (2, True)
            assert registered(server, mcp(tools.url, refresh="auto"))["changes"] == []
            assert ask(server, "tools.shout", parameters={"text": "hi"}).json()["data"] == {"result": "HI"}
        finally:
            made.remove_tool("shout")
        tools.forget()
        server.post("/v1/agents/tools/check")
        names = lambda: [each["name"] for each in server.get("/v1/agents/tools").json()["capabilities"]]  # noqa: E731
        own_home.aorch("run", "tools.say", "text=hi")
        assert "tools.say" in names()


def test_a_command_records_the_changed_tools_that_it_has_seen(own_home: Home) -> None:
    from mcp_http import tools_over_http
    from mcp_tools import server as made

    def whisper(text: str) -> str:
        """Whisper a text."""
        return text.lower()

    with tools_over_http() as tools:
        with serving(own_home) as service:
            registered(service, mcp(tools.url))
        made.add_tool(whisper)
        try:
            assert own_home.aorch("run", "tools.say", "text=hi").code == 0
        finally:
            made.remove_tool("whisper")
    assert own_home.rows("SELECT changes FROM agents WHERE agent_id = 'tools'") == [('["new tool whisper"]',)]


INVALID_MCP = [
    ({"mcp": "http://127.0.0.1:1/mcp"}, 502, "could not be reached: connection refused"),
    ({"mcp": "http://169.254.169.254/mcp"}, 422, "mcp: 169.254.169.254 is a link-local address"),
    ({"mcp": "http://agents.example.invalid/mcp"}, 422, "names under .invalid never exist"),
    ({"mcp": "http://user:secret@127.0.0.1/mcp"}, 422, "it contains a user name or a password"),
    ({"mcp": ["npx", "server"]}, 422, "mcp"),
    ({"expose": ["sya"]}, 422, "expose: the MCP server has no tool 'sya'"),
    ({"capabilities": [{"name": "nothing"}]}, 422, "the MCP server has no tool 'nothing'"),
    ({"capabilities": [{"name": "say", "parameters": {"a": "string"}}]}, 422, "declares those of its tools"),
    ({"sign": "key"}, 422, "sign is only for an HTTP endpoint"),
    ({"agent_id": "parrot"}, 409, "is configured, not registered"),
]
CODES = {409: "conflict", 422: "parameters_invalid", 502: "agent_unreachable"}


def test_an_mcp_server_that_cannot_be_registered_is_rejected_with_the_reason(server: Server) -> None:
    from mcp_http import tools_over_http

    with tools_over_http() as tools:
        for change, status, reason in INVALID_MCP:
            rejected = server.post(REGISTER, json={**mcp(tools.url), **change})
            assert reason in problem(rejected, status, CODES[status])["detail"]
    assert server.get("/v1/agents/tools").status_code == 404


def test_an_mcp_server_that_goes_away_is_offline_and_comes_back(server: Server, own_home: Home) -> None:
    from mcp_http import tools_over_http

    with tools_over_http() as tools:
        registered(server, mcp(tools.url))
        wait_for(lambda: own_home.rows("SELECT state FROM agents WHERE agent_id = 'tools'") == [("available",)])
    gone = problem(ask(server, "tools.add", parameters={"a": 1, "b": 2}), 502, "agent_unreachable")
    assert "refused" in gone["detail"]
    assert server.get("/v1/agents/tools").json()["status"] == "offline"
