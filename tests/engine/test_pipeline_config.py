"""Pipelines in aorch.toml: how they run, what is rejected, and what they import."""

from pathlib import Path
from pipes import AGENTS, pipeline_home

import pytest
from api import ask
from homes import Home
from serving import serving

from aorch import jsonio
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


# A pipeline in aorch.toml


def test_a_pipeline_is_a_capability_and_its_steps_are_child_contracts(home: Home) -> None:
    home.write("aorch.toml", AGENTS + REPORT)
    done = home.aorch("run", "report", 'words:=[{"name":"a"},{"name":"b"}]', "--session", "s", "--json")
    assert done.code == 0, done.err
    assert jsonio.decode(done.json["data"]["text"]) == [{"text": "0 a of 2\n"}, {"text": "1 b of 2\n"}]
    rows = home.rows(
        "SELECT capability, from_agent, parent_id, session_id, metadata FROM contracts"
        " WHERE contract_type = 'REQUEST' ORDER BY contract_id"
    )
    pipeline = done.json["contract_id"]
    steps = [(*row, jsonio.decode(metadata)) for *row, metadata in rows]
    assert [(*row, about.get("step"), about.get("index")) for *row, about in steps] == [
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
    ("description = 'no steps'", "pipelines.p: the key steps is missing"),
    ("steps = []", "pipelines.p has no steps"),
    ('steps = [{name="a", capability="c"}]\ntimeout_s = 0', "pipelines.p.timeout_s is 0"),
    ('steps = [{name="a"}]', "pipelines.p.steps.a: the key capability is missing"),
    ('steps = [{name="a", capability=""}]', "pipelines.p.steps.a.capability is empty"),
    ('steps = [{name="a.b", capability="c"}]', "pipelines.p.steps.a.b.name is 'a.b'"),
    ('steps = [{name="a", capability="c", foo=1}]', "unknown key pipelines.p.steps.a.foo"),
    ('steps = [{name="a", capability="c"}, {name="a", capability="c"}]', "two steps have the name 'a'"),
    (
        'steps = [{name="a", capability="c", on_error="halt"}]',
        "pipelines.p.steps.a.on_error: invalid value 'halt'",
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
