"""`aorch agents` and `aorch status`: the agents, their capabilities and states."""

import socket
from pathlib import Path

import pytest
from homes import Home
from ledgers import exists
from terminal import at_terminal, plain

GREET = (
    "agents",
    "add",
    "greet",
    "--capability",
    "greet",
    "--param",
    "name=string",
    "--",
    "echo",
    "hello {name}",
    "-n",
)


def test_a_program_becomes_an_agent_and_works_at_once(home: Home) -> None:
    added = home.aorch(*GREET)
    assert (added.code, added.out) == (0, f"greet added to {home.folder}/aorch.toml\n")
    assert home.aorch("run", "greet", "name=Ann; rm -rf /").out == "hello Ann; rm -rf / -n\n"


def test_comments_and_order_of_the_file_are_kept(home: Home) -> None:
    before = '# mine\ntimeout_s = 5 # short\n\n[agents.a] # first\ncommand = ["true"]\n[agents.a.capabilities.go]\n'
    home.write("aorch.toml", before)
    home.aorch(*GREET)
    assert (home.folder / "aorch.toml").read_text().startswith(before)
    home.aorch("agents", "remove", "greet")
    assert (home.folder / "aorch.toml").read_text().strip() == before.strip()


def test_a_file_is_created_here_if_none_is_in_use(home: Home) -> None:
    (home.folder / "aorch.toml").unlink()
    assert home.aorch(*GREET).out == f"greet added to {home.folder}/aorch.toml\n"
    assert home.aorch("run", "greet", "name=Ann").code == 0


def test_the_agent_is_added_to_the_users_own_file_if_that_is_in_use(home: Home) -> None:
    (home.folder / "config/aorch").mkdir(parents=True)
    (home.folder / "aorch.toml").rename(home.folder / "config/aorch/aorch.toml")
    assert home.aorch(*GREET).out == f"greet added to {home.folder}/config/aorch/aorch.toml\n"
    assert home.aorch("run", "greet", "name=Ann").code == 0


def test_an_id_that_aorch_itself_uses_is_rejected(home: Home) -> None:
    assert home.aorch("agents", "add", "agent_example_001", "--capability", "c", "--", "true").code == 13
    assert home.aorch("run", "echo", "text=a").code == 0


def test_an_agent_that_cannot_run_tasks_yet_is_added_with_a_warning(home: Home) -> None:
    added = home.aorch("agents", "add", "later", "--capability", "c", "--", "no-such-program")
    assert added.code == 0
    assert added.err.startswith("warning: later cannot run tasks yet: its program 'no-such-program' is not on PATH")


