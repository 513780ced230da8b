"""Validation of parameters against the JSON Schema of a capability."""

import re
from typing import Any

from aorch import jsonio
from aorch.agents.base import AgentCapability
from aorch.errors import ConfigInvalid, InvalidJSON, ParametersInvalid
from aorch.suggestions import did_you_mean

TYPES = {
    **{name: name for name in ("string", "integer", "number", "boolean", "object", "array", "null")},
    **{"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object", "list": "array"},
}

_OF_OTHERS = ("patternProperties", "additionalProperties", "unevaluatedProperties")
NAMES_ELSEWHERE = {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", *_OF_OTHERS}
"""Keywords of a JSON Schema that allow or reject names besides those in `properties`."""

_SHELL_SAFE = re.compile(r"[\w.+-]+")


def json_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) for either form: a JSON Schema, or the short form (names with types).

    The short form requires no parameter. A given parameter must have the type that the short form names for it, if that is
    the name of a type. `additionalProperties` and its like with a schema or a boolean are no parameters there, but mean the same
    as in a JSON Schema.
    """
    if (
        parameters.get("type") == "object"
        or isinstance(parameters.get("properties"), dict)
        or any(key in parameters for key in ("$schema", "$ref", "allOf", "anyOf", "oneOf"))
    ):
        return parameters
    of_others = {name: each for name in _OF_OTHERS if isinstance(each := parameters.get(name), dict | bool)}
    properties = {name: _property(declared) for name, declared in parameters.items() if name not in of_others}
    return {"type": "object", "properties": properties, **of_others}


def undeclared_in(declared: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """The names among `parameters` that are not among the `declared` ones of a capability; none if that schema does not list all
    names.
    """
    schema = json_schema(declared) if declared else {}
    if not isinstance(schema.get("properties"), dict) or NAMES_ELSEWHERE & schema.keys():
        return []
    return [name for name in parameters if name not in schema["properties"]]


def _property(declared: Any) -> dict[str, Any]:
    if isinstance(declared, dict):
        return declared
    is_type = isinstance(declared, str) and declared in TYPES
    return {"type": TYPES[declared]} if is_type else {"description": str(declared)}


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"{uri} is not part of the schema, and references to other documents are not fetched")


def validator_of(schema: dict[str, Any]) -> Any:
    """The compiled JSON Schema (of jsonschema_rs). Raises ValueError if it is invalid or refers to other documents."""
    import jsonschema_rs  # noqa: PLC0415  5 ms, only if there is a schema

    return jsonschema_rs.validator_for(schema, retriever=_refuse_to_fetch)


class ParameterCheck:
    """The schema of a capability, compiled once. `has_secrets`: it may mark parameters as secret (`"writeOnly": true`)."""

    def __init__(self, capability: AgentCapability) -> None:
        self._capability, self._parameters = capability.name, capability.parameters
        self.has_secrets = "writeOnly" in repr(capability.parameters)
        self._validator: Any = None
        if self.has_secrets:
            self._check_secrets()
        if capability.parameters:
            try:
                self._validator = validator_of(json_schema(capability.parameters))
            except ValueError as error:
                raise ConfigInvalid(
                    f"the parameters of capability {capability.name!r} are not a valid JSON Schema: {error}"
                ) from error

    def _check_secrets(self) -> None:
        from aorch.agents.secret_schemas import SecretSchema  # noqa: PLC0415  most schemas mark no parameter

        if (fault := SecretSchema(json_schema(self._parameters)).fault()) is not None:
            raise ConfigInvalid(
                f"the parameters of capability {self._capability!r} cannot be kept secret: {fault}",
                "Write the schema of a secret parameter (writeOnly) below properties or items, or in $defs of the same schema.",
            )

    def __call__(self, parameters: dict[str, Any]) -> None:
        """Raise ParametersInvalid, which names the first invalid parameter and the reason."""
        if self._validator is None or self._validator.is_valid(parameters):
            return
        error = next(iter(self._validator.iter_errors(parameters)))
        place = ".".join(str(step) for step in error.instance_path)
        missing = getattr(error.kind, "property", None)
        if missing is not None and "required" in error.message:
            raise ParametersInvalid(f"parameter {missing!r} of {self._capability!r} is missing", f"Add {missing}=….")
        unknown = getattr(error.kind, "unexpected", None)
        if unknown and not place:
            raise ParametersInvalid(
                f"{self._capability!r} has no parameter {' or '.join(map(repr, unknown))}", self._known(unknown[0])
            )
        subject = f"parameter {place!r}" if place else "the parameters"
        raise ParametersInvalid(
            f"{subject} of {self._capability!r}: {error.message}", _hint(parameters, place, error.message)
        )

    def _known(self, unknown: str) -> str:
        """The names in the schema, and those that are similar to `unknown`."""
        names = [*json_schema(self._parameters).get("properties", {})]
        return f"{did_you_mean(unknown, names)}Its parameters: {', '.join(names) or 'none'}."


def _hint(parameters: dict[str, Any], place: str, message: str) -> str:
    given = parameters.get(place)
    if "is not of type" not in message:
        return ""
    if isinstance(given, int | float) and message.endswith('"string"'):
        return f"Write {place}={jsonio.encode(given)} for a string."
    if not isinstance(given, str):
        return ""
    try:
        is_json = not isinstance(jsonio.decode(given.encode()), str)
    except InvalidJSON:
        is_json = False
    example = f"{place}:={given}" if is_json and _SHELL_SAFE.fullmatch(given) else f"{place}:=…"
    return f"Write {example} for a value that is not a string, as JSON."
