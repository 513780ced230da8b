"""`aorch rerun`, `aorch run --dry-run` and `--require`: what would run, who may run it, and running it again."""

import json

from homes import Home

AGENTS = """
[agents.plain]
command = ["wc", "-w"]
stdin = "{text}"
capabilities.count.parameters = { text = "string" }

[agents.berlin]
command = ["wc", "-c"]
stdin = "{text}"
labels = { site = "berlin" }
capabilities.count.parameters = { text = "string" }
"""


def test_a_dry_run_shows_the_agent_the_reason_and_the_command_and_records_nothing(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    shown = home.aorch("run", "count", "text=a b", "--dry-run")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == (
        "agent:   plain (command)\n"
        "why:     it is the least busy of 2 agents with the capability\n"
        "command: wc -w\n"
        "stdin:   a b\n"
    )
    plan = home.aorch("run", "count", "text=a", "--agent", "berlin", "--dry-run", "--json").json
    assert (plan["agent_id"], plan["routing"]) == ("berlin", {"reason": "requested"})
    assert plan["preview"] == {"command": "wc -c", "stdin": "a"}
    assert home.rows("SELECT count(*) FROM contracts") == [(0,)]


def test_a_dry_run_fails_as_the_run_would(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    assert home.aorch("run", "nothing", "--dry-run").code == 11
    assert home.aorch("run", "count", "text:=1", "--dry-run").code == 2
    assert home.aorch("run", "count", "text=a", "--dry-run", "--detach").code == 2
    missing = home.aorch("run", "count", "--dry-run")
    assert (missing.code, missing.err) == (
        2,
        "error: parameter 'text' is missing: the agent's command needs it\nhint: Add text=….\n",
    )


def test_a_task_runs_only_on_an_agent_with_the_required_labels(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    assert home.aorch("run", "count", "text=abc", "--require", "site=berlin").out == "3\n"
    refused = home.aorch("run", "count", "text=abc", "--require", "site=paris")
    assert refused.code == 11
    assert "no agent with the capability 'count' has the labels site=paris" in refused.err
    assert home.aorch("run", "count", "text=abc", "--require", "site").code == 2
    assert "\nlabels: site=berlin\n" in home.aorch("agents", "show", "berlin").out
    lines = '{"parameters": {"text": "abcd"}, "require": {"site": "berlin"}}\n{"parameters": {"text": "a b"}}\n'
    done = home.aorch("run", "count", "--batch", "-", "--ordered", stdin=lines)
    assert done.code == 0
    assert json.loads(done.out.splitlines()[0])["agent_id"] == "berlin"


def test_rerun_performs_an_exchange_again_as_a_new_one(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    first = home.aorch("run", "count", "text=a b c", "--require", "site=berlin", "--session", "s", "--json").json
    again = home.aorch("rerun", first["contract_id"], "--json").json
    assert (again["data"], again["agent_id"], again["session_id"]) == (first["data"], "berlin", "s")
    assert again["contract_id"] != first["contract_id"]
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE contract_id = ?", again["contract_id"])
    assert json.loads(metadata)["rerun_of"] == first["contract_id"]
    assert home.aorch("rerun", "01K8VF9XK83SYH1HAX57ZGJDYS").code == 12


def test_a_failed_exchange_can_run_again_as_often_as_one_likes(home: Home) -> None:
    home.write("aorch.toml", '[agents.never]\ncommand = ["false"]\ncapabilities.fail = {}\n')
    home.aorch("run", "fail")
    ((contract_id,),) = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST'")
    assert [home.aorch("rerun", contract_id).code for _ in range(2)] == [10, 10]
    assert home.rows("SELECT count(*) FROM contracts WHERE contract_type = 'REQUEST'") == [(3,)]
