"""The configuration of a pipeline, from `[pipelines.NAME]` in aorch.toml or the Python class `Pipeline`. Finds every error
that can be found before the pipeline runs (engine/pipeline.py).
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
"""The keys of `steps.NAME` in a template."""
OF_A_FAN_OUT = ("data", "success", "error", "items")
"""The keys of a step with `for_each`:

`data` is a list of each item's data, `items` a list of objects with the keys OF_A_STEP.
"""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of a pipeline: a task for any agent with `capability`.

    `parameters` is an object with templates in its strings, or one reference to an object. `needs` names the steps that must end
    first (None: the step before this one); steps to which a template refers can be omitted. `for_each` is a list, or a
    reference to one: the step runs once for each `{item}` (number `{index}`), `parallel` of them at once. `on_error`: `stop` ends
    the pipeline with the error of this step; `continue` runs the steps that do not need this one, then ends with the error;
    `keep` makes the error the step's result, and all other steps run. `timeout_s` is in seconds.
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
    """A pipeline: its description and parameters as a capability, its steps, and the template of its result.

    Without `result`, the result is the data of the last step.
    """

    steps: list[Step]
    description: str = ""
    parameters: dict[str, Any] = {}
    idempotent: bool = False
    timeout_s: float | None = None
    result: Any = None


def needs_of(pipeline: PipelineConfig) -> dict[str, list[str]]:
    """For each step, the names of the steps that must end first: those that it names or refers to, or the one before it."""
    needs: dict[str, list[str]] = {}
    before: list[str] = []
    for step in pipeline.steps:
        referred = [each.path[1] for each in _references(step) if each.path[:1] == ("steps",)]
        needs[step.name] = list(dict.fromkeys([*(before if step.needs is None else step.needs), *referred]))
        before = [step.name]
    return needs


def check(where: str, pipeline: PipelineConfig) -> None:
    """Raise ConfigInvalid, which begins with `where` and names the step and the reason, for a pipeline that cannot run."""
    if pipeline.timeout_s is not None and not 0 < pipeline.timeout_s < math.inf:
        raise ConfigInvalid(f"{where}.timeout_s is {pipeline.timeout_s:g}; it must be a finite number above 0")
    if not pipeline.steps:
        raise ConfigInvalid(f"{where} has no steps", f"Add a table [[{where.rpartition(': ')[2]}.steps]].")
    names = [step.name for step in pipeline.steps]
    for number, step in enumerate(pipeline.steps):
        place = f"{where}.steps.{step.name or number}"
        if step.name in names[:number]:
            raise ConfigInvalid(f"{place}: two steps have the name {step.name!r}", "Rename one of them.")
        for reason in _wrong(step):
            raise ConfigInvalid(f"{place}{reason}")
    steps = {step.name: step for step in pipeline.steps}
    for step in pipeline.steps:
        _check_references(f"{where}.steps.{step.name}", step, steps)
    with _placed(f"{where}.result"):
        for reference in _checked_references(pipeline.result):
            _check_reference(reference, steps, None, within=False)
    _check_order(where, pipeline)


def _wrong(step: Step) -> Iterator[str]:
    """The errors of a step that do not depend on other steps."""
    if not re.fullmatch(r"[\w-]+", step.name):
        yield f".name is {step.name!r}; it must consist of letters, digits, _ and -"
    if not step.capability:
        yield ".capability is empty"
    if step.parallel < 1:
        yield f".parallel is {step.parallel}; it must be 1 or more"
    if step.timeout_s is not None and not 0 < step.timeout_s < math.inf:
        yield f".timeout_s is {step.timeout_s:g}; it must be a finite number above 0"
    if step.agent_id == "":
        yield ".agent_id is empty"
    if isinstance(step.parameters, str) and not templates.is_reference(step.parameters):
        yield ".parameters is a string; it must be an object, or one {reference} to an object"
    if isinstance(step.for_each, str) and not templates.is_reference(step.for_each):
        yield ".for_each is a string; it must be a list, or one {reference} to a list"


def _references(step: Step) -> Iterator[templates.Reference]:
    yield from templates.references(step.for_each)
    yield from templates.references(step.parameters)


def _check_references(place: str, step: Step, steps: dict[str, Step]) -> None:
    for name in step.needs or ():
        if name == step.name:
            raise ConfigInvalid(f"{place}.needs names the step itself")
        if name not in steps:
            raise ConfigInvalid(f"{place}.needs: no step has the name {name!r}", f"The steps are: {', '.join(steps)}.")
    for key, template, within in (("for_each", step.for_each, False), ("parameters", step.parameters, True)):
        with _placed(f"{place}.{key}"):
            for reference in _checked_references(template):
                _check_reference(reference, steps, step, within=within and step.for_each is not None)


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Errors in a template name its place in the file."""
    try:
        yield
    except ReferenceInvalid as error:
        raise ConfigInvalid(f"{place}: {error}", error.hint) from error


