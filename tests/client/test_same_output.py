"""A command on a server prints the same, and exits with the same code, as on the ledger file of that server."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from homes import Home
from remote_homes import CONFIG, seen, with_client
from serving import serving

READS = """
contracts list
contracts list --json
contracts list -n 2
contracts list -n 2 --before LAST
contracts list --text hi
contracts list --text --
contracts list --status failed --agent broken --since 1h --type response
contracts list --fields contract_id,result --format csv
contracts list --session none
contracts show LAST
contracts show LAST --json
contracts show nope
contracts show zzzzzz
contracts show no --json
contracts show LAST --tree
contracts show LAST --all --json
contracts tail
contracts tail -n 3 --jsonl
contracts tail --since nonsense
log
log --json
log -n 2
log -n 1 --before LAST
log LAST
log LAST --json
log LAST --fields request_id,status
log nope
log --last
log --failed
log --failed --last --json
log --text hi
log --text nothing --last
log --jq .status
log --error table
log --caller nobody
sessions list
sessions list --json
sessions list -n 1
sessions list --before one
sessions list --before nope
sessions show one
sessions show one --json
sessions show one --mermaid
sessions show one -n 1 --all
sessions show nope
queue
queue --json
queue list -n 1
contracts export
contracts export --format csv --fields contract_id,status
contracts export --since 1h --session two
contracts wait LAST
contracts wait LAST LAST --json
contracts wait nope
contracts wait SCHEDULED --timeout 0
contracts wait SCHEDULED --timeout 0.1
stats
stats --by error --json
stats --since nonsense
stats --session one --fields key,count --format csv
status
agents list
agents list --fields agent_id,status,problem
agents show second
agents show second --json
agents show nobody
memory list
memory list --json
memory list one -n 1
memory list one --before BLOCK
memory list two
memory list nope
memory show one
memory show one --json
memory show one --as prompt --max-tokens 64
memory show BLOCK --json
memory show BLOCK --as prompt
memory show nope
memory show mem_nope
memory search hi
memory search hi --json
memory search nothing at all
memory search hi --session two
memory search hi --session nope --json
memory verify one
memory verify --all --json
memory verify nope
memory verify two one
memory export
memory export --as prompt
memory export --as markdown
memory export --session nope
memory export --session nope --as markdown
memory export --session two
memory show one --diff
memory show one --diff --json
memory show BLOCK --diff
memory show nope --diff
memory show --session one
memory show --session one --session two --json
memory show --session nope
memory show --about hi
memory show --about hi --json
memory show --about hi -s one --max-tokens 64
memory show --about nothing
memory show one --about hi
memory corrections
memory corrections one --json
memory corrections nope
memory corrections two
memory pin clm_nope
memory forget clm_nope
memory undo nope
memory note nope text
memory note one ''
run uppercase text=hi --dry-run
run uppercase text=hi --dry-run --json
run echo text=hi --dry-run --agent second
run uppercase text:=3 --dry-run
run uppercase text=a more=b --dry-run
run fly --dry-run
run absent --dry-run
run echo text=hi --dry-run --detach
run --retry-failed two --session x
run --retry-failed none
contracts resume nope
contracts resume OK
compress nope
compress nope --json
compress one --preview --json
compress one nope
compress --all --quiet
compress two --via llm
"""
TASKS = """
run echo text=hi
run echo text=hi --agent agent_example_001 --json
run uppercase text:=3
run uppercase txt=hi
run uppercase text=a more=b
run echo text=hi --agent nobody
run echo text=hi --require gpu=yes
run echo text=hi --timeout 0
run echo text=hi --session {}
run echo --params '{"text":"é","n":123456789012345678901234567890}' --json --agent second
run fly
run fly --json
run fail a=b
run fail --json
run absent
run slow --timeout 0.2
run slow --timeout 0.2 --json
run echo text=hi --detach --not-before 1h --priority 2
run echo text=hi --detach --not-before 1h --json
run fly --detach
run echo text=hi --detach --webhook http://127.0.0.1:1/
run echo text=hi --not-before 1h
run echo text=hi --detach --not-before yesterday
rerun LAST
rerun LAST --json
rerun nope
contracts cancel LAST nope
contracts cancel nope --json
"""


@dataclass
class Both:
    """A home, and one on which commands use its server. `last` is the newest contract of a
    failed task, `scheduled` a task for later, and `completed` a task that succeeded."""

    file: Home
    server: Home
    last: str
    scheduled: str
    block: str
    completed: str


@pytest.fixture(scope="module")
def both(module_home: Home) -> Iterator[Both]:
    """Some exchanges, and the server of their ledger."""
    module_home.write("aorch.toml", CONFIG)
    for line in (
        "echo text=hi -s one",
        "uppercase text=hi -s one",
        "fail -s two",
        "fly",
        "echo text=later --detach --not-before 1h",
    ):
        module_home.aorch("run", *line.split())
    scheduled = module_home.aorch("contracts", "list", "--status", "pending").out.split("\t")[0]
    last = module_home.aorch("contracts", "list", "-s", "two", "-n", "1").out.split("\t")[0]
    module_home.aorch("compress", "one")
    block = module_home.aorch("memory", "list").out.split("\t")[0]
    completed = module_home.aorch("contracts", "list", "-s", "one", "--type", "request").out.split("\t")[0]
    claim = module_home.aorch("memory", "show", "one", "--json").json["blocks"][0]["aims"][0]["claim_id"]
    module_home.aorch("memory", "pin", claim)
    with serving(module_home) as server:
        yield Both(module_home, with_client(module_home, server.url), last, scheduled, block, completed)


@pytest.mark.parametrize("command", READS.strip().splitlines())
def test_a_command_that_reads_prints_the_same_on_a_server(both: Both, command: str) -> None:
    arguments = shlex.split(
        command.replace("LAST", both.last)
        .replace("SCHEDULED", both.scheduled)
        .replace("BLOCK", both.block)
        .replace("OK", both.completed)
    )
    assert seen(both.server.aorch(*arguments)) == seen(both.file.aorch(*arguments))


@pytest.mark.parametrize("command", TASKS.strip().splitlines())
def test_a_task_has_the_same_answer_on_a_server(both: Both, command: str) -> None:
    arguments = shlex.split(command.replace("LAST", both.last).replace("{}", "x" * 300))
    assert seen(both.server.aorch(*arguments)) == seen(both.file.aorch(*arguments))


def test_a_correction_of_memory_prints_the_same_on_a_server(both: Both) -> None:
    claims = [
        each["claim_id"] for each in both.file.aorch("memory", "show", "one", "--json").json["blocks"][0]["results"]
    ]
    for action in ("pin", "forget"):
        for command in ((action, claims[0]), ("corrections", "one"), ("undo", claims[0]), ("undo", claims[0])):
            there = both.server.aorch("memory", *command)
            if command[0] not in ("undo", "corrections"):
                both.file.aorch("memory", "undo", claims[0])
            elif command[0] == "undo" and there.code == 0:
                both.file.aorch("memory", action, claims[0])
            assert seen(there) == seen(both.file.aorch("memory", *command))
    both.file.aorch("memory", "pin", claims[0])
    both.file.aorch("memory", "forget", claims[0])
    there = both.server.aorch("memory", "undo", claims[0])
    assert there.out.startswith("undone: forget of ")
    assert f"\n{claims[0]} is pinned again (" in there.out
    both.file.aorch("memory", "forget", claims[0])
    assert seen(there) == seen(both.file.aorch("memory", "undo", claims[0]))
    both.file.aorch("memory", "undo", claims[0])
    noted = [each.aorch("memory", "note", "one", "Ann agreed.", "--json") for each in (both.server, both.file)]
    assert seen(noted[0])[0] == seen(noted[1])[0] == 0
    assert noted[0].json["text"] == noted[1].json["text"]
    assert both.server.aorch("memory", "undo", noted[0].json["claim_id"]).code == 0
