"""Functions as agents: `@capability("greet")` over a plain `def` or an `async def`.

The schema of the parameters follows from the annotations, as pydantic reads them. Pydantic is imported only for annotations,
values and results that are not plain (see plain_types.py).
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_type_hints

from aorch.agents.base import Agent, AgentCapability, RetryPolicy
from aorch.agents.failure import text_of
from aorch.agents.plain_types import NotPlain, Plain, is_plain_json, plain
from aorch.errors import AgentFailed, AorchError, ParametersInvalid, UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Function = TypeVar("Function", bound=Callable[..., Any])
_DECLARED = "__aorch_capability__"


def capability(
    name: str, *, description: str = "", idempotent: bool = False, retry: RetryPolicy | None = None
) -> Callable[[Function], Function]:
    """Declare a function as a capability: a decorator, which returns the function itself.

    Its parameters are those of the capability. Annotations can be any type that pydantic can validate: its own models,
    dataclasses, TypedDict, Literal, Optional, and so on. The docstring is the description, unless `description` is given.
    What the function returns is the data, as JSON; an exception is a failure. A static method or a class method is called without
    an object. Raises TypeError for a function that takes `*args`, for a generator, and for anything else that can be called.
    """
    if not isinstance(name, str) or not name:
        raise TypeError('@capability needs the name of the capability: @capability("greet")')

    def declare(function: Function) -> Function:
        found: Any = function.__func__ if isinstance(function, staticmethod | classmethod) else function
        if not inspect.isfunction(inspect.unwrap(found)):
            what = "a functools.partial" if isinstance(found, functools.partial) else f"a {type(found).__name__}"
            raise TypeError(f"@capability({name!r}) is above {what}; write it above a `def` that calls it")
        text = description or inspect.getdoc(found) or ""
        setattr(found, _DECLARED, Declared(found, name, text, idempotent, retry or RetryPolicy()))
        return function

    return declare


@dataclass(frozen=True)
class Declared:
    """A function that is a capability."""

    function: Callable[..., Any]
    name: str
    description: str
    idempotent: bool
    retry: RetryPolicy

    def __post_init__(self) -> None:
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise TypeError(f"the capability {self.name!r} is a generator; return the data instead")
        if any(each.kind is each.VAR_POSITIONAL for each in self._parameters):
            raise TypeError(
                f"the capability {self.name!r} takes *args, which have no names; give each parameter a name"
            )

    @property
    def is_async(self) -> bool:
        """Whether the function is an `async def`."""
        return inspect.iscoroutinefunction(self.function)

    def as_capability(self) -> AgentCapability:
        """The capability, with the JSON Schema of the parameters. Raises UsageError for an annotation that has none."""
        return AgentCapability(self.name, self.description, self._schema, self.idempotent, self.retry)

    def call(self, parameters: dict[str, Any]) -> Any:
        """Call the function with `parameters`, converted to what its annotations name. Raises ParametersInvalid."""
        try:
            given = self._taken(parameters)
        except NotPlain:
            given = self._validated(parameters)
        positional = [each for each in self._parameters if each.kind is each.POSITIONAL_ONLY]
        arguments = [given.pop(each.name, each.default) for each in positional]
        return self.function(*arguments, **given)

    def _taken(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The values of plain parameters. Raises NotPlain."""
        known, others = self._plain, self._takes_others
        if known is None or any(name not in parameters for name in self._required):
            raise NotPlain
        if not others and not parameters.keys() <= known.keys():
            raise NotPlain
        return {name: known[name].take(value) if name in known else value for name, value in parameters.items()}

    def _validated(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The values that pydantic makes of `parameters`. Raises ParametersInvalid."""
        from pydantic import ValidationError  # noqa: PLC0415  60 ms

        try:
            return self._adapter.validate_python(parameters)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ParametersInvalid(f"parameter {place!r} of {self.name!r}: {first['msg']}") from error

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())

    @property
    def _named(self) -> list[inspect.Parameter]:
        return [each for each in self._parameters if each.kind is not each.VAR_KEYWORD]

    @property
    def _takes_others(self) -> bool:
        return len(self._named) < len(self._parameters)

    @property
    def _required(self) -> list[str]:
        return [each.name for each in self._named if each.default is each.empty]

    @cached_property
    def _plain(self) -> dict[str, Plain] | None:
        """Each parameter, if all have plain annotations."""
        try:
            hints = get_type_hints(self.function, include_extras=True)
            return {each.name: plain(hints.get(each.name, Any)) for each in self._named}
        except Exception:  # noqa: BLE001  an annotation can raise anything; `_adapter` names the reason
            return None

    @cached_property
    def _adapter(self) -> "TypeAdapter[dict[str, Any]]":
        """Validates an object with a key for each parameter. The function itself applies its defaults."""
        from typing import NotRequired  # noqa: PLC0415  likewise: pydantic needs this TypedDict

        from pydantic import ConfigDict, TypeAdapter, with_config  # noqa: PLC0415  likewise
        from typing_extensions import TypedDict  # noqa: PLC0415  before Python 3.12 pydantic rejects that of typing

        extra: Literal["allow", "forbid"] = "allow" if self._takes_others else "forbid"
        try:
            hints = get_type_hints(self.function, include_extras=True)
            types = {each.name: hints.get(each.name, Any) for each in self._named}
            fields = {name: kind if name in self._required else NotRequired[kind] for name, kind in types.items()}
            shape = with_config(ConfigDict(extra=extra))(TypedDict(self.name, fields))  # type: ignore[operator]
            return TypeAdapter(shape)
        except Exception as error:
            raise self._invalid(error) from error

    @cached_property
    def _schema(self) -> dict[str, Any]:
        defaults = {each.name: each.default for each in self._named if each.default is not each.empty}
        if self._plain is None or not is_plain_json(defaults):
            return self._schema_of_pydantic
        properties = {name: {**each.schema} for name, each in self._plain.items()}
        for name, default in defaults.items():
            properties[name]["default"] = default
        required = {"required": self._required} if self._required else {}
        return {
            "additionalProperties": self._takes_others, "properties": properties, **required, "type": "object"
        }  # fmt: skip

    @cached_property
    def _schema_of_pydantic(self) -> dict[str, Any]:
        from pydantic_core import PydanticSerializationError, to_jsonable_python  # noqa: PLC0415  likewise

        try:
            schema = self._adapter.json_schema()
        except AorchError:
            raise
        except Exception as error:
            raise self._invalid(error) from error
        schema.pop("title", None)
        for each in self._parameters:
            if (declared := schema.get("properties", {}).get(each.name)) is not None:
                declared.pop("title", None)
                if each.default is not each.empty:
                    with contextlib.suppress(
                        PydanticSerializationError, ValueError
                    ):  # such as bytes that are not UTF-8
                        declared["default"] = to_jsonable_python(each.default, fallback=repr)
        return schema

    def _invalid(self, error: Exception) -> UsageError:
        reason, *_ = text_of(error).splitlines() or [""]  # pydantic's next lines are an address with the same words
        return UsageError(
            f"the parameters of the capability {self.name!r} have no JSON Schema: {type(error).__name__}: {reason}",
            "Annotate them with types that pydantic can validate.",
        )


class FunctionAgent(Agent):
    """An agent whose capabilities are functions. Each runs in a thread, unless it is an `async def`."""

    def __init__(self, agent_id: str, functions: Iterable[Declared], description: str = "") -> None:
        self.functions = {each.name: each for each in functions}
        super().__init__(agent_id, agent_id, description)

    def get_capabilities(self) -> list[AgentCapability]:
        """The functions."""
        return [each.as_capability() for each in self.functions.values()]

    def execute(self, task: dict[str, Any]) -> Any:
        """Call the function; an `async def` is awaited by the caller."""
        function = self.functions[task["capability"]]
        returned = function.call(task["parameters"])
        return _awaited(returned) if inspect.isawaitable(returned) else _answer(returned)


class AsyncFunctionAgent(FunctionAgent):
    """An agent whose capabilities are `async def` functions, which run on the event loop."""

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Call the function."""
        return _answer(await self.functions[task["capability"]].call(task["parameters"]))


def declared(found: object) -> Declared | None:
    """The declaration of a function with `@capability`; None for anything else."""
    declaration = vars(found).get(_DECLARED) if inspect.isroutine(found) and hasattr(found, "__dict__") else None
    if not isinstance(declaration, Declared):
        return None
    # a bound method, or a decorator above @capability, has the same attributes
    return (
        declaration
        if declaration.function is found
        else replace(declaration, function=cast("Callable[..., Any]", found))
    )


def as_agent(given: Any) -> Any:
    """`given`, or the agent of it if it is a function with `@capability`."""
    function = declared(given)
    return given if function is None else agent_of_function(function)


def agent_of_function(function: Declared) -> FunctionAgent:
    """The agent of one function. Its ID is the function's name."""
    return _agent(function.function.__name__, [function], _first_line(function.description))


def agent_of_module(module: ModuleType) -> FunctionAgent:
    """The agent of all functions with `@capability` that `module` defines. Its ID is the module's name.

    Raises UsageError if there are none, or two with the same capability.
    """
    values = {id(value): value for value in vars(module).values()}  # a function can have two names
    found = [each for value in values.values() if (each := declared(value)) is not None]
    functions = [each for each in found if each.function.__module__ == module.__name__]
    if not functions:
        raise UsageError("it defines no function with @capability", "Write MODULE:CLASS for a class.")
    names = [each.name for each in functions]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two of its functions have the capability {', '.join(sorted(twice))}", "Rename one of them.")
    return _agent(module.__name__.rpartition(".")[2], functions, _first_line(inspect.getdoc(module) or ""))


def _agent(agent_id: str, functions: list[Declared], description: str) -> FunctionAgent:
    is_async = all(each.is_async for each in functions)
    return (AsyncFunctionAgent if is_async else FunctionAgent)(agent_id, functions, description)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


async def _awaited(returned: Any) -> dict[str, Any]:
    return _answer(await returned)


def _answer(returned: Any) -> dict[str, Any]:
    """The data is `returned` as JSON; models and dataclasses become objects. Raises AgentFailed if it has no JSON form."""
    if "pydantic_core" not in sys.modules and is_plain_json(returned):
        return {"success": True, "data": returned}
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # noqa: PLC0415  50 ms, only for functions

    try:
        return {"success": True, "data": to_jsonable_python(returned)}
    except (PydanticSerializationError, ValueError) as error:
        raise AgentFailed(f"its result has no JSON form: {error}") from error
