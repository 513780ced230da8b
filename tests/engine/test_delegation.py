"""Python agents that delegate tasks to other agents."""

from homes import Home, Result
from ledger_state import owner_count
from python_agents import python
from waiting import wait_for

from aorch import Orchestrator

TREE = """
import asyncio
from aorch import Agent, AgentCapability, Orchestrator

class Asking(Agent):
    def __init__(self, agent_id, orchestrator, capability, asks, sync=False):
        super().__init__(agent_id, agent_id)
        self.orchestrator, self.capability, self.asks = orchestrator, capability, asks
    def get_capabilities(self):
        return [AgentCapability(self.capability)]
    async def execute(self, task):
        answer = await self.orchestrator.orchestrate(session_id=task["session_id"], task=self.asks(task))
        return {"success": answer["success"], "data": answer["data"], "error": answer["error"]}

class AskingFromThread(Asking):
    def execute(self, task):
        asked = self.orchestrator.orchestrate(session_id=task["session_id"], task=self.asks(task))
        answer = asyncio.run_coroutine_threadsafe(asked, self.orchestrator.loop).result(30)
        return {"success": answer["success"], "data": answer["data"], "error": answer["error"]}

async def main():
    async with Orchestrator() as orchestrator:
        orchestrator.loop = asyncio.get_running_loop()
        %s
        answer = await orchestrator.orchestrate(session_id="tree", task={"capability": "top", "parameters": {"n": 0}})
        print(answer["success"], answer["error"])

asyncio.run(main())
"""

REQUESTS = (
    "SELECT q.capability, q.from_agent, q.to_agent, p.capability, q.status FROM contracts q "
    "LEFT JOIN contracts p ON p.contract_id = q.parent_id WHERE q.contract_type = 'REQUEST' ORDER BY q.position"
)


def tree(home: Home, agents: str) -> Result:
    return python(home, TREE % "\n        ".join(agents.split("\n")))


def test_an_agent_that_asks_another_stands_above_it_in_the_ledger(home: Home) -> None:
    done = tree(
        home,
        'orchestrator.register_agent(Asking("a", orchestrator, "top", lambda task: {"capability": "middle"}))\n'
        'orchestrator.register_agent(AskingFromThread("b", orchestrator, "middle", '
        'lambda task: {"capability": "echo", "parameters": {"text": "x"}}))',
    )
    assert (done.out, done.err) == ("True None\n", "")
    assert home.rows(REQUESTS) == [
        ("top", "orchestrator", "a", None, "completed"),
        ("middle", "a", "b", "top", "completed"),
        ("echo", "b", "agent_example_001", "middle", "completed"),
    ]
    assert home.rows("SELECT capability, from_agent, to_agent FROM contracts WHERE contract_type = 'RESPONSE' "
                     "ORDER BY position") == [
        ("echo", "agent_example_001", "b"), ("middle", "b", "a"), ("top", "a", "orchestrator")
    ]  # fmt: skip


def test_delegation_in_a_circle_is_refused(home: Home) -> None:
    done = tree(
        home,
        'orchestrator.register_agent(Asking("a", orchestrator, "top", lambda task: {"capability": "middle"}))\n'
        'orchestrator.register_agent(Asking("b", orchestrator, "middle", '
        'lambda task: {"capability": "top", "parameters": {"n": 0}}))',
    )
    assert done.out.startswith("False a cycle: ")
    assert "asks for top with the same parameters" in done.out
    assert done.err == ""
    assert [row[0] for row in home.rows(REQUESTS)] == ["top", "middle", "top"]
    assert home.rows("SELECT count(*) FROM contracts WHERE status = 'failed'") == [(6,)]


def test_delegation_that_grows_without_end_stops_at_the_depth_limit(home: Home) -> None:
    home.write("aorch.toml", "max_depth = 4\n")
    deeper = 'lambda task: {"capability": "top", "parameters": {"n": task["parameters"]["n"] + 1}}'
    done = tree(home, f'orchestrator.register_agent(Asking("a", orchestrator, "top", {deeper}))')
    assert done.out == "False delegated 4 levels deep; the limit is 4 (max_depth)\n"
    assert done.err == ""
    assert home.rows("SELECT count(*), count(parent_id) FROM contracts WHERE contract_type = 'REQUEST'") == [(5, 4)]


def test_an_agent_that_would_wait_for_its_own_only_place_is_refused_and_leaves_nothing_open(home: Home) -> None:
    deeper = 'lambda task: {"capability": "top", "parameters": {"n": task["parameters"]["n"] + 1}}'
    done = tree(
        home,
        f'agent = Asking("a", orchestrator, "top", {deeper})\nagent.concurrency = 1\norchestrator.register_agent(agent)',
    )
    assert done.out == "False a calls itself and runs at most 1 at a time, so it would wait for itself forever\n"
    assert done.err == ""
    assert [row[4] for row in home.rows(REQUESTS)] == ["failed", "failed"]
    assert home.rows("SELECT count(*) FROM contracts WHERE contract_type = 'RESPONSE'") == [(2,)]
    wait_for(lambda: owner_count(home.ledger) == 0)


async def test_a_parent_that_is_not_in_the_ledger_is_refused(orchestrator: Orchestrator) -> None:
    parent = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    answer = await orchestrator.orchestrate(
        "s", {"capability": "echo", "parameters": {"text": "a"}, "parent_id": parent}
    )
    assert not answer["success"]
    assert f"{parent} is not a REQUEST in the ledger" in str(answer["error"])
    assert [contract["status"] for contract in await orchestrator.get_contracts("s")] == ["failed", "failed"]
