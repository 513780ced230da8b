"""The seed document's own examples: a client that was written for it works unchanged, and the first of them is `curl`."""

import json
import re
import subprocess
from typing import Any

import shared
from api import ask, problem
from homes import Home
from ports import free_port
from serving import Server, serving

from aorch.ledger.record import FIELDS

ANSWER = {"success", "data", "error", "contract_id", "agent_id", "session_id", "timestamp"}


home, server = shared.home, shared.server


def curl(*arguments: str) -> Any:
    """What `curl` prints, which must be JSON."""
    done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, timeout=30, check=True)
    return json.loads(done.stdout)


def test_the_manual_testing_works_as_it_stands(server: Server) -> None:
    assert curl(f"{server.url}/v1/health")["status"] == "healthy"
    assert curl(f"{server.url}/v1/agents")["agents"]
    answer = curl(
        *("-X", "POST", f"{server.url}/v1/orchestrate", "-H", "Content-Type: application/json"),
        *("-d", '{"session_id": "test", "capability": "echo", "parameters": {"text": "hi"}}'),
    )
    assert answer["success"] is True
    assert answer["data"] == {"message": "Echo: hi"}


def test_the_custom_agent_is_called_by_the_seed_s_curl(server: Server) -> None:
    answer = curl(
        *("-X", "POST", f"{server.url}/v1/orchestrate"),
        *("-H", "Content-Type: application/json"),
        *(
            "-d",
            """{
    "session_id": "session_001",
    "capability": "my_capability",
    "parameters": {"param1": "value"}
  }""",
        ),
    )
    assert answer["success"] is True
    assert answer["data"] == {"seen": "value"}
    assert answer["agent_id"] == "my_agent_001"


def test_the_list_of_agents_has_the_seed_s_fields(server: Server) -> None:
    listed = curl(f"{server.url}/v1/agents")
    example = next(agent for agent in listed["agents"] if agent["agent_id"] == "agent_example_001")
    assert (example["name"], example["status"]) == ("Example Agent", "available")
    told = [(capability["name"], capability["description"]) for capability in example["capabilities"]]
    assert told == [("echo", "Echo text back"), ("uppercase", "Convert to uppercase")]
    assert listed["total"] == len(listed["agents"]) == 6


def test_the_exchange_is_answered_and_listed_in_the_seed_s_words(server: Server) -> None:
    body = '{"session_id": "seed", "capability": "echo", "parameters": {"text": "Hello, world!"}}'
    answer = curl("-X", "POST", f"{server.url}/v1/orchestrate", "-H", "Content-Type: application/json", "-d", body)
    assert set(answer) == ANSWER
    assert answer["success"] is True
    assert answer["data"] == {"message": "Echo: Hello, world!"}
    assert answer["agent_id"] == "agent_example_001"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["timestamp"])
    listed = curl(f"{server.url}/v1/contracts?session_id=seed")
    asked, answered = listed["contracts"]
    assert listed["total"] == 2
    assert set(asked) == set(answered) == set(FIELDS)
    seed = ("contract_type", "from_agent", "to_agent", "status")
    assert [asked[name] for name in seed] == ["REQUEST", "orchestrator", "agent_example_001", "completed"]
    assert [answered[name] for name in seed] == ["RESPONSE", "agent_example_001", "orchestrator", "completed"]
    assert (asked["contract_id"], asked["capability"]) == (answer["contract_id"], "echo")
    assert answered["result"] == {"message": "Echo: Hello, world!"}


def test_the_status_has_the_parts_of_the_seed_s_system(server: Server) -> None:
    ask(server, session="status")
    said = curl(f"{server.url}/v1/status")
    assert set(said) == {"orchestrator", "ledger", "configuration", "agents", "contracts", "exchanges", "integrations"}
    assert said["orchestrator"] == "healthy"
    agents = said["agents"]
    assert agents["total"] == len(agents["registered"]) == sum(agents["by_status"].values()) == 6
    assert agents["registered"] == curl(f"{server.url}/v1/agents")["agents"]
    assert agents["by_status"]["error"] == 1
    assert set(said["contracts"]) == {"total_sessions", "total_contracts", "by_status"}
    assert sum(said["contracts"]["by_status"].values()) == said["contracts"]["total_contracts"] > 0
    assert set(said["integrations"]) == {"memagent", "trace", "all_healthy", "details"}


def test_the_seed_s_own_client_checks_pass_with_its_services_down(bare_home: Home) -> None:
    """Health, agents, echo, uppercase, contracts and status, as the original's test suite asks for them, one after another."""
    closed = f"http://127.0.0.1:{free_port()}"
    bare_home.environment |= {"TRACE_URL": closed, "MEMAGENT_URL": closed}
    with serving(bare_home) as server:
        orchestrate, session = f"{server.url}/v1/orchestrate", "test_session_001"

        def done(capability: str, text: str) -> Any:
            body = json.dumps({"session_id": session, "capability": capability, "parameters": {"text": text}})
            return curl("-X", "POST", orchestrate, "-H", "Content-Type: application/json", "-d", body)

        health = curl(f"{server.url}/v1/health")
        assert (health["status"], bool(health["service"]), bool(health["version"])) == ("healthy", True, True)
        agents = curl(f"{server.url}/v1/agents")
        assert agents["total"] == len(agents["agents"]) == 1
        assert [each["name"] for each in agents["agents"][0]["capabilities"]] == ["echo", "uppercase"]
        echo = done("echo", "Hello, Agent Orchestrator!")
        assert (echo["success"], echo["data"]) == (True, {"message": "Echo: Hello, Agent Orchestrator!"})
        upper = done("uppercase", "hello world")
        assert (upper["success"], upper["data"], upper["data"]["result"]) == (
            True,
            {"result": "HELLO WORLD"},
            "HELLO WORLD",
        )
        listed = curl(f"{server.url}/v1/contracts?session_id={session}")
        assert (listed["session_id"], listed["total"], len(listed["contracts"])) == (session, 4, 4)
        assert [(each["contract_type"], each["status"], each["result"]) for each in listed["contracts"]] == [
            (kind, "completed", answer["data"]) for answer in (echo, upper) for kind in ("REQUEST", "RESPONSE")
        ]
        by_agent = curl(f"{server.url}/v1/contracts?session_id={session}&from_agent=agent_example_001")
        assert {each["contract_type"] for each in by_agent["contracts"]} == {"RESPONSE"}
        status = curl(f"{server.url}/v1/status")
        assert status["orchestrator"] == "healthy"
        (agent,) = status["agents"]["registered"]
        assert (agent["agent_id"], agent["name"], agent["status"]) == (
            "agent_example_001",
            "Example Agent",
            "available",
        )
        assert (agent["tasks_completed"], agent["tasks_failed"]) == (2, 0)
        assert (status["contracts"]["total_contracts"], status["contracts"]["total_sessions"]) == (4, 1)
        services = status["integrations"]
        assert (services["trace"], services["memagent"], services["all_healthy"]) == (False, False, False)
        assert {each["listening"] for each in services["details"].values()} == {False}
        assert services["details"]["trace"]["due"] == 4
        assert server.client.get("/v1", follow_redirects=True).json()["service"] == "aorch"


def test_a_task_without_a_session_is_refused_but_in_the_queue(server: Server) -> None:
    task = {"capability": "echo", "parameters": {"text": "hi"}}
    assert "session_id" in problem(server.post("/v1/orchestrate", json=task), 422, "parameters_invalid")["detail"]
    assert server.post("/v1/tasks", json=task).json()["session_id"]
