"""Parameters against what a capability says of them."""

from typing import Any

from aorch.agents.base import AgentCapability
from aorch.errors import ConfigInvalid, ParametersInvalid

TYPES = {
    **{name: name for name in ("string", "integer", "number", "boolean", "object", "array", "null")},
    **{"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object", "list": "array"},
}

NAMES_ELSEWHERE = {
    *("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"),
    *("patternProperties", "additionalProperties", "unevaluatedProperties"),
}
"""Keywords of a JSON Schema that allow, or refuse by themselves, names which `properties` does not have."""


def is_json_schema(parameters: dict[str, Any]) -> bool:
    """Whether `parameters` is a JSON Schema rather than the loose form (name to type)."""
    return (
        parameters.get("type") == "object"
        or isinstance(parameters.get("properties"), dict)
        or any(key in parameters for key in ("$schema", "$ref", "allOf", "anyOf", "oneOf"))
    )


def json_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) for either form.

    The loose form says nothing of what must be given, so nothing is required; a value that is given must have the type
    that is named for it, where that name is a type's.
    """
    if is_json_schema(parameters):
        return parameters
    properties = {name: _property(said) for name, said in parameters.items()}
    return {"type": "object", "properties": properties}


def undeclared(capability: AgentCapability, parameters: dict[str, Any]) -> list[str]:
    """The names among `parameters` that the capability does not declare; none if its schema does not list all names."""
    schema = json_schema(capability.parameters) if capability.parameters else {}
    if not isinstance(schema.get("properties"), dict) or NAMES_ELSEWHERE & schema.keys():
        return []
    return [name for name in parameters if name not in schema["properties"]]


def _property(said: Any) -> dict[str, Any]:
    if isinstance(said, dict):
        return said
    return {"type": TYPES[said]} if isinstance(said, str) and said in TYPES else {"description": str(said)}


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"{uri} is not part of the schema, and nothing is fetched")


class ParameterCheck:
    """A capability's schema, compiled once."""

    def __init__(self, capability: AgentCapability) -> None:
        self._capability = capability.name
        self._validator: Any = None
        if capability.parameters:
            import jsonschema_rs  # noqa: PLC0415  5 ms, only where a capability says something of its parameters

            try:
                self._validator = jsonschema_rs.validator_for(
                    json_schema(capability.parameters), retriever=_refuse_to_fetch
                )
            except ValueError as error:
                raise ConfigInvalid(
                    f"the parameters of capability {capability.name!r} are no JSON Schema: {error}"
                ) from error

    def __call__(self, parameters: dict[str, Any]) -> None:
        """Raise ParametersInvalid, which names the first parameter that does not fit, and why."""
        if self._validator is None or self._validator.is_valid(parameters):
            return
        error = next(iter(self._validator.iter_errors(parameters)))
        missing = getattr(error.kind, "property", None)
        if missing is not None and "required" in error.message:
            raise ParametersInvalid(f"parameter {missing!r} of {self._capability!r} is missing", f"Add {missing}=….")
        place = ".".join(str(step) for step in error.instance_path)
        subject = f"parameter {place!r}" if place else "the parameters"
        raise ParametersInvalid(
            f"{subject} of {self._capability!r}: {error.message}", _hint(parameters, place, error.message)
        )


def _hint(parameters: dict[str, Any], place: str, message: str) -> str:
    if place in parameters and isinstance(parameters[place], str) and "is not of type" in message:
        return f"A value that is not text is written {place}:=…, as JSON."
    return ""
