"""Pipelines: what one run hands to the next in a shell, and named ones in aorch.toml and in Python."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from pipes import AGENTS, Worker, give, pipeline_home, requests, statuses
from typing import Any

import pytest
from api import ask
from homes import Home
from serving import serving

from aorch import AorchError, Orchestrator, Pipeline, Step, Task, jsonio
from aorch.errors import ConfigInvalid

REPORT = """
[pipelines.report]
description = "All at once"
parameters = { words = "array" }

[[pipelines.report.steps]]
name = "split"
capability = "give"
parameters = { json = '{"items": {input.words}, "n": 2}' }

[[pipelines.report.steps]]
name = "each"
capability = "say"
for_each = "{steps.split.data.items}"
parameters = { text = "{index} {item.name} of {steps.split.data.n}" }

[[pipelines.report.steps]]
name = "join"
capability = "give"
parameters = { json = "{steps.each.data}" }
"""


@pytest.fixture
def shell(home: Home) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs a line in bash, in which `aorch` is the real command and AGENTS are there."""
    home.write("aorch.toml", AGENTS)

    def run(line: str) -> subprocess.CompletedProcess[str]:
        script = f'aorch() {{ {sys.executable} -m aorch "$@"; }}; {line}'
        return subprocess.run(
            ["bash", "-c", script], cwd=home.folder, env=home.environment, capture_output=True, text=True, timeout=60
        )

    return run


# One run hands on to the next


