"""Python agents: the seed document's class as it stands there, every way of registering one, and all that one may do wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from api import SEED_AGENT
from homes import Home, Result

from aorch import Orchestrator


def agent(home: Home, body: str, *, sync: bool = False, before: str = "") -> None:
    """Register the agent `mine`, whose `execute` is that body and whose one capability is `work`."""
    text = "".join(f"        {line}\n" for line in body.splitlines())
    home.write(
        "mine.py",
        f"import asyncio, functools, sys, threading, time\nfrom aorch.agents import Agent, AgentCapability\n{before}\n"
        "class Mine(Agent):\n"
        "    def __init__(self, agent_id='mine', **more):\n"
        "        super().__init__(agent_id, 'Mine')\n"
        "        self.more = more\n"
        "    def get_capabilities(self):\n"
        "        return [AgentCapability('work')]\n"
        f"    {'' if sync else 'async '}def execute(self, task):\n{text}",
    )
    home.write("aorch.toml", '[agents.mine]\nclass = "mine:Mine"\n')


def python(home: Home, program: str, timeout: float = 30) -> Result:
    """Run a program that uses the package, as a person's own script would."""
    home.write("program.py", program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=home.folder, env=home.environment, capture_output=True, timeout=timeout
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def response(home: Home) -> tuple[Any, ...]:
    """(status of the REQUEST, status, error and result of the RESPONSE) of the one exchange in the ledger."""
    (found,) = home.rows("SELECT q.status, a.status, a.error, a.result FROM contracts q "
                         "JOIN contracts a ON a.request_id = q.contract_id")  # fmt: skip
    return found


# Registered


def test_the_seeds_agent_pasted_into_a_file_and_named_in_aorch_toml_works(home: Home) -> None:
    home.write("my_agents.py", SEED_AGENT)
    home.write("aorch.toml", '[agents.my_agent_001]\nclass = "my_agents:MyAgent"\n')
    assert home.aorch("run", "my_capability", "param1=value").out == "value\n"
    assert response(home) == ("completed", "completed", None, '{"seen":"value"}')


def test_the_seeds_agent_is_added_by_its_class(home: Home) -> None:
    home.write("my_agents.py", SEED_AGENT)
    assert home.aorch("agents", "add", "--class", "my_agents:MyAgent").code == 0
    assert home.aorch("run", "my_capability", "param1=value").out == "value\n"
    assert "my_agent_001" in home.aorch("agents", "list").out
    assert home.aorch("agents", "check").code == 0


def test_a_file_beside_aorch_toml_is_found_from_a_folder_below(home: Home) -> None:
    home.write("my_agents.py", SEED_AGENT)
    home.write("aorch.toml", '[agents.my_agent_001]\nclass = "my_agents:MyAgent"\n')
    (home.folder / "deep" / "down").mkdir(parents=True)
    done = subprocess.run(
        home.command("run", "my_capability", "param1=a"),
        cwd=home.folder / "deep" / "down",
        env=home.environment,
        capture_output=True,
        timeout=30,
    )
    assert done.stdout == b"a\n"


def test_a_class_is_given_its_keyword_arguments(home: Home) -> None:
    agent(home, "return {'success': True, 'data': self.more}")
    home.write(
        "aorch.toml", '[agents.other]\nclass = "mine:Mine"\narguments = {agent_id = "other", n = 3, to = ["a"]}\n'
    )
    assert home.aorch("run", "work").json == {"n": 3, "to": ["a"]}


def test_an_installed_package_brings_its_agents_by_an_entry_point(home: Home) -> None:
    site = home.folder / "site"
    (site / "my_agents-1.0.dist-info").mkdir(parents=True)
    home.write("site/my_agents.py", SEED_AGENT)
    home.write("site/my_agents-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: my-agents\nVersion: 1.0\n")
    entries = "[aorch.agents]\nmine = my_agents:MyAgent\nbroken = my_agents:NotThere\n"
    home.write("site/my_agents-1.0.dist-info/entry_points.txt", entries)
    home.environment["PYTHONPATH"] = str(site)
    assert home.aorch("run", "my_capability", "param1=value").out == "value\n"
    checked = home.aorch("agents", "check")
    assert checked.code == 10
    assert "my_agent_001\tyes" in checked.out
    assert "broken\tno\tmy_agents:NotThere could not be loaded" in checked.out


def test_an_agent_registered_in_code_works_until_its_id_is_taken(home: Home) -> None:
    home.write("my_agents.py", SEED_AGENT)
    home.write("aorch.toml", '[agents.my_agent_001]\nclass = "my_agents:MyAgent"\n')
    done = python(
        home,
        """
import asyncio
from aorch import AorchError, Orchestrator
from my_agents import MyAgent

async def main():
    async with Orchestrator() as orchestrator:
        orchestrator.register_agent(MyAgent())  # in the place of the declared one
        task = {"capability": "my_capability", "parameters": {"param1": "value"}}
        answer = await orchestrator.orchestrate(session_id="s", task=task)
        print(answer["success"], answer["data"], answer["agent_id"])
        try:
            orchestrator.register_agent(MyAgent())
        except AorchError as error:
            print(error.code, error)

asyncio.run(main())
""",
    )
    assert done.err == ""
    assert done.out == "True {'seen': 'value'} my_agent_001\nconflict two agents have the ID 'my_agent_001'\n"


# Classes that cannot be loaded


@pytest.mark.parametrize(
    ("class_path", "said"),
    [
        ("no_such_module:Mine", "ModuleNotFoundError"),
        ("mine:NoSuchClass", "NoSuchClass"),
        ("mine", "module:Class"),
        ("mine:AgentCapability", "not a class that extends"),
        ("needy:Needy", "missing 1 required positional argument: 'key'"),
        ("broken:Broken", "SyntaxError"),
        ("raising:Raising", "RuntimeError: no licence"),
        ("leaving:Leaving", "SystemExit"),
    ],
)
def test_a_class_that_does_not_load_is_told_and_the_others_still_work(home: Home, class_path: str, said: str) -> None:
    agent(home, "return {'success': True, 'data': 'works'}")
    home.write("needy.py", "from mine import Mine\nclass Needy(Mine):\n    def __init__(self, key): pass\n")
    home.write("broken.py", "class Broken(\n")
    home.write("raising.py", "raise RuntimeError('no licence')\n")
    home.write("leaving.py", "raise SystemExit(0)\n")
    home.write("aorch.toml", f'[agents.mine]\nclass = "mine:Mine"\n[agents.bad]\nclass = "{class_path}"\n')
    assert home.aorch("run", "work").out == "works\n"
    checked = home.aorch("agents", "check", "--json")
    assert checked.code == 10
    by_id = {each["agent_id"]: each for each in checked.json["agents"]}
    assert by_id["mine"]["ok"]
    assert not by_id["bad"]["ok"]
    assert said in by_id["bad"]["problem"]
    assert "Not loaded: bad" in home.aorch("run", "something_else").err


def test_two_agents_with_one_id_are_a_conflict(home: Home) -> None:
    agent(home, "return {'success': True, 'data': 'works'}")
    home.write(
        "aorch.toml",
        '[agents.agent_example_001]\nclass = "mine:Mine"\narguments = {agent_id = "agent_example_001"}\n',
    )
    done = home.aorch("run", "work")
    assert (done.code, done.out) == (13, "")
    assert "two agents have the ID 'agent_example_001'" in done.err
    assert home.aorch("agents", "remove", "agent_example_001").code == 0
    assert home.aorch("run", "echo", "text=a").code == 0


def test_an_agent_added_a_second_time_is_a_conflict(home: Home) -> None:
    home.write("my_agents.py", SEED_AGENT)
    assert home.aorch("agents", "add", "--class", "my_agents:MyAgent").code == 0
    again = home.aorch("agents", "add", "--class", "my_agents:MyAgent")
    assert again.code == 13
    assert "my_agent_001" in again.err


def test_a_class_whose_table_bears_another_id_is_told_how_to_name_it(home: Home) -> None:
    agent(home, "return {'success': True}")
    home.write("aorch.toml", '[agents.yours]\nclass = "mine:Mine"\n')
    checked = home.aorch("agents", "check")
    assert checked.code == 10
    assert "rename its table to [agents.mine]" in checked.out


# What an agent's own code may do


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('the reason')", "ValueError: the reason (mine.py, line 11)"),
        ("sys.exit('leave')", "SystemExit('leave') (mine.py, line 11)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt() (mine.py, line 11)"),
        ("raise StopIteration", "StopIteration"),
        ("raise asyncio.CancelledError", "cancelled itself"),
        ("raise Unspeakable", "Unspeakable"),
    ],
)
def test_whatever_an_agent_raises_is_a_failure_that_says_where(home: Home, body: str, said: str, sync: bool) -> None:
    if sync and "Cancelled" in body:
        said = "CancelledError"
    agent(home, body, sync=sync, before="class Unspeakable(Exception): __str__ = None")
    done = home.aorch("run", "work")
    assert (done.code, done.out) == (10, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert response(home)[:2] == ("failed", "failed")
    assert said in response(home)[2]


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize(
    ("body", "sync"),
    [
        ("await asyncio.sleep(60)", False),
        ("time.sleep(60)", True),
        ("try:\n    await asyncio.sleep(60)\nexcept asyncio.CancelledError:\n    return {'success': True}", False),
        ("await asyncio.to_thread(threading.Event().wait, 1)", False),
    ],
    ids=["async", "sync", "answers when cancelled", "in a thread that it waits for"],
)
def test_an_agent_that_hangs_times_out(home: Home, body: str, sync: bool) -> None:
    agent(home, body, sync=sync)
    done = home.aorch("run", "work", "--timeout", "0.3", timeout=10)
    assert (done.code, done.err) == (5, "error: mine gave no answer within 0.3 s\n")
    assert response(home) == ("failed", "failed", "mine gave no answer within 0.3 s", None)


@pytest.mark.torture
@pytest.mark.usefixtures("no_leftovers")
def test_an_agent_that_swallows_its_cancellation_again_and_again_is_left_alone(home: Home) -> None:
    agent(
        home, "while True:\n    try:\n        await asyncio.sleep(60)\n    except asyncio.CancelledError:\n        pass"
    )
    done = home.aorch("run", "work", "--timeout", "0.3", timeout=20)
    assert (done.code, done.err) == (5, "error: mine gave no answer within 0.3 s\n")
    assert response(home)[:2] == ("failed", "failed")


def test_a_thread_that_an_agent_waits_for_does_not_hold_up_the_answer_after_the_timeout(home: Home) -> None:
    agent(home, "await asyncio.to_thread(work)", before="def work(): time.sleep(2); open('finished', 'w').close()")
    assert home.aorch("run", "work", "--timeout", "0.2").code == 5
    assert not (home.folder / "finished").exists()


def test_an_async_agent_that_blocks_the_loop_is_interrupted_by_a_second_ctrl_c(
    home: Home, wait_for: Callable[[Callable[[], Any]], Any]
) -> None:
    agent(home, "open('started', 'w').close()\ntime.sleep(2)\nopen('finished', 'w').close()\nreturn {'success': True}")
    running = home.start("run", "work")
    wait_for((home.folder / "started").exists)
    running.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(timeout=0.2)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert not (home.folder / "finished").exists()
    assert running.returncode == 130
    assert response(home)[:2] == ("cancelled", "cancelled")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("None", "answered with NoneType"),
        ("'done'", "answered with str"),
        ("['success']", "answered with list"),
        ("{'data': 1}", "answered with dict"),
        ("{'success': 'yes'}", "answered with dict"),
        ("{'success': False}", "no reason given"),
        ("{'success': False, 'error': 'my reason\\x00\\ud800'}", "my reason�"),
        ("{'success': False, 'error': {'code': 7}}", "7"),
        ("{'success': True, 'data': object()}", "cannot be stored"),
        ("{'success': True, 'data': {(1, 2): 3}}", "cannot be stored"),
        ("{'success': True, 'data': lambda: 1}", "cannot be stored"),
        ("(a := [], a.append(a), {'success': True, 'data': a})[2]", "cannot be stored"),
        ("{'success': True, 'data': functools.reduce(lambda a, _: [a], range(5000), '\\x00')}", "cannot be stored"),
    ],
)
def test_an_answer_that_is_invalid_or_cannot_be_stored_is_a_failure(home: Home, answer: str, said: str) -> None:
    agent(home, f"return {answer}")
    done = home.aorch("run", "work")
    assert done.code == 10
    assert said in done.err
    assert "Traceback" not in done.err
    assert response(home)[:2] == ("failed", "failed")
    assert said in response(home)[2]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("None", "null"),
        ("[]", "[]"),
        ("{'nan': float('nan'), 'big': 10**30}", '{"nan":null,"big":1000000000000000000000000000000}'),
        ("'a\\x00b\\ud800'", '"a�b�"'),
    ],
)
def test_data_is_kept_as_json(home: Home, data: str, kept: str) -> None:
    agent(home, f"return {{'success': True, 'data': {data}}}")
    assert home.aorch("run", "work").code == 0
    assert response(home) == ("completed", "completed", None, kept)


