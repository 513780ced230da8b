"""Secret parameters: those that a capability's JSON Schema marks with `"writeOnly": true`, at any depth."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aorch.agents.parameters import json_schema
from aorch.agents.secret_schemas import SecretSchema

DEEPEST = 32
"""Maximum nesting of values that is followed; deeper ones to which a schema applies are secret as a whole."""

Hide = Callable[[Any], Any]
"""Replaces a secret value."""
Found = list[tuple[str, Any]]
"""Secret values, each with its place, such as `login.password`."""


def without_secrets(
    parameters: Mapping[str, Any], declared: dict[str, Any], hide: Hide
) -> tuple[dict[str, Any], Found]:
    """`parameters` with `hide(value)` instead of each secret value, and the secret values. `declared` are the parameters of the
    capability, as a JSON Schema or in the short form. All parameters are secret if secrets could be missed with that schema.
    """
    found: Found = []
    schema = SecretSchema(json_schema(declared))
    applied = schema.applied([schema.root])
    if any(each.get("writeOnly") is True for each in applied) or schema.fault() is not None:
        return {name: hide(value) for name, value in parameters.items()}, list(parameters.items())
    hidden = _object(dict(parameters), applied, _Hiding(schema, hide, found), ())
    return hidden, found


class _Hiding(NamedTuple):
    schema: SecretSchema
    hide: Hide
    found: Found


def _hidden(value: Any, schemas: list[Any], hiding: _Hiding, place: tuple[str, ...]) -> Any:
    applied = hiding.schema.applied(schemas)
    if not applied:
        return value
    if len(place) > DEEPEST or any(schema.get("writeOnly") is True for schema in applied):
        hiding.found.append((".".join(place), value))
        return hiding.hide(value)
    if isinstance(value, dict):
        return _object(value, applied, hiding, place)
    if isinstance(value, list | tuple):
        return [
            _hidden(item, hiding.schema.of_item(applied, number), hiding, (*place, str(number)))
            for number, item in enumerate(value)
        ]
    return value


def _object(
    value: dict[str, Any], applied: list[Mapping[str, Any]], hiding: _Hiding, place: tuple[str, ...]
) -> dict[str, Any]:
    return {
        name: _hidden(item, hiding.schema.of_name(applied, name), hiding, (*place, name))
        for name, item in value.items()
    }