def test_a_text_is_handed_on_as_text(shell: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = shell("aorch run echo text='a b' | aorch run uppercase text=@- | aorch run say text=@-")
    assert (done.returncode, done.stdout.rstrip("\n"), done.stderr) == (0, "ECHO: A B", "")


@pytest.mark.parametrize("document", ['{"a":[1,"é"],"n":12345678901234567890123}', '{"a":null,"b":{}}'])
def test_an_object_is_handed_on_as_json(
    shell: Callable[[str], subprocess.CompletedProcess[str]], document: str
) -> None:
    assert shell(f"aorch run give json='{document}' | aorch run give json:=@-").stdout == f"{document}\n"


def test_where_the_first_fails_the_second_refuses_and_both_exit_codes_tell(
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = shell("aorch run fail | aorch run uppercase text=@-; echo ${PIPESTATUS[@]}")
    assert done.stdout == "10 2\n"
    assert shell("set -o pipefail; aorch run fail | cat").returncode == 10
    assert "no such table" in done.stderr
    assert "a pipe that brought nothing" in done.stderr
    assert shell("aorch run fail | aorch run give json:=@-").returncode == 2
    assert shell("aorch run fail | aorch run give --params @-").returncode == 2


def test_an_empty_file_is_an_empty_text(shell: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    assert shell("aorch run echo text=@- < /dev/null").stdout == "Echo: \n"
    assert shell(": > empty; aorch run echo text=@- < empty").stdout == "Echo: \n"


def test_a_text_that_should_be_json_is_refused_by_name(
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = shell("aorch run echo text=a | aorch run give json:=@-")
    assert done.returncode == 2
    assert "standard input for parameter 'json' is not JSON" in done.stderr


# A pipeline in aorch.toml


def test_a_pipeline_is_a_capability_and_its_steps_are_child_contracts(home: Home) -> None:
    home.write("aorch.toml", AGENTS + REPORT)
    done = home.aorch("run", "report", 'words:=[{"name":"a"},{"name":"b"}]', "--session", "s", "--json")
    assert done.code == 0, done.err
    assert jsonio.decode(done.json["data"]["text"]) == [{"text": "0 a of 2\n"}, {"text": "1 b of 2\n"}]
    rows = home.rows(
        "SELECT capability, from_agent, parent_id, session_id, json_extract(metadata, '$.step'),"
        " json_extract(metadata, '$.index') FROM contracts WHERE contract_type = 'REQUEST' ORDER BY contract_id"
    )
    pipeline = done.json["contract_id"]
    assert rows == [
        ("report", "orchestrator", None, "s", None, None),
        ("give", "report", pipeline, "s", "split", None),
        ("say", "report", pipeline, "s", "each", 0),
        ("say", "report", pipeline, "s", "each", 1),
        ("give", "report", pipeline, "s", "join", None),
    ]
    (listed,) = (
        agent for agent in home.aorch("agents", "list", "--json").json["agents"] if agent["kind"] == "pipeline"
    )
    assert (listed["agent_id"], listed["status"]) == ("report", "available")
    assert listed["capabilities"][0]["parameters"] == {"words": "array"}
    assert home.aorch("agents", "check", "report").code == 0


def test_a_pipeline_s_parameters_are_checked_as_any_capability_s(home: Home) -> None:
    home.write("aorch.toml", AGENTS + REPORT)
    done = home.aorch("run", "report", "words=a")
    assert done.code == 2
    assert "parameter 'words'" in done.err


def test_a_pipeline_is_called_over_http(home: Home) -> None:
    home.write("aorch.toml", AGENTS + REPORT)
    with serving(home) as server:
        answer = ask(server, "report", parameters={"words": [{"name": "a"}]}).json()
        assert jsonio.decode(answer["data"]["text"]) == [{"text": "0 a of 2\n"}]
        failed = ask(server, "report", parameters={"words": [{}]}).json()
        assert "{item.name} leads nowhere: item is an empty object" in failed["error"]


WRONG = [
    ('x = 1\nsteps = [{name="a", capability="c"}]', "unknown key pipelines.p.x"),
    ("description = 'no steps'", "pipelines.p: object missing required field `steps`"),
    ("steps = []", "pipelines.p has no steps"),
    ('steps = [{name="a", capability="c"}]\ntimeout_s = 0', "pipelines.p.timeout_s is 0"),
    ('steps = [{name="a"}]', "pipelines.p.steps.a: object missing required field `capability`"),
    ('steps = [{name="a", capability=""}]', "pipelines.p.steps.a.capability is empty"),
    ('steps = [{name="a.b", capability="c"}]', "pipelines.p.steps.a.b.name is 'a.b'"),
    ('steps = [{name="a", capability="c", foo=1}]', "unknown key pipelines.p.steps.a.foo"),
    ('steps = [{name="a", capability="c"}, {name="a", capability="c"}]', "two steps have the name 'a'"),
    (
        'steps = [{name="a", capability="c", on_error="halt"}]',
        "pipelines.p.steps.a.on_error: invalid enum value 'halt'",
    ),
    ('steps = [{name="a", capability="c", parallel=0}]', "pipelines.p.steps.a.parallel is 0"),
    ('steps = [{name="a", capability="c", timeout_s=-1}]', "pipelines.p.steps.a.timeout_s is -1"),
    ('steps = [{name="a", capability="c", needs=["b"]}]', "pipelines.p.steps.a.needs: no step has the name 'b'"),
    ('steps = [{name="a", capability="c", needs=["a"]}]', "pipelines.p.steps.a.needs names the step itself"),
    ('steps = [{name="a", capability="c", parameters="x"}]', "pipelines.p.steps.a.parameters is a string"),
    ('steps = [{name="a", capability="c", for_each="{input.x} "}]', "pipelines.p.steps.a.for_each is a string"),
    ('steps = [{name="a", capability="c", parameters={x="{steps.b.data}"}}]', "no step has the name 'b'"),
    ('steps = [{name="a", capability="c", parameters={x="{steps.a.data}"}}]', "refers to its own result"),
    (
        'steps = [{name="a", capability="c", parameters={x="{item}"}}]',
        "only in the parameters of a step with for_each",
    ),
    ('steps = [{name="a", capability="c", for_each="{item.x}"}]', "only in the parameters of a step with for_each"),
    ('steps = [{name="a", capability="c", parameters={x=["{inputs.x}"]}}]', "{inputs.x} leads nowhere"),
    ('steps = [{name="a", capability="c", parameters={x="{input.a + 1}"}}]', "{input.a + 1} is not a reference"),
    ('steps = [{name="a", capability="c", parameters={x="{{ input.x }}"}}]', "{{ input.x }} has double braces"),
    ('steps = [{name="a", capability="c", parameters={x="{{input.x}}"}}]', "{{input.x}} has double braces"),
    ('steps = [{name="a", capability="c", parameters={x="{input.x|xml}"}}]', "has an unknown encoding"),
    ('steps = [{name="a", capability="c", parameters={x="{input["x"}}]'.replace('["x', "[x"), "is not a reference"),
    ('steps = [{name="a", capability="c", parameters={x="{input.x"}}]', "{input.x is not a reference"),
    (
        'steps = [{name="a", capability="c"}]\nresult = "{steps.a.date}"',
        "pipelines.p.result: {steps.a.date} leads",
    ),
    (
        'steps = [{name="a", capability="c", needs=["b"]}, {name="b", capability="c"}]',
        "steps need each other in a cycle: a → b → a",
    ),
    (
        'steps = [{name="a", capability="c", parameters={x="{steps.b.data}"}}, {name="b", capability="c"}]',
        "steps need each other in a cycle",
    ),
]


@pytest.mark.parametrize(("table", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_could_never_work_is_refused_when_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, said: str
) -> None:
    """With the file, the place in it, and the reason."""
    from aorch.config import settings

    monkeypatch.chdir(tmp_path)
    (tmp_path / "aorch.toml").write_text(f"[pipelines.p]\n{table}\n")
    with pytest.raises(ConfigInvalid) as refusal:
        settings.load()
    assert str(refusal.value).startswith(f"{tmp_path / 'aorch.toml'}: ")
    assert said in str(refusal.value)


def test_a_pipeline_and_an_agent_of_one_name_are_refused(home: Home) -> None:
    home.write("aorch.toml", AGENTS + '[pipelines.say]\nsteps = [{name = "a", capability = "say"}]\n')
    done = home.aorch("run", "echo", "text=a")
    assert done.code == 2
    assert "pipelines.say: there is also an agent 'say'" in done.err


def test_adding_and_removing_agents_tells_pipelines_apart(home: Home) -> None:
    pipeline_home(home, '{name = "a", capability = "say"}')
    taken = home.aorch("agents", "add", "p", "--capability", "x", "--", "true")
    assert taken.code == 13
    assert "a pipeline 'p' is declared in" in taken.err
    assert "Remove [pipelines.p] from" in home.aorch("agents", "remove", "p").err


def test_a_later_step_may_stand_first_where_it_needs_nothing(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "late", capability = "say", parameters = {text = "{steps.early.data.text}"}}',
        '{name = "early", capability = "say", needs = [], parameters = {text = "first"}}',
        more='result = "{steps.late.data.text}"',
    )
    done = home.aorch("run", "p")
    assert (done.code, done.out) == (0, "first\n\n"), done.err


# When a step fails


@pytest.mark.usefixtures("no_leftovers")
def test_a_step_that_fails_stops_the_pipeline_and_cancels_what_runs(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "slow", capability = "hang"}',
        '{name = "wait", capability = "count", needs = [], parameters = {name = "a"}}',
        '{name = "bad", capability = "fail"}',
        '{name = "never", capability = "say"}',
    )
    done = home.aorch("run", "p")
    assert done.code == 10
    assert "error: step bad: exit code 3: no such table" in done.err
    assert "aorch contracts resume 01" in done.err
    assert statuses(home) == {
        "p": ["failed", "failed"],
        "hang": ["cancelled", "cancelled"],
        "count": ["completed", "completed"],
        "fail": ["failed", "failed"],
    }


def test_a_step_that_nobody_can_do_has_the_exit_code_of_that(home: Home) -> None:
    pipeline_home(home, '{name = "a", capability = "nope"}')
    done = home.aorch("run", "p")
    assert done.code == 11
    assert "step a: No agent available for capability: nope" in done.err
    checked = home.aorch("agents", "check", "p")
    assert checked.code == 10
    assert checked.out == "p\tno\tno agent has the capability nope\n"


def test_with_continue_the_other_branches_go_on_and_the_pipeline_fails_then(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "bad", capability = "fail", on_error = "continue"}',
        '{name = "after", capability = "say"}',
        '{name = "last", capability = "say"}',
        '{name = "other", capability = "count", needs = [], parameters = {name = "a"}}',
        '{name = "more", capability = "count", parameters = {name = "c"}}',
    )
    done = home.aorch("run", "p")
    assert done.code == 10
    assert "step bad: exit code 3: no such table; skipped, because they need a failed step: after, last" in done.err
    assert statuses(home)["count"] == ["completed"] * 4
    assert "say" not in statuses(home)


def test_with_keep_the_failure_is_the_step_s_result(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "bad", capability = "fail", on_error = "keep"}',
        '{name = "say", capability = "say", parameters = {text = "{steps.bad.success}: {steps.bad.error}"}}',
    )
    done = home.aorch("run", "p")
    assert (done.code, done.out) == (0, "false: step bad: exit code 3: no such table\n")


def test_a_reference_that_leads_nowhere_says_where_and_what_is_there(home: Home) -> None:
    pipeline_home(
        home,
        """{name = "a", capability = "give", parameters = {json = '{"items": [1, 2]}'}}""",
        '{name = "b", capability = "say", parameters = {text = "{steps.a.data.path}"}}',
    )
    done = home.aorch("run", "p")
    assert done.code == 2
    assert "step b: {steps.a.data.path} leads nowhere: steps.a.data has items" in done.err


@pytest.mark.usefixtures("no_leftovers")
def test_a_pipeline_out_of_time_cancels_its_running_steps_and_says_so_in_the_ledger(home: Home) -> None:
    pipeline_home(home, '{name = "slow", capability = "hang"}', more="timeout_s = 0.5")
    done = home.aorch("run", "p")
    assert done.code == 5
    assert statuses(home) == {"p": ["failed", "failed"], "hang": ["cancelled", "cancelled"]}


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_pipeline_and_its_running_steps(
    home: Home, wait_for: Callable[[Callable[[], Any]], Any], number: signal.Signals
) -> None:
    pipeline_home(home, '{name = "slow", capability = "hang", for_each = [1, 2, 3], parallel = 2}')
    process = home.start("run", "p")
    wait_for((home.folder / "hanging").exists)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    found = statuses(home)
    assert found["p"] == ["cancelled", "cancelled"]
    assert set(found["hang"]) == {"cancelled"}


# In Python


async def test_a_pipeline_in_python_is_registered_like_any_agent(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(
        Pipeline(
            "shout",
            [
                Step("up", "uppercase", {"text": "{input.text}"}),
                Step("echo", "echo", {"text": "{steps.up.data.result}!"}),
            ],
            parameters={"type": "object", "properties": {"text": {"type": "string", "default": "hi"}}},
            result={"said": "{steps.echo.data.message}", "first": "{steps.up.data}"},
        )
    )
    answer = await orchestrator.orchestrate("s", {"capability": "shout", "parameters": {"text": "a"}})
    assert answer["data"] == {"said": "Echo: A!", "first": {"result": "A"}}
    assert (await orchestrator.perform(Task("shout", {}, "s"))).data["said"] == "Echo: HI!"


def test_a_pipeline_in_python_that_could_never_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigInvalid, match=r"pipelines.p.steps.a.on_error"):
        Pipeline("p", [Step("a", "work", on_error="halt")])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigInvalid, match="cycle"):
        Pipeline("p", [Step("a", "work", needs=["b"]), Step("b", "work", needs=["a"])])


