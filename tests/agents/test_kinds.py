"""A table `[agents.ID]` declares an agent of one kind, which its key selects; whatever is wrong with it is named."""

import tomllib
from pathlib import Path

import pytest
from homes import Home

from aorch import Agent
from aorch.agents import kinds
from aorch.config.settings import Config
from aorch.errors import ConfigInvalid

CAPABLE = "\n[agents.a.capabilities.c]\n"


def agents_of(text: str) -> list[Agent]:
    """The agents that a configuration with this text makes."""
    return list(kinds.configured(Config(Path("ledger.db"), agents=tomllib.loads(text)["agents"])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agents = {a = 3}", "agents.a is not a table"),
        ("[agents.a]", "agents.a has no key that selects the kind of agent"),
        (
            f"[agents.a]\ncommand = ['cat']\nclass = 'm:C'{CAPABLE}",
            "agents.a has `class` and `command`, which select different kinds of agents",
        ),
        (
            "[agents.a]\nclass = 'm:C'\nstdin = '{text}'",
            "agents.a.stdin: a Python class (`class`) does not have this key; a program (`command`) does",
        ),
        (
            f"[agents.a]\nclass = 'm:C'{CAPABLE}",
            "agents.a.capabilities: a Python class (`class`) does not have this key",
        ),
        (
            f"[agents.a]\ncommand = ['cat']\narguments = {{}}{CAPABLE}",
            "agents.a.arguments: a program (`command`) does not have this key; a Python class (`class`) does",
        ),
        (f"[agents.a]\ncommand = ['cat']\ncolour = 1{CAPABLE}", "unknown key agents.a.colour"),
        ("[agents.a]\nclass = 'm:C'\ncolour = 1", "unknown key agents.a.colour"),
        ("[agents.a]\nclass = 3", "agents.a.class: expected a string, got an integer"),
        (f"[agents.a]\ncommand = 'cat'{CAPABLE}", "agents.a.command: expected a list, got a string"),
        ("[agents.a]\ncommand = ['cat']", "agents.a needs a program in `command` and at least one capability"),
        (f"[agents.a]\ncommand = []{CAPABLE}", "agents.a needs a program in `command` and at least one capability"),
        (f"[agents.a]\ncommand = ['cat']\nok_exit_codes = []{CAPABLE}", "agents.a.ok_exit_codes is empty"),
        (
            f"[agents.a]\ncommand = ['cat']\nok_exit_codes = [256]{CAPABLE}",
            "agents.a.ok_exit_codes[0]: expected an integer <= 255",
        ),
        (f"[agents.a]\ncommand = ['cat']\ntimeout_s = 0{CAPABLE}", "agents.a.timeout_s is 0"),
        (f"[agents.a]\ncommand = ['cat']\ntimeout_s = nan{CAPABLE}", "agents.a.timeout_s is nan"),
        (f"[agents.a]\ncommand = ['cat']\nconcurrency = 10e18{CAPABLE}", "agents.a.concurrency"),
        ("[agents.a]\nclass = 'm:C'\nconcurrency = -1", "agents.a.concurrency is -1"),
        (f"[agents.a]\ncommand = ['cat']\nmax_output_bytes = 0{CAPABLE}", "agents.a.max_output_bytes is 0"),
        ("[agents.a]\ncommand = ['cat']\n[agents.a.capabilities.'']", "agents.a has a capability without a name"),
        ("[agents.a]\nmcp = []", "agents.a.mcp is empty"),
        ("[agents.a]\nmcp = 'npx server'", "agents.a.mcp is not a valid URL"),
        ("[agents.a]\nmcp = 'https://ann:secret@a.example/mcp'", "agents.a.mcp must not contain a user or a password"),
        ("[agents.a]\nmcp = ['npx']\nheaders = {A = 'b'}", "agents.a.headers is for a server that is a URL"),
        (
            "[agents.a]\nmcp = 'https://a.example/mcp'\nenv = {A = 'b'}",
            "agents.a.env is for a server that is a program",
        ),
        ("[agents.a]\nmcp = ['npx']\nrefresh = 'daily'", "agents.a.refresh: invalid value 'daily'"),
        (
            "[agents.a]\nmcp = ['npx']\n[agents.a.capabilities.c]\nparameters = {a = 'string'}",
            "agents.a.capabilities.c.parameters: the server declares the parameters of its tools",
        ),
        ("[agents.a]\ncommand = ['cat']\n[agents.a.capabilities.c]\nparams = {}", "agents.a.capabilities.c.params"),
    ],
)
def test_an_invalid_table_is_rejected_by_key_and_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        agents_of(text)
    assert message in str(raised.value)


def test_a_command_that_uses_agents_names_the_file_of_an_invalid_table_and_others_still_work(home: Home) -> None:
    home.write("aorch.toml", "[agents.a]\nclass = 'm:C'\nstdin = ''\n")
    for command in (("run", "echo", "text=a"), ("agents", "list"), ("agents", "check"), ("status",)):
        failed = home.aorch(*command)
        assert (failed.code, failed.err.startswith(f"error: {home.folder}/aorch.toml: agents.a.stdin: ")) == (2, True)
    assert home.aorch("contracts", "list").code == 0
    assert home.aorch("agents", "remove", "a").code == 0
    assert home.aorch("run", "echo", "text=a").code == 0


def test_what_the_table_of_a_class_sets_overrides_what_the_class_sets(tmp_path: Path, home: Home) -> None:
    home.write(
        "mine.py",
        "from aorch.agents import Agent, AgentCapability\n"
        "class Mine(Agent):\n"
        "    timeout_s, concurrency = 1, 1\n"
        "    def __init__(self):\n"
        "        super().__init__('mine', 'Mine', 'first')\n"
        "    def execute(self, task):\n"
        "        return {'success': True}\n"
        "    def get_capabilities(self):\n"
        "        return [AgentCapability('dig')]\n",
    )
    home.write("aorch.toml", "[agents.mine]\nclass = 'mine:Mine'\nname = 'Ours'\ndescription = 'second'\n")
    agent = home.aorch("agents", "show", "mine", "--json").json
    assert (agent["name"], agent["description"]) == ("Ours", "second")


def test_every_kind_has_its_own_key_and_options() -> None:
    every = kinds.all_kinds()
    assert [kind.key for kind in every] == list(kinds.MODULES)
    flags = [option.flag for kind in every for option in kind.options]
    assert len(set(flags)) == len(flags)
