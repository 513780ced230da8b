"""Templates of pipelines, and the order of steps: whatever they hold."""

import asyncio
import re
from pipes import Worker
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    filled = templates.fill({"a": ["{{ input.x }}"]}, {"input": {"x": value}})
    assert filled == {"a": [value]}
    assert type(filled["a"][0]) is type(value)


@given(VALUES, st.text(), st.text())
def test_a_template_within_other_text_is_text(value: Any, before: str, after: str) -> None:
    before, after = before.replace("{", ""), after.replace("{", "").replace("}", "")
    filled = templates.fill(f"{before}|{{{{ input.x }}}}|{after}", {"input": {"x": value}})
    assert filled == f"{before}|{value if isinstance(value, str) else jsonio.encode(value)}|{after}"


@given(VALUES)
def test_a_value_without_references_stands_as_it_is(value: Any) -> None:
    text = jsonio.encode(value)
    if "{{" not in text:
        assert list(templates.references(value)) == []
        assert templates.fill(value, {}) == value


@given(VALUES)
def test_whatever_a_template_is_it_is_refused_or_read(value: Any) -> None:
    """Never another error, and what is no reference is refused when it is read already."""
    try:
        paths = list(templates.references(value))
    except ReferenceInvalid:
        return
    if not paths:
        templates.fill(value, {})


@given(st.text(alphabet='{}. []"a0', max_size=20))
def test_wild_braces_are_refused_or_read(text: str) -> None:
    try:
        paths = list(templates.references(text))
    except ReferenceInvalid:
        return
    try:
        templates.fill(text, {"a": {"a": ["x", {"0": "{{ a }}"}]}})
    except ReferenceInvalid:
        assert paths


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
            if '"' in key or "}}" in key:
                break
            path += f".{key}" if re.fullmatch(templates.WORD, key) and data.draw(st.booleans()) else f'["{key}"]'
            there = there[key]
    assert templates.fill(f"{{{{ {path} }}}}", {"x": value}) == there


def test_what_was_filled_in_is_not_a_template() -> None:
    assert templates.fill("{{ x }} {{ y }}", {"x": "{{ y }}", "y": "{{{{"}) == "{{ y }} {{{{"
    assert templates.fill("{{{{ x }} {{ x }}", {"x": 1}) == "{{ x }} 1"


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        given = {"name": name, "give": [f"{{{{ steps.{each}.data }}}}" for each in referred]}
        steps.append(Step(name, "work", given, needs=named))
    result = {name: f"{{{{ steps.{name}.success }}}}" for name in names}
    pipeline = Pipeline("p", data.draw(st.permutations(steps)), result=result)
    worker = Worker()

    async def perform() -> Any:
        folder = tmp_path_factory.getbasetemp()
        async with Orchestrator(folder / "graphs.db") as orchestrator:
            orchestrator.register_agent(worker)
            orchestrator.register_agent(pipeline)
            return await orchestrator.perform(Task("p", {}, "s"))

    answer = asyncio.run(perform())
    assert answer.data == dict.fromkeys(names, True)
    assert sorted(worker.done) == sorted(names)
    for name, needed in needs.items():
        assert all(worker.done.index(each) < worker.done.index(name) for each in needed)