def test_sync_agents_run_in_threads_side_by_side_and_the_loop_stays_free(home: Home) -> None:
    agent(home, "met.wait(10)\nreturn {'success': True}", sync=True, before="met = threading.Barrier(3)")
    done = python(
        home,
        """
import asyncio
from aorch import Orchestrator

async def main():
    async with Orchestrator() as orchestrator:
        async def ask():
            return await orchestrator.orchestrate(session_id="s", task={"capability": "work"})
        print([answer["success"] for answer in await asyncio.gather(ask(), ask(), ask())])

asyncio.run(main())
""",
    )
    assert (done.out, done.err) == ("[True, True, True]\n", "")


# Agents that ask agents

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
        answer = asyncio.run_coroutine_threadsafe(asked, self.orchestrator.loop).result(10)
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
    assert os.listdir(home.folder / "ledger.db-owners") == []


async def test_a_parent_that_is_not_in_the_ledger_is_refused(orchestrator: Orchestrator) -> None:
    parent = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    answer = await orchestrator.orchestrate(
        "s", {"capability": "echo", "parameters": {"text": "a"}, "parent_id": parent}
    )
    assert not answer["success"]
    assert f"{parent} is not a REQUEST in the ledger" in str(answer["error"])
    assert [contract["status"] for contract in await orchestrator.get_contracts("s")] == ["failed", "failed"]
