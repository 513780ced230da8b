"""Parameters of pipelines that are secret because a step passes them on as a secret parameter."""

from collections.abc import Iterable, Iterator
from typing import Any

from aorch.agents.parameters import json_schema
from aorch.agents.registry import Registry
from aorch.agents.secret_schemas import SecretSchema
from aorch.config import templates
from aorch.config.pipeline_config import Step
from aorch.engine.pipeline import Pipeline


def secret_schemas(registry: Registry, capability: str, within: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """The parameters of a capability by all its agents that mark some as secret. Pipelines mark what their steps do.

    `within` are the pipelines that lead to this one.
    """
    found = []
    for each in registry.with_capability(capability):
        if each.has_secrets(capability):
            found.append(each.capabilities[capability].parameters)
        pipeline = each.agent
        if not isinstance(pipeline, Pipeline) or pipeline.agent_id in within:
            continue
        if names := _secret_inputs(registry, pipeline, within | {pipeline.agent_id}):
            found.append(_marked(pipeline, names))
    return found


def _marked(pipeline: Pipeline, names: set[str]) -> dict[str, Any]:
    """A schema that marks these parameters of a pipeline as secret, and has the names of the others."""
    if "" in names:
        return {"type": "object", "writeOnly": True}
    own = json_schema(pipeline.declared.parameters).get("properties")
    declared = dict.fromkeys(own if isinstance(own, dict) else (), True)
    return {"type": "object", "properties": {**declared, **{name: {"writeOnly": True} for name in names}}}


def _secret_inputs(registry: Registry, pipeline: Pipeline, within: frozenset[str]) -> set[str]:
    """The names of the inputs that go into secret parameters; an empty name stands for all of them."""
    names: set[str] = set()
    for step in pipeline.declared.steps:
        for declared in secret_schemas(registry, step.capability, within):
            schema = SecretSchema(json_schema(declared))
            secret = [step.parameters] if schema.fault() else _secret_templates(step.parameters, [schema.root], schema)
            names.update(_inputs(step, secret))
    return names


def _secret_templates(template: Any, schemas: list[Any], schema: SecretSchema) -> Iterator[Any]:
    """The parts of the parameters of a step that may become secret values, or contain some."""
    applied = schema.applied(schemas)
    if any(each.get("writeOnly") is True for each in applied):
        yield template
    elif isinstance(template, dict):
        for name, each in template.items():
            yield from _secret_templates(each, schema.of_name(applied, name), schema)
    elif isinstance(template, list):
        for number, each in enumerate(template):
            yield from _secret_templates(each, schema.of_item(applied, number), schema)
    elif templates.is_reference(template) and schema.marks_below(applied):
        yield template


def _inputs(step: Step, secret: Iterable[Any]) -> Iterator[str]:
    """The inputs of the pipeline in these templates of a step, also by way of the items of its `for_each`."""
    for template in secret:
        for reference in templates.references(template):
            if reference.path[:1] == ("input",):
                yield reference.path[1] if len(reference.path) > 1 else ""
            elif reference.path[:1] == ("item",):
                yield from _inputs(step, [step.for_each])
