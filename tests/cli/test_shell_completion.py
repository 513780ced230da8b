"""What a shell completes, and the scripts that teach it."""

import subprocess

import pytest
from homes import Home

CONFIG = """
[agents.greeter]
command = ["echo", "{greeting}", "{name}"]
[agents.greeter.capabilities.greet]
parameters = { greeting = "string", name = "string" }
[pipelines.twice]
parameters = { text = "string" }
steps = [{ name = "a", capability = "echo", parameters = { text = "{input.text}" } }]
"""


def completed(home: Home, *words: str) -> list[str]:
    """What bash gets for the last word."""
    environment = {
        "_AORCH_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("aorch", *words)),
        "COMP_CWORD": str(len(words)),
    }
    home.environment |= environment
    try:
        return home.aorch().out.split()
    finally:
        for name in environment:
            del home.environment[name]


def test_the_parameters_of_a_capability_are_completed(home: Home) -> None:
    home.write("aorch.toml", CONFIG)
    assert completed(home, "run", "greet", "") == ["greeting=", "name="]
    assert completed(home, "run", "greet", "n") == ["name="]
    assert completed(home, "run", "greet", "greeting=hi", "") == ["name="]
    assert completed(home, "run", "echo", "") == ["text="]
    assert completed(home, "run", "nosuch", "") == []


def test_the_parameters_of_python_agents_come_from_the_cache(home: Home) -> None:
    home.write(
        "mine.py",
        "from aorch.agents import Agent, AgentCapability\n"
        "class Mine(Agent):\n"
        "    def __init__(self): super().__init__('mine', 'Mine')\n"
        "    def get_capabilities(self): return [AgentCapability('dig', parameters={'depth': 'integer'})]\n"
        "    def execute(self, task): return {'success': True}\n",
    )
    home.write("aorch.toml", '[agents.mine]\nclass = "mine:Mine"\n')
    assert completed(home, "run", "dig", "") == []
    assert home.aorch("agents", "list").code == 0
    assert completed(home, "run", "dig", "") == ["depth="]
    assert completed(home, "run", "d") == ["dig"]


def test_an_invalid_configuration_completes_nothing_and_prints_nothing(home: Home) -> None:
    home.write("aorch.toml", "[agents.x")
    assert completed(home, "run", "echo", "") == completed(home, "run", "e") == []


def test_commands_are_completed_without_aliases(home: Home) -> None:
    assert completed(home, "con") == ["contracts", "config"]
    assert completed(home, "agents", "l") == ["list"]


def test_help_completes_commands_and_subcommands(home: Home) -> None:
    assert completed(home, "help", "con") == ["contracts", "config"]
    assert completed(home, "help", "agents", "l") == ["list"]
    assert completed(home, "help", "nosuch", "") == completed(home, "help", "run", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_aorch(home: Home, shell: str) -> None:
    done = home.aorch("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"complete_{shell}" in done.out


def test_bash_understands_its_script_and_adds_no_space_after_an_equals_sign(home: Home) -> None:
    home.write("script", home.aorch("completion", "bash").out)
    home.write("aorch", f'#!/bin/sh\nexec {" ".join(home.command())} "$@"\n').chmod(0o755)
    call = (
        'COMP_WORDS=(./aorch run echo ""); COMP_CWORD=3; compopt() { echo "compopt $1 $2"; }; _aorch_completion ./aorch'
    )
    done = subprocess.run(
        ["bash", "-c", f'source ./script; {call}; echo "${{COMPREPLY[*]}}"'],
        cwd=home.folder, env=home.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("compopt -o nospace\ntext=\n", "")


def test_an_unknown_shell_exits_2(home: Home) -> None:
    assert home.aorch("completion", "tcsh").code == 2
