"""Templates and the order of steps, with any content."""

import asyncio
from pipes import Worker
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import new_ledger

from aorch import Orchestrator, Pipeline, Step, Task, jsonio
from aorch.config import templates
from aorch.errors import ReferenceInvalid

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_a_template_that_is_the_whole_text_is_the_value_itself(value: Any) -> None:
    filled = templates.fill({"a": ["{input.x}"]}, {"input": {"x": value}})
    assert filled == {"a": [value]}
    assert type(filled["a"][0]) is type(value)


@given(VALUES, st.text(), st.text())
def test_a_template_within_other_text_is_text(value: Any, before: str, after: str) -> None:
    before, after = before.replace("{", ""), after.replace("{", "").replace("}", "")
    filled = templates.fill(f"{before}|{{input.x}}|{after}", {"input": {"x": value}})
    assert filled == f"{before}|{value if isinstance(value, str) else jsonio.encode(value)}|{after}"


@given(VALUES)
def test_a_value_without_references_stays_as_it_is_once_it_is_written_literally(value: Any) -> None:
    def literally(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: literally(each) for key, each in value.items()}
        if isinstance(value, list):
            return [literally(each) for each in value]
        return templates.literal(value) if isinstance(value, str) else value

    assert list(templates.references(literally(value))) == []
    assert templates.fill(literally(value), {}) == value


@given(st.text(alphabet='{}. []"a0|$json', max_size=20))
def test_wild_braces_are_filled_or_rejected_and_can_be_written_literally(text: str) -> None:
    try:
        templates.fill_text(text, {"a": {"a": ["x", {"0": "{a}"}]}}, {"a": "{$a}"})
    except ReferenceInvalid:
        assert list(templates.references(text))
    assert templates.fill_text(templates.literal(text), {}) == text


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{ }",
        "{ a }",
        "{print $1}",
        '{"a": 1}',
        '{"a": {"b": [1]}}',
        "{{.Name}}",
        "{{ a }}",
        "x{3,4}",
        "{3}",
        "{a",
        "a}",
        "{a b+}",
    ],
)
def test_braces_that_are_not_references_are_literal(text: str) -> None:
    assert templates.fill(text, {}) == text
    assert not templates.is_template(text)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{First Name}!", "Ann!"),
        ('{["First Name"]}!', "Ann!"),
        ("{über-1_x}!", "1!"),
        ('{["3"]}!', "three!"),
        ("{list[0]} {list.1.b}", "a true"),
        ("{list}{n}", '["a",{"b":true}]1.5'),
        ("{First Name|json} {list|json} {sign|url}", '"Ann" ["a",{"b":true}] a%2Fb%26'),
        ("{{n}} {{{n}}} {{n|json}} {{$HOME}}", "{n} {{n}} {n|json} {$HOME}"),
        ('{"a": {n}}', '{"a": 1.5}'),
    ],
)
def test_references_are_keys_numbers_and_encodings(template: str, filled: str) -> None:
    scope = {"First Name": "Ann", "über-1_x": 1, "3": "three", "list": ["a", {"b": True}], "n": 1.5, "sign": "a/b&"}
    assert templates.fill_text(template, scope) == filled
    assert templates.fill([template], scope) == [filled]


def test_only_a_text_that_may_use_variables_can_refer_to_them() -> None:
    assert templates.fill_text("{$KEY}{$KEY}", {}, {"KEY": "k"}) == "kk"
    with pytest.raises(ReferenceInvalid, match="this variable is not set"):
        templates.fill_text("{$KEY}", {})


@given(VALUES, st.data())
def test_a_path_leads_to_every_value_that_is_there(value: Any, data: st.DataObject) -> None:
    path, there = "x", value
    while isinstance(there, dict | list) and there and data.draw(st.booleans()):
        if isinstance(there, list):
            number = data.draw(st.integers(0, len(there) - 1))
            path += data.draw(st.sampled_from([f".{number}", f"[{number}]"]))
            there = there[number]
        else:
            key = data.draw(st.sampled_from(sorted(there)))
            if '"' in key:
                break
            path += f".{key}" if templates.NAME.fullmatch(key) and data.draw(st.booleans()) else f'["{key}"]'
            there = there[key]
    assert templates.fill(f"{{{path}}}", {"x": value}) == there


def test_what_was_filled_in_is_not_a_template() -> None:
    assert templates.fill("{x} {y}", {"x": "{y}", "y": "{{y}}"}) == "{y} {{y}}"


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_step_is_done_after_all_that_it_needs(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """In any graph without a circle, named in any order, needed by name or by reference."""
    count = data.draw(st.integers(1, 7))
    names = [f"s{number}" for number in range(count)]
    steps, needs = [], {}
    for number, name in enumerate(names):
        before = st.lists(st.sampled_from(names[:number]), unique=True) if number else st.just([])
        named, referred = data.draw(before), data.draw(before)
        needs[name] = {*named, *referred}
        given = {"name": name, "give": [f"{{steps.{each}.data}}" for each in referred]}
        steps.append(Step(name, "work", given, needs=named))
    result = {name: f"{{steps.{name}.success}}" for name in names}
    pipeline = Pipeline("p", data.draw(st.permutations(steps)), result=result)
    worker = Worker()

    async def perform() -> Any:
        async with Orchestrator(new_ledger(tmp_path_factory.mktemp("graphs"))) as orchestrator:
            orchestrator.register_agent(worker)
            orchestrator.register_agent(pipeline)
            return await orchestrator.perform(Task("p", {}, "s"))

    answer = asyncio.run(perform())
    assert answer.data == dict.fromkeys(names, True)
    assert sorted(worker.done) == sorted(names)
    for name, needed in needs.items():
        assert all(worker.done.index(each) < worker.done.index(name) for each in needed)