async def test_ten_thousand_items_never_have_more_than_the_limit_in_flight(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    orchestrator.register_agent(
        Pipeline("p", [Step("each", "work", {"give": "{item}"}, for_each="{input.items}", parallel=16)])
    )
    answer = await orchestrator.perform(Task("p", {"items": list(range(10_000))}, "s"))
    assert answer.data == list(range(10_000))
    assert worker.most == 16


async def test_a_fan_out_over_nothing_is_a_success(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Pipeline("p", [Step("each", "work", for_each="{input.items}")]))
    assert (await orchestrator.perform(Task("p", {"items": []}, "s"))).data == []
    wrong = await orchestrator.perform(Task("p", {"items": 3}, "s"))
    assert wrong.error == "step each: for_each needs a list, and {input.items} is 3"


async def test_a_fan_out_that_keeps_failures_tells_of_each_item(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    items = [{"give": 1}, {"fail": "x"}, {"give": 3}, {"fail": "y"}, 5]
    step = Step("each", "work", "{item}", for_each=items, on_error="keep")
    orchestrator.register_agent(Pipeline("p", [step], result="{steps.each}"))
    data = (await orchestrator.perform(Task("p", {}, "s"))).data
    assert data["data"] == [1, None, 3, None, None]
    assert (data["success"], data["error"]) == (False, "step each, item 1: x (3 of 5 items failed)")
    assert [item["success"] for item in data["items"]] == [True, False, True, False, False]
    assert data["items"][4]["error"] == "step each, item 4: {item} must be an object, not 5"


async def test_a_fan_out_that_stops_begins_nothing_more(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    items = [{"give": 0}, {"fail": "x"}, *({"give": number} for number in range(2, 100))]
    orchestrator.register_agent(Pipeline("p", [Step("each", "work", "{item}", for_each=items, parallel=1)]))
    answer = await orchestrator.perform(Task("p", {}, "s"))
    assert answer.error == "step each, item 1: x"
    assert len(worker.done) == 2


async def test_a_step_that_is_cancelled_alone_is_a_step_that_failed(orchestrator: Orchestrator) -> None:
    class Quitter(Worker):
        async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
            raise asyncio.CancelledError

    orchestrator.register_agent(Quitter())
    orchestrator.register_agent(Pipeline("p", [give("a", 1, on_error="keep")], result="{steps.a.error}"))
    assert (await orchestrator.perform(Task("p", {}, "s"))).data == "step a: worker cancelled itself"


async def test_a_pipeline_that_calls_itself_is_refused_as_a_circle(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Pipeline("p", [Step("again", "p", "{input}")]))
    answer = await orchestrator.perform(Task("p", {"x": 1}, "s"))
    assert answer.failure is not None
    assert answer.failure.code == "delegation_refused"
    assert "a cycle" in str(answer.error)


async def test_a_pipeline_s_context_reaches_its_steps(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Worker())
    orchestrator.register_agent(Pipeline("p", [give("a", 1)]))
    await orchestrator.perform(Task("p", {}, "s", context={"why": "test"}))
    (request,) = await requests(orchestrator, "work")
    assert request["metadata"]["context"] == {"why": "test"}


async def test_a_pipeline_outside_an_orchestrator_says_what_it_needs() -> None:
    with pytest.raises(AorchError, match="needs an Orchestrator"):
        await Pipeline("p", [give("a", 1)]).execute({})


# Start-up


@pytest.mark.parametrize("arguments", [("run", "echo", "text=a"), ("agents", "list")])
def test_who_has_no_pipeline_pays_for_none(home: Home, arguments: tuple[str, ...]) -> None:
    home.write("aorch.toml", AGENTS)
    done = subprocess.run(
        [sys.executable, "-v", "-m", "aorch", *arguments],
        cwd=home.folder,
        env=home.environment,
        capture_output=True,
        text=True,
    )
    imported = set(re.findall(r"^import '([\w.]+)' #", done.stderr, re.MULTILINE))
    assert "aorch.config" in imported
    assert not imported & {"aorch.config.pipeline_config", "aorch.engine.pipeline"}


def test_who_has_one_needs_no_sqlalchemy_to_run_it(home: Home) -> None:
    home.write("aorch.toml", AGENTS + REPORT)
    home.aorch("run", "echo", "text=the ledger is there")
    done = subprocess.run(
        [sys.executable, "-v", "-m", "aorch", "run", "report", "words:=[]"],
        cwd=home.folder, env=home.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert not re.search(r"^import '(sqlalchemy|sqlmodel|pydantic)", done.stderr, re.MULTILINE)
