"""Functions as agents: their schema comes from their annotations, and they stay functions."""

import dataclasses
import functools
import re
from collections.abc import Callable
from datetime import date
from enum import Enum
from types import ModuleType
from typing import Annotated, Any, Literal, Optional

import pydantic
import pytest
from homes import Home
from typing_extensions import TypedDict

from aorch import Orchestrator, capability, report_progress
from aorch.agents.agent_checks import capabilities_of
from aorch.agents.function import agent_of_module, as_agent
from aorch.errors import AgentFailed, ParametersInvalid, UsageError


@capability("greet", idempotent=True)
async def greet(name: str, times: int = 1) -> str:
    """Greet someone.

    More than once, if asked.
    """
    return ", ".join([f"Hello {name}"] * times)


class Colour(Enum):
    RED = "red"


class Point(pydantic.BaseModel):
    x: int
    label: Optional[str] = None  # noqa: UP045  both forms are meant


@dataclasses.dataclass
class Size:
    width: int


class Options(TypedDict):
    fast: bool


@capability("draw")
def draw(
    point: Point,
    size: Size,
    options: Options,
    mode: Literal["fill", "line"],
    day: date | None = None,
    colour: Colour = Colour.RED,
    weight: Annotated[float, pydantic.Field(gt=0)] = 1.0,
) -> dict[str, Any]:
    return {"types": [type(each).__name__ for each in (point, size, options, day)], "point": point, "colour": colour}


async def asked(orchestrator: Orchestrator, name: str, /, **parameters: Any) -> dict[str, Any]:
    return dict(await orchestrator.orchestrate("s", {"capability": name, "parameters": parameters}))


async def test_a_function_is_an_agent_and_stays_a_function(orchestrator: Orchestrator) -> None:
    assert await greet("Ann", times=2) == "Hello Ann, Hello Ann"
    assert orchestrator.register_agent(greet)
    answer = await asked(orchestrator, "greet", name="Ann")
    assert (answer["data"], answer["agent_id"]) == ("Hello Ann", "greet")
    (described,) = orchestrator.list_agents()[-1]["capabilities"]
    assert described == {
        "name": "greet",
        "description": "Greet someone.\n\nMore than once, if asked.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "times": {"type": "integer", "default": 1}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "idempotent": True,
    }
    assert orchestrator.list_agents()[-1]["description"] == "Greet someone."
    assert orchestrator.registry.runs_code()


async def test_parameters_become_what_the_annotations_name_and_results_become_json(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(draw)
    given: dict[str, Any] = {"point": {"x": 1}, "size": {"width": 2}, "options": {"fast": True}, "mode": "fill"}
    answer = await asked(orchestrator, "draw", **given, day="2026-01-02")
    assert answer["data"] == {
        "types": ["Point", "Size", "dict", "date"],
        "point": {"x": 1, "label": None},
        "colour": "red",
    }


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("greet", {}, "parameter 'name' of 'greet' is missing"),
        ("greet", {"name": "A", "age": 3}, "'greet' has no parameter 'age'"),
        ("greet", {"name": 3}, "parameter 'name' of 'greet'"),
        ("draw", {"point": {"x": 1}, "size": {"width": 1}, "options": {"fast": True}, "mode": "x"}, "'mode'"),
        ("draw", {"point": {"x": "a"}, "size": {"width": 1}, "options": {"fast": True}, "mode": "fill"}, "'point.x'"),
    ],
)
async def test_parameters_of_another_type_are_rejected_before_the_call(
    orchestrator: Orchestrator, name: str, parameters: dict[str, Any], message: str
) -> None:
    orchestrator.register_agent(greet)
    orchestrator.register_agent(draw)
    answer = await asked(orchestrator, name, **parameters)
    assert (answer["success"], message in answer["error"]) == (False, True)


def test_a_check_that_a_schema_cannot_express_names_the_parameter() -> None:
    with pytest.raises(ParametersInvalid, match="parameter 'day' of 'draw': Input should be a valid date"):
        as_agent(draw).execute({"capability": "draw", "parameters": {
            "point": {"x": 1}, "size": {"width": 1}, "options": {"fast": True}, "mode": "fill", "day": "soon"}})  # fmt: skip


async def test_an_exception_and_a_result_without_json_are_failures(orchestrator: Orchestrator) -> None:
    @capability("fail")
    async def fail() -> None:
        raise ValueError("too dark")

    @capability("odd")
    def odd() -> object:
        return object()

    orchestrator.register_agent(fail)
    orchestrator.register_agent(odd)
    assert "ValueError: too dark (test_function.py, line" in (await asked(orchestrator, "fail"))["error"]
    assert "its result has no JSON form" in (await asked(orchestrator, "odd"))["error"]
    with pytest.raises(AgentFailed):
        as_agent(odd).execute({"capability": "odd", "parameters": {}})


async def test_other_parameters_reach_a_function_that_takes_them(orchestrator: Orchestrator) -> None:
    @capability("gather")
    def gather(first: int, /, second: int = 2, *, third: Any = None, **others: Any) -> list[Any]:
        report_progress("half")
        return [first, second, third, others]

    orchestrator.register_agent(gather)
    assert (await asked(orchestrator, "gather", first=1, more=[4]))["data"] == [1, 2, None, {"more": [4]}]