def test_what_an_agent_prints_is_not_part_of_the_result(home: Home) -> None:
    home.write(
        "noisy.py",
        "print('imported')\n"
        "from aorch.agents import Agent, AgentCapability\n"
        "class Noisy(Agent):\n"
        "    def __init__(self):\n"
        "        super().__init__('noisy', 'Noisy')\n"
        "    def execute(self, task):\n"
        "        print('at work')\n"
        "        return {'success': True, 'data': [1]}\n"
        "    def get_capabilities(self):\n"
        "        return [AgentCapability('shout')]\n",
    )
    home.write("aorch.toml", '[agents.noisy]\nclass = "noisy:Noisy"\n')
    done = home.aorch("run", "shout")
    assert done.out == "[1]\n"
    assert done.err == "imported\nat work\n"
    assert home.aorch("agents", "list", "--json").json["total"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("greet", "--", "echo"), 2, "the agent needs --capability"),
        (("greet", "--capability", "g"), 2, "the command line does not select the kind of agent to add"),
        (("--class", "a:A", "--stdin", "x"), 2, "--stdin cannot be used for a Python class"),
        (("g", "--class", "a:A", "--", "echo"), 2, "an agent cannot be both a Python class and a program"),
        (("g", "--capability", "g", "--argument", "a=b", "--", "echo"), 2, "--argument cannot be used for a program"),
        (("greet", "--capability", "g", "--param", "text", "--", "echo"), 2, "Write --param text=string."),
        (("greet", "--capability", "g", "--param", "text=strng", "--", "echo"), 2, "unknown type 'strng'"),
        (("--class", "nowhere:Agent"), 2, "cannot load nowhere:Agent: ModuleNotFoundError"),
        (("--class", "json:JSONDecoder"), 2, "not a class that extends aorch.agents.Agent"),
        (("greet", "--capability", "g", "--timeout", "0", "--", "echo"), 2, "agents.greet.timeout_s is 0.0"),
        (("files", "--mcp"), 2, "--mcp names neither a URL nor a program after --"),
        (("files", "--mcp", "http://a.example/mcp", "--", "npx"), 2, "--mcp names both a URL and a program"),
        (("--mcp", "--", "npx", "-y", "server"), 2, "the agent needs an ID"),
        (("files", "--capability", "c", "--mcp", "--", "npx"), 2, "--capability cannot be used for an MCP server"),
        (("greet", "--capability", "", "--", "echo"), 2, "a capability without a name"),
        (("a b", "--capability", "g", "--", "echo"), 2, "invalid agent ID 'a b'"),
        (("g", "--capability", "g", "--env", "FOO", "--", "echo"), 2, "Write --env FOO=VALUE."),
    ],
)
def test_options_that_describe_no_agent_are_rejected(
    home: Home, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    done = home.aorch("agents", "add", *arguments)
    assert done.code == code
    assert reason in done.err
    assert (home.folder / "aorch.toml").read_text() == ""


def test_an_id_in_use_is_a_conflict(home: Home) -> None:
    home.aorch(*GREET)
    done = home.aorch(*GREET)
    assert done.code == 13
    assert "Remove it first with `aorch agents remove greet`." in done.err


def test_an_agent_that_is_not_declared_cannot_be_removed_or_shown(home: Home) -> None:
    built_in = home.aorch("agents", "remove", "agent_example_001")
    assert (built_in.code, "is built in" in built_in.err) == (12, True)
    assert home.aorch("agents", "show", "nobody").code == 12


def test_check_names_the_problem_of_each_agent_and_the_others_still_work(home: Home) -> None:
    home.write(
        "aorch.toml",
        '[agents.gone]\ncommand = ["no-such-program"]\n[agents.gone.capabilities.a]\n'
        '[agents.odd]\ncommand = ["true"]\n[agents.odd.capabilities.b]\nparameters = {type = "object", required = 3}\n'
        '[agents.lost]\nclass = "lost:Agent"\n',
    )
    done = home.aorch("agents", "check", "--json")
    assert done.code == 10
    assert "3 of 4 agents cannot run tasks: gone, odd, lost" in done.err
    problems = {agent["agent_id"]: agent["problem"] for agent in done.json["agents"]}
    assert "'no-such-program' is not on PATH" in problems["gone"]
    assert "not a valid JSON Schema" in problems["odd"]
    assert "No module named 'lost'" in problems["lost"]
    assert home.aorch("run", "echo", "text=a").code == 0
    unavailable = home.aorch("run", "a")
    assert unavailable.code == 11
    assert "no-such-program" in unavailable.err


def test_the_list_is_tab_separated_in_a_pipe_and_json_on_request(home: Home) -> None:
    assert home.aorch("agents", "list").out.split("\t")[:4] == [
        "agent_example_001",
        "example",
        "available",
        "echo, uppercase",
    ]
    listed = home.aorch("agents", "list", "--json").json
    assert listed["total"] == 1
    assert listed["agents"][0]["capabilities"][0]["name"] == "echo"


def test_commands_that_only_read_create_no_ledger(bare_home: Home) -> None:
    for command in (("agents", "list"), ("agents", "check"), ("status",)):
        assert bare_home.aorch(*command).code == 0
    assert not exists(bare_home.ledger)


def test_status_sums_up_ledger_agents_and_services(home: Home) -> None:
    home.aorch("run", "echo", "text=a", "--session", "s")
    home.aorch("run", "fly", "--session", "t")
    with socket.create_server(("127.0.0.1", 0)) as server:
        home.environment["TRACE_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        home.environment["MEMAGENT_URL"] = "http://127.0.0.1:9"
        found = home.aorch("status", "--json").json
    (agent,) = found["agents"].pop("registered")
    assert found["agents"] == {"total": 1, "by_status": {"available": 1}}
    assert (agent["agent_id"], agent["status"]) == ("agent_example_001", "available")
    assert found["contracts"] == {
        "total_sessions": 2,
        "total_contracts": 4,
        "by_status": {"completed": 2, "failed": 2},
    }
    assert found["integrations"]["trace"] is found["integrations"]["details"]["trace"]["listening"] is True
    assert found["integrations"]["memagent"] is found["integrations"]["details"]["memagent"]["listening"] is False
    assert found["integrations"]["all_healthy"] is False
    assert (found["orchestrator"], found["ledger"]) == ("healthy", str(home.ledger))
    assert str(home.ledger) in home.aorch("status").out


def test_a_class_is_added_under_the_id_that_it_sets(home: Home) -> None:
    home.write(
        "shouting.py",
        "from aorch.agents import Agent, AgentCapability\n"
        "class Shouter(Agent):\n"
        "    def __init__(self, times=1):\n"
        "        super().__init__(agent_id='shouter', name='Shouter', description='Shouts')\n"
        "        self.times = times\n"
        "    def execute(self, task):\n"
        "        return {'success': True, 'data': task['parameters']['text'].upper() + '!' * self.times}\n"
        "    def get_capabilities(self):\n"
        "        return [AgentCapability(name='shout', description='Shout', parameters={'text': 'string'})]\n",
    )
    added = home.aorch("agents", "add", "--class", "shouting:Shouter", "--argument", "times:=3")
    assert added.out.startswith("shouter added to ")
    assert home.aorch("run", "shout", "text=hey").out == "HEY!!!\n"
    assert "times" in Path(home.folder / "aorch.toml").read_text()


@pytest.mark.parametrize("columns", [40, 60])
def test_the_list_at_a_narrow_terminal_keeps_agents_and_states(home: Home, columns: int) -> None:
    shown = plain(at_terminal(home, "agents", "list", columns=columns))
    assert "agent" in shown
    assert "availa" in shown
