"""How a Python agent is registered, and what happens if its class cannot be loaded."""

import subprocess

import pytest
from api import SEED_AGENT
from homes import Home
from python_agents import agent, python, response

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
    assert "broken\tno\tcannot load my_agents:NotThere" in checked.out


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
        ("mine", "it defines no function with @capability"),
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
