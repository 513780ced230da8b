"""Conversion of parsed TOML to the classes of the configuration, with errors that name the key and the reason."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from aorch.errors import ConfigInvalid

MOST = 2**63 - 1
"""The largest whole number of TOML and SQLite."""
Shape = TypeVar("Shape")


def convert(path: Path | None, where: str, value: Any, shape: type[Shape]) -> Shape:
    """`value` as an object of `shape`. Raises ConfigInvalid, which names the file, the key (below `where`) and the reason."""
    try:
        converted = msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        key = (where + place.rstrip("`")).lstrip(".")
        unknown = re.search(r"unknown field `(.*)`", reason)
        if unknown:
            raise ConfigInvalid(
                f"{of(path)}unknown key {f'{key}.'.lstrip('.')}{unknown[1]}", _known(shape, place)
            ) from error
        reason = reason.replace(" | null`", "`").replace("`object`", "a table").replace("`array`", "a list")
        hints = {
            "command": 'Write it as a list: command = ["wc", "-w"].',
            "on_error": "Use stop, continue or keep.",
        }
        hint = hints.get(key.rpartition(".")[2], "")
        raise ConfigInvalid(f"{of(path)}{key}: {reason[0].lower()}{reason[1:]}", hint) from error

    for reason in _no_limits(where, converted):
        raise ConfigInvalid(f"{of(path)}{reason}")
    return converted


def _no_limits(where: str, value: object) -> Iterator[str]:
    """The errors of the numbers in a struct: NaN, infinities and integers of more than 64 bits are not limits."""
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            if inner is not None and not isinstance(inner, str | bool | dict):
                yield from _no_limits(f"{where}.{field.encode_name}".lstrip("."), inner)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _no_limits(f"{where}.{number}", each) if isinstance(each, msgspec.Struct) else ()
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}; it must be a finite number"
    elif isinstance(value, int) and abs(value) > MOST:
        yield f"{where} is {value}, which is too large (at most {MOST:,})"


def of(path: Path | None) -> str:
    """The start of a message about that file."""
    return f"{path}: " if path else ""


def _known(shape: type, place: str) -> str:
    """The keys that exist at `place` (`.queue`) in `shape`."""
    for name in filter(None, place.rstrip("`").split(".")):
        kinds = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
        inner = [kind for kind in (kinds.get(name), *get_args(kinds.get(name))) if hasattr(kind, "__struct_fields__")]
        shape = inner[0] if inner else shape
    return f"Known here: {', '.join(field.encode_name for field in msgspec.structs.fields(shape))}."
