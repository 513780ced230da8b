"""Plain annotations of functions: their JSON Schema and the check of values, without pydantic, whose import takes 60 ms.

Plain are str, int, float, bool, None, Any, list, dict with texts as keys, unions of these, and Literal of texts or of integers.
The schemas are the same as pydantic's. A value that pydantic might convert or reject is left to it.
"""

import types
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin


class NotPlain(Exception):
    """The annotation or the value is for pydantic."""


class Plain(NamedTuple):
    """A plain annotation. `take` returns the value for the function: a copy of lists and objects. Raises NotPlain."""

    schema: dict[str, Any]
    take: Callable[[Any], Any]


def plain(annotation: Any) -> Plain:
    """The annotation. Raises NotPlain."""
    if annotation in (Any, list, dict):
        return {
            Any: Plain({}, lambda value: value),
            list: Plain({"items": {}, "type": "array"}, partial(_take_list, None)),
            dict: Plain({"additionalProperties": True, "type": "object"}, partial(_take_dict, None)),
        }[annotation]
    for kind, name in _NAMES.items():
        if annotation is kind or (annotation is None and kind is _NONE):
            return Plain({"type": name}, _take_float if kind is float else partial(_take_exactly, kind))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union([plain(each) for each in arguments])
    if origin is list:
        item = plain(arguments[0])
        return Plain({"items": item.schema, "type": "array"}, partial(_take_list, item.take))
    if origin is dict and arguments[0] is str:
        item = plain(arguments[1])
        return Plain({"additionalProperties": item.schema or True, "type": "object"}, partial(_take_dict, item.take))
    raise NotPlain


def is_plain_json(value: Any) -> bool:
    """Whether `value` consists only of texts, numbers, True, False, None, lists, and dicts with texts as keys."""
    try:
        return _is_plain_json(value)
    except RecursionError:
        return False


_NONE = type(None)
_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", _NONE: "null"}


def _is_plain_json(value: Any) -> bool:
    kind = type(value)
    if kind is list:
        return all(map(_is_plain_json, value))
    if kind is dict:
        return all(type(key) is str and _is_plain_json(item) for key, item in value.items())
    return kind in _NAMES


def _literal(values: tuple[Any, ...]) -> Plain:
    kinds = {type(each) for each in values}
    if len(kinds) != 1 or not kinds <= {str, int}:
        raise NotPlain
    name = _NAMES[kinds.pop()]
    schema = {"const": values[0], "type": name} if len(values) == 1 else {"enum": list(values), "type": name}

    def take(value: Any) -> Any:
        if value not in values or type(value) is not type(values[0]):
            raise NotPlain
        return value

    return Plain(schema, take)


def _union(options: list[Plain]) -> Plain:
    """Any of `options`. Of two kinds of lists or of objects, only pydantic knows which one fits better."""
    kinds = [option.schema.get("type") for option in options]
    if None in kinds or kinds.count("array") > 1 or kinds.count("object") > 1:
        raise NotPlain

    def take(value: Any) -> Any:
        fits = [option.take for option, kind in zip(options, kinds, strict=True) if kind == _NAMES.get(type(value))]
        fits = fits or [option.take for option in options]
        for each in fits:
            try:
                return each(value)
            except NotPlain:
                continue
        raise NotPlain

    return Plain({"anyOf": [option.schema for option in options]}, take)


def _take_exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise NotPlain
    return value


def _take_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise NotPlain
    try:
        return float(value)
    except OverflowError as error:
        raise NotPlain from error


def _take_list(take: Callable[[Any], Any] | None, value: Any) -> list[Any]:
    _take_exactly(list, value)
    return list(value) if take is None else [take(item) for item in value]


def _take_dict(take: Callable[[Any], Any] | None, value: Any) -> dict[str, Any]:
    _take_exactly(dict, value)
    return dict(value) if take is None else {key: take(item) for key, item in value.items()}
