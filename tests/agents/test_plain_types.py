"""Functions with plain annotations: what they get is what pydantic would give them, and pydantic is not imported."""

import subprocess
import sys
from typing import Any, Literal, Union

import pytest
from homes import Home
from hypothesis import given
from hypothesis import strategies as st

from aorch import jsonio
from aorch.agents.function import Declared, capability, declared
from aorch.agents.plain_types import NotPlain
from aorch.errors import ParametersInvalid

SIMPLE = st.sampled_from([str, int, float, bool, None, Any, list, dict, Literal["a", "b"], Literal[1], dict[str, Any]])
ANNOTATIONS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        inner.map(lambda each: list[each]),  # type: ignore[valid-type]
        inner.map(lambda each: dict[str, each]),  # type: ignore[valid-type]
        st.lists(inner.filter(lambda each: each is not Any), min_size=2, max_size=3).map(
            lambda options: Union[tuple(options)]  # noqa: UP007  of a list
        ),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", "3", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "a"]), inner, max_size=2),
    max_leaves=6,
)


def function(annotation: Any, default: Any) -> Declared:
    """A function with one parameter `value` of that type; `default` ... is none."""

    def returned(value: Any = default) -> Any:
        return value

    def required(value: Any) -> Any:
        return value

    chosen = required if default is ... else returned
    chosen.__annotations__["value"] = annotation
    found = declared(capability("c")(chosen))
    assert found is not None
    return found


def ordered(schema: Any) -> Any:
    """The schema with its unions in order: `typing` caches equal ones, so pydantic may see another order."""
    if isinstance(schema, list):
        return [ordered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: sorted(map(ordered, value), key=repr) if key == "anyOf" else ordered(value)
        for key, value in schema.items()
    }


@given(ANNOTATIONS, VALUES | st.just(...))
def test_the_schema_is_the_one_of_pydantic(annotation: Any, default: Any) -> None:
    found = function(annotation, default)
    assert jsonio.encode(ordered(found._schema)) == jsonio.encode(ordered(found._schema_of_pydantic))


@given(ANNOTATIONS, VALUES)
def test_the_value_is_the_one_of_pydantic_or_left_to_it(annotation: Any, value: Any) -> None:
    found = function(annotation, ...)
    try:
        taken = found._taken({"value": value})
    except NotPlain:
        return
    validated = found._validated({"value": value})
    assert repr(taken) == repr(validated)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(int, "x"), (int, 1.5), (Literal["a"], "b"), (list[int], ["x"]), (dict[str, int], {"a": None})],
)
def test_a_value_that_does_not_fit_is_rejected_as_by_pydantic(annotation: Any, value: Any) -> None:
    with pytest.raises(ParametersInvalid, match="parameter 'value"):
        function(annotation, ...).call({"value": value})


def test_a_list_is_a_copy_of_the_one_in_the_task() -> None:
    given = [1]
    assert function(list, ...).call({"value": given}) is not given


PLAIN = '''
from aorch import capability

@capability("greet")
def greet(name: str, times: int = 1, tags: list[str] | None = None, tone: "Literal['high', 'low']" = "low") -> dict[str, object]:
    """Greet someone."""
    return {"text": f"Hello {name}" * times, "tags": tags}

from typing import Literal
'''


def test_pydantic_is_not_imported_for_a_plain_function(home: Home) -> None:
    home.write("my_agents.py", PLAIN)
    home.write("aorch.toml", '[agents.greet]\nclass = "my_agents:greet"\n')
    for arguments in (("agents", "list"), ("run", "greet", "name=Ann", "times:=2", 'tags:=["a"]')):
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "aorch", *arguments],
            cwd=home.folder, env=home.environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "greet" in ran.stdout or "Hello AnnHello Ann" in ran.stdout
        assert "aorch.agents.function" in ran.stderr
        assert "pydantic" not in ran.stderr
