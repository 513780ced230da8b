"""What a pipeline is: steps, what each needs, and everything that can be wrong with that before it is performed.

The shape of `[pipelines.NAME]` in aorch.toml, and of the `Pipeline` of Python, which core/pipeline.py performs.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

import msgspec

from aorch.config import templates
from aorch.errors import ConfigInvalid, ReferenceInvalid

OF_A_STEP = ("data", "success", "error", "contract_id")
"""What can be said of a step, as `steps.NAME.…`."""
OF_A_FAN_OUT = ("data", "success", "error", "items")
"""And of one with `for_each`: `data` is the list of each item's data, `items` the list of what OF_A_STEP names, of each."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a pipeline: a task for whoever has `capability`.

    `parameters` is an object whose texts may hold templates, or one reference to an object. `needs` names the steps that
    must have ended before (None: the one before it); those that its templates refer to are needed without being named.
    `for_each` is a list, or a reference to one: the step is done for each `{{ item }}` (number `{{ index }}`), `parallel` of
    them at a time. `on_error`: `stop` ends the pipeline with this step's failure; `continue` lets the steps go on that do
    not need this one, and ends with the failure then; `keep` takes the failure for the result, and all go on.
    `timeout_s` is in seconds.
    """

    name: str
    capability: str
    parameters: dict[str, Any] | str = {}
    needs: list[str] | None = None
    for_each: list[Any] | str | None = None
    parallel: int = 8
    on_error: Literal["stop", "continue", "keep"] = "stop"
    agent_id: str | None = None
    timeout_s: float | None = None


class PipelineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pipeline as it is declared: what it says of itself as a capability, its steps, and the template of its data.

    Without `result` its data is that of the last step.
    """

    steps: list[Step]
    description: str = ""
    parameters: dict[str, Any] = {}
    idempotent: bool = False
    timeout_s: float | None = None
    result: Any = None


def needs_of(pipeline: PipelineConfig) -> dict[str, list[str]]:
    """Each step's name with those of the steps that must have ended before it: named, referred to, or the one before."""
    needs: dict[str, list[str]] = {}
    before: list[str] = []
    for step in pipeline.steps:
        referred = [path[1] for path in _references(step) if path[0] == "steps"]
        needs[step.name] = list(dict.fromkeys([*(before if step.needs is None else step.needs), *referred]))
        before = [step.name]
    return needs


def check(where: str, pipeline: PipelineConfig) -> None:
    """Raise ConfigInvalid, which begins with `where` and names the step and the reason, for what could never work."""
    if pipeline.timeout_s is not None and not 0 < pipeline.timeout_s < math.inf:
        raise ConfigInvalid(f"{where}.timeout_s is {pipeline.timeout_s:g}; it must be a finite number above 0")
    if not pipeline.steps:
        raise ConfigInvalid(f"{where} has no steps", f"Add a table [[{where.rpartition(': ')[2]}.steps]].")
    names = [step.name for step in pipeline.steps]
    for number, step in enumerate(pipeline.steps):
        place = f"{where}.steps.{step.name or number}"
        if step.name in names[:number]:
            raise ConfigInvalid(f"{place}: two steps are called {step.name!r}", "Give one of them another name.")
        for reason in _wrong(step):
            raise ConfigInvalid(f"{place}{reason}")
    steps = {step.name: step for step in pipeline.steps}
    for step in pipeline.steps:
        _check_references(f"{where}.steps.{step.name}", step, steps)
    with _placed(f"{where}.result"):
        for path in templates.references(pipeline.result):
            _check_path(path, steps, None, within=False)
    _check_order(where, pipeline)


def _wrong(step: Step) -> Iterator[str]:
    """What is wrong with a step that needs no look at another."""
    if not re.fullmatch(templates.WORD, step.name):
        yield f".name is {step.name!r}; it must be a word without blanks, dots, brackets, braces and quotes"
    if not step.capability:
        yield ".capability is empty"
    if step.parallel < 1:
        yield f".parallel is {step.parallel}; it must be 1 or more"
    if step.timeout_s is not None and not 0 < step.timeout_s < math.inf:
        yield f".timeout_s is {step.timeout_s:g}; it must be a finite number above 0"
    if step.agent_id == "":
        yield ".agent_id is empty"
    if isinstance(step.parameters, str) and not templates.is_reference(step.parameters):
        yield ".parameters is a text; it must be an object, or one {{ reference }} to an object"
    if isinstance(step.for_each, str) and not templates.is_reference(step.for_each):
        yield ".for_each is a text; it must be a list, or one {{ reference }} to a list"


def _references(step: Step) -> Iterator[templates.Path]:
    yield from templates.references(step.for_each)
    yield from templates.references(step.parameters)


def _check_references(place: str, step: Step, steps: dict[str, Step]) -> None:
    for name in step.needs or ():
        if name == step.name:
            raise ConfigInvalid(f"{place}.needs names the step itself")
        if name not in steps:
            raise ConfigInvalid(f"{place}.needs: no step is called {name!r}", f"There are: {', '.join(steps)}.")
    for key, template, within in (("for_each", step.for_each, False), ("parameters", step.parameters, True)):
        with _placed(f"{place}.{key}"):
            for path in templates.references(template):
                _check_path(path, steps, step, within=within and step.for_each is not None)


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """What is wrong with a template, told with its place in the file."""
    try:
        yield
    except ReferenceInvalid as error:
        raise ConfigInvalid(f"{place}: {error}", error.hint) from error


def _check_path(path: templates.Path, steps: dict[str, Step], step: Step | None, *, within: bool) -> None:
    """Raise ReferenceInvalid for a path that can lead nowhere, whatever the steps answer."""
    shown, (root, *rest) = f"{{{{ {'.'.join(path)} }}}}", path
    if root == "input" or (root in ("item", "index") and within):
        return
    if root in ("item", "index"):
        raise ReferenceInvalid(f"{shown} is there only in the parameters of a step with for_each")
    if root != "steps" or not rest:
        known = "input, steps.NAME" + (", item, index" if within else "")
        raise ReferenceInvalid(f"{shown} leads nowhere", f"A template here can refer to {known}.")
    if rest[0] not in steps:
        raise ReferenceInvalid(f"{shown}: no step is called {rest[0]!r}", f"There are: {', '.join(steps)}.")
    if step is not None and rest[0] == step.name:
        raise ReferenceInvalid(f"{shown}: the step refers to its own answer, which it cannot have yet")
    there = OF_A_STEP if steps[rest[0]].for_each is None else OF_A_FAN_OUT
    if len(rest) > 1 and rest[1] not in there:
        raise ReferenceInvalid(f"{shown} leads nowhere", f"Of steps.{rest[0]} there is {', '.join(there)}.")


def _check_order(where: str, pipeline: PipelineConfig) -> None:
    try:
        TopologicalSorter(needs_of(pipeline)).prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise ConfigInvalid(
            f"{where}: steps need each other in a circle: {circle}",
            "A step without `needs` needs the one before it; `needs = []` says that it needs none.",
        ) from error