def test_a_function_without_a_form_as_a_capability_is_rejected() -> None:
    def variadic(*values: int) -> None: ...

    def generator() -> Any:
        yield 1

    def opaque(value: Callable[["Nowhere"], int]) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function, message in ((variadic, r"takes \*args"), (generator, "is a generator")):
        with pytest.raises(TypeError, match=message):
            capability("c")(function)
    with pytest.raises(TypeError, match="needs the name"):
        capability(variadic)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the parameters of the capability 'c' have no JSON Schema: NameError"):
        as_agent(capability("c")(opaque)).get_capabilities()

    def unclear(value: Callable[[int], int]) -> None: ...

    with pytest.raises(UsageError) as refused:
        capabilities_of(as_agent(capability("c")(unclear)))
    assert re.fullmatch(
        r"the parameters of the capability 'c' have no JSON Schema: Pydantic\w+: [^\n]+", str(refused.value)
    )
    assert refused.value.hint == "Annotate them with types that pydantic can validate."


FUNCTIONS = '''
"""Greetings."""
from aorch import capability
from aorch.agents import Agent as Imported

@capability("greet")
async def greet(name: str) -> str:
    """Greet someone."""
    return f"Hello {name}"

@capability("part")
def leave(name: str) -> str:
    return f"Bye {name}"

class Tools:
    @staticmethod
    @capability("add")
    def add(a: int, b: int) -> int:
        return a + b

    @capability("method")
    def method(self) -> None: ...
'''


def test_a_function_or_a_module_of_functions_is_added_and_runs(home: Home) -> None:
    home.write("my_agents.py", FUNCTIONS)
    assert home.aorch("agents", "add", "--class", "my_agents:greet").out.startswith("greet added to ")
    assert home.aorch("run", "greet", "name=Ann").out == "Hello Ann\n"
    assert home.aorch("agents", "remove", "greet").code == 0
    assert home.aorch("agents", "add", "--class", "my_agents").out.startswith("my_agents added to ")
    assert home.aorch("run", "part", "name=Ann").out == "Bye Ann\n"
    assert home.aorch("agents", "add", "--class", "my_agents:Tools.add").out.startswith("add added to ")
    assert home.aorch("run", "add", "a:=1", "b:=2").out == "3\n"
    shown = home.aorch("agents", "show", "my_agents", "--json").json
    assert (shown["description"], [each["name"] for each in shown["capabilities"]]) == ("Greetings.", ["greet", "part"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--class", "my_agents:capability"), "not a function with @capability"),
        (("--class", "json"), "it defines no function with @capability"),
        (("--class", "my_agents:Tools.method"), "Tools.method is a method of objects; write @staticmethod"),
        (("--class", "my_agents:"), "its form must be MODULE:CLASS, MODULE:FUNCTION or MODULE"),
        (("--class", "my_agents:greet", "--argument", "a=b"), "a function takes no `arguments`"),
        (("--class", "twice"), "two of its functions have the capability a"),
    ],
)
def test_what_is_no_function_of_an_agent_is_rejected(home: Home, arguments: tuple[str, ...], message: str) -> None:
    home.write("my_agents.py", FUNCTIONS)
    function = "@capability('a')\ndef {}(): ...\n"
    home.write("twice.py", f"from aorch import capability\n{function.format('a')}{function.format('b')}")
    failed = home.aorch("agents", "add", *arguments)
    assert (failed.code, message in " ".join(failed.err.split())) == (2, True)


def test_a_method_and_a_decorator_above_the_capability_are_called_as_they_are() -> None:
    class Counter:
        @capability("count")
        def count(self, steps: int) -> int:
            return steps + 1

    def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return 2 * function(*args, **kwargs)

        return wrapper

    for given, data in ((Counter().count, 4), (doubled(Counter().count), 8)):
        agent = as_agent(given)
        assert list(agent.get_capabilities()[0].parameters["properties"]) == ["steps"]
        assert agent.execute({"capability": "count", "parameters": {"steps": 3}}) == {"success": True, "data": data}


class Tools:
    @capability("outside")
    @staticmethod
    def outside(n: int) -> int:
        """Outside."""
        return n

    @staticmethod
    @capability("inside")
    def inside(n: int) -> int:
        return n

    @capability("of_class")
    @classmethod
    def of_class(cls, n: int) -> str:
        return f"{cls.__name__} {n}"


@pytest.mark.parametrize(
    ("given", "data"),
    [(Tools.outside, 3), (Tools.inside, 3), (Tools.of_class, "Tools 3"), (Tools().of_class, "Tools 3")],
)
def test_a_static_method_and_a_class_method_can_be_capabilities(given: Callable[..., Any], data: Any) -> None:
    agent = as_agent(given)
    assert list(agent.get_capabilities()[0].parameters["properties"]) == ["n"]
    task = {"capability": agent.get_capabilities()[0].name, "parameters": {"n": 3}}
    assert agent.execute(task) == {"success": True, "data": data}


@pytest.mark.parametrize(
    ("given", "what"),
    [(functools.partial(greet, times=2), "a functools.partial"), (Colour, "a EnumType"), (Tools().inside, None),
     (len, "a builtin_function_or_method"), (Tools().of_class, "a method")],
)  # fmt: skip
def test_what_is_no_function_cannot_be_a_capability(given: Any, what: str | None) -> None:
    if what is None:  # a static method is a function
        assert capability("c")(given) is given
        return
    with pytest.raises(TypeError) as raised:
        capability("c")(given)
    assert str(raised.value) == f"@capability('c') is above {what}; write it above a `def` that calls it"


def test_a_function_with_two_names_is_one_capability_and_a_default_needs_no_json_form() -> None:
    module = ModuleType("named")

    @capability("read")
    def read(data: bytes = b"\xff") -> int:
        return len(data)

    read.__module__ = "named"
    vars(module).update(read=read, alias=read)
    (found,) = agent_of_module(module).get_capabilities()
    assert found.parameters["properties"] == {"data": {"type": "string", "format": "binary"}}
