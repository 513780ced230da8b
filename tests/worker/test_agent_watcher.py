"""The states of remote agents: found by checks and by tasks, and the same in every process on the ledger."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from api import ask, problem
from endpoint_program import asked, endpoint
from homes import Home
from serving import Server, serving
from waiting import wait_for

CONFIG = """
[agents.near]
url = "URL/fine"
capabilities.work.retry = { attempts = 1 }
[agents.quiet]
url = "URL/fine"
health = false
capabilities.whisper.retry = { attempts = 1 }
"""


def states(server: Server) -> Iterator[Any]:
    """The events `agent` of a stream that starts now."""
    with server.client.stream("GET", "/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ":"
        yield None
        for line in lines:
            if line == "event: agent":
                yield json.loads(next(lines).removeprefix("data: "))


def status(server: Server, agent_id: str = "near") -> str:
    return str(server.get(f"/v1/agents/{agent_id}").json()["status"])


def test_an_agent_that_dies_is_offline_at_once_and_available_when_it_is_back(home: Home) -> None:
    with endpoint() as remote:
        home.write("aorch.toml", CONFIG.replace("URL", remote.url))
        with serving(home) as one, serving(home) as two:
            assert ask(one, "work").status_code == 200
            wait_for(lambda: status(two) == "available")
            wait_for(lambda: home.rows("SELECT state FROM agents WHERE agent_id = 'near'") == [("available",)])
            events = states(two)
            next(events)
            remote.kill()
            problem(ask(one, "work"), 502, "agent_unreachable")
            shown = one.get("/v1/agents/near").json()
            assert (shown["status"], "cannot be reached" in shown["problem"]) == ("offline", True)
            later = ask(one, "work")
            assert later.headers["Retry-After"] == "1"
            since = f"connection refused, offline since {shown['since']})"
            assert since in problem(later, 502, "agent_unreachable")["detail"]
            event = next(events)
            assert (event["agent_id"], event["status"]) == ("near", "offline")
            assert status(two) == "offline"
            assert "near\turl\toffline\t" in home.aorch("agents", "list").out
            with endpoint(port=remote.port):
                assert next(events)["status"] == "available"
                wait_for(lambda: ask(one, "work").status_code == 200)
            events.close()


def test_agents_check_writes_the_state(home: Home) -> None:
    with endpoint() as remote:
        home.write("aorch.toml", CONFIG.replace("URL", remote.url))
        assert home.aorch("agents", "check", "near").code == 0
        assert home.rows("SELECT agent_id, state FROM agents") == [("near", "available")]
    checked = home.aorch("agents", "check", "near")
    assert (checked.code, "cannot be reached" in checked.out) == (10, True)
    assert "near\turl\toffline\t" in home.aorch("agents", "list").out
    ((since,),) = home.rows("SELECT since FROM agents")
    assert home.aorch("agents", "show", "near", "--json").json["since"] == since


def test_the_circuit_of_an_agent_that_loses_every_task_opens_although_it_says_that_it_is_well(home: Home) -> None:
    with endpoint() as remote:
        home.write("aorch.toml", CONFIG.replace("URL/fine", f"{remote.url}/deaf"))
        with serving(home) as server, serving(home) as other:
            wait_for(lambda: status(other) == "available")
            for _ in range(5):
                problem(ask(server, "work"), 502, "agent_lost")
                problem(ask(server, "whisper"), 502, "agent_lost")
            for agent_id, capability in (("near", "work"), ("quiet", "whisper")):
                refused = problem(ask(server, capability), 502, "agent_unreachable")
                assert "its last 5 tasks were not answered; the next one is sent at 2" in refused["detail"]
                assert status(server, agent_id) == "error"
                wait_for(lambda: status(other, agent_id) == "error")  # noqa: B023
                shown = other.get(f"/v1/agents/{agent_id}").json()
                assert shown["problem"] in refused["detail"]
                problem(ask(other, capability), 502, "agent_unreachable")
                assert f"{agent_id}\turl\terror\t" in home.aorch("agents", "list").out
        assert asyncio.run(asked(remote, "/x/asked"))["/deaf/execute"] == 10


@pytest.mark.torture
def test_another_process_watches_when_the_one_that_did_has_ended(home: Home) -> None:
    with endpoint() as remote:
        home.write("aorch.toml", CONFIG.replace("URL", remote.url))
        with serving(home) as one, serving(home) as two:
            wait_for(lambda: status(two) == "available")
            one.kill()
            remote.kill()
            wait_for(lambda: status(two) == "offline")
            with endpoint(port=remote.port):
                wait_for(lambda: status(two) == "available")