_EARLIER_FORM = re.compile(r"\{\{\s*((?:input|steps|item|index)\b[^{}]*?)\s*\}\}")
_ALMOST = re.compile(r"\{\s*(?:input|steps|item|index)\b[^{}]*\}?")


def _checked_references(template: Any) -> Iterator[templates.Reference]:
    """The references in `template`. Raises ReferenceInvalid for text that was meant to be a reference and is not one."""
    if isinstance(template, dict | list):
        for value in template.values() if isinstance(template, dict) else template:
            yield from _checked_references(value)
    elif isinstance(template, str):
        if earlier := _EARLIER_FORM.search(template):
            raise ReferenceInvalid(f"{earlier[0]} has double braces", f"Write {{{earlier[1]}}}.")
        templates.check_encodings(template)
        found = list(templates.references(template))
        whole = {reference.text for reference in found}
        for almost in _ALMOST.finditer(template):
            if almost[0] not in whole:
                raise ReferenceInvalid(f"{almost[0][:60]} is not a reference", "Write a path, such as {input.path}.")
        yield from found


def _check_reference(
    reference: templates.Reference, steps: dict[str, Step], step: Step | None, *, within: bool
) -> None:
    """Raise ReferenceInvalid for a reference that cannot exist, regardless of the results of the steps."""
    shown, (root, *rest) = reference.text, reference.path or (reference.text,)
    if root == "input" or (root in ("item", "index") and within):
        return
    if root in ("item", "index"):
        raise ReferenceInvalid(f"{shown} exists only in the parameters of a step with for_each")
    if root != "steps" or not rest:
        known = "input, steps.NAME" + (", item, index" if within else "")
        literal = templates.literal(shown)
        raise ReferenceInvalid(
            f"{shown} leads nowhere", f"A template here can refer to {known}. The literal text is written {literal}."
        )
    if rest[0] not in steps:
        raise ReferenceInvalid(f"{shown}: no step has the name {rest[0]!r}", f"The steps are: {', '.join(steps)}.")
    if step is not None and rest[0] == step.name:
        raise ReferenceInvalid(f"{shown}: the step refers to its own result")
    keys = OF_A_STEP if steps[rest[0]].for_each is None else OF_A_FAN_OUT
    if len(rest) > 1 and rest[1] not in keys:
        raise ReferenceInvalid(f"{shown} leads nowhere", f"steps.{rest[0]} has {', '.join(keys)}.")


def _check_order(where: str, pipeline: PipelineConfig) -> None:
    try:
        TopologicalSorter(needs_of(pipeline)).prepare()
    except CycleError as error:
        cycle = " → ".join(reversed(error.args[1]))
        raise ConfigInvalid(
            f"{where}: steps need each other in a cycle: {cycle}",
            "A step without `needs` needs the step before it; with `needs = []` it needs none.",
        ) from error
