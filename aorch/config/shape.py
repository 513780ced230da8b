"""Conversion of parsed TOML to the classes of the configuration, with errors that name the key and the reason."""

import math
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from aorch.errors import ConfigInvalid

MOST = 2**63 - 1
"""The largest integer of TOML and SQLite."""
Shape = TypeVar("Shape")
_TYPES = {
    "object": "a table",
    "array": "a list",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
}
_FORMS = {
    "an integer": "{key} = NUMBER, without quotes and without a fraction",
    "a number": "{key} = NUMBER, without quotes",
    "true or false": "{key} = true or {key} = false, without quotes",
    "a table": "it as a table: [{table}], with its keys on the lines below",
    "a list": '{key} = ["…", "…"]',
    "a string": '{key} = "…", with quotes',
}
"""How a value of each type is written in TOML."""
_HINTS = {
    "command": 'Write it as a list: command = ["wc", "-w"].',
    "on_error": "Use stop, continue or keep.",
    "provider": "Use anthropic or openai.",
    "llm": "Use anthropic or openai.",
}


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
        reason = _plain(reason)
        hint = _HINTS.get(key.rpartition(".")[2]) or _form_hint(key, reason)
        raise ConfigInvalid(f"{of(path)}{key}: {reason[0].lower()}{reason[1:]}", hint) from error

    _check_numbers(path, where, converted)
    return converted


def syntax_error(path: Path, error: tomllib.TOMLDecodeError) -> ConfigInvalid:
    """The error for a file that is not TOML; it names the line and the reason."""
    reason, place = re.fullmatch(r"(.*?)(?: \(at (.*)\))?", str(error), re.DOTALL).groups()  # type: ignore[union-attr]  # matches any text
    hint, reason = "Fix the syntax error, or pass --config FILE.", f"{reason[:1].lower()}{reason[1:]}"
    if twice := re.fullmatch(r"cannot declare \((.*)\) twice", reason):
        names = re.findall(r"""'((?:[^'\\]|\\.)*)'|"([^"]*)\"""", twice[1])
        table = ".".join(single or double for single, double in names)
        reason, hint = f"the table [{table}] occurs twice", "Write all keys of the table below one heading."
    elif reason == "cannot overwrite a value":
        reason, hint = "the key is set twice", "Remove one of the two lines."
    return ConfigInvalid(f"{path}, {place or 'somewhere'}: {reason}", hint)


def _form_hint(key: str, reason: str) -> str:
    """How to write the value of `key`, from the expected type in `reason`."""
    expected = re.match(r"Expected (.*?), got ", reason)
    for kind, form in _FORMS.items():
        if expected and kind in expected[1]:
            return f"Write {form.format(table=key, key=key.rpartition('.')[2])}."
    return ""


def _check_numbers(path: Path | None, where: str, struct: object) -> None:
    """Raise ConfigInvalid for a number that cannot be a limit: NaN, an infinity, an integer of more than 64 bits."""
    values = [(where, struct)]
    for key, value in values:  # the list grows, because each struct appends its fields
        if isinstance(value, msgspec.Struct):
            fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            values += [(f"{key}.{name}".lstrip("."), getattr(value, attribute)) for name, attribute in fields]
        elif isinstance(value, list | tuple):
            values += [
                (f"{key}.{number}", each) for number, each in enumerate(value) if isinstance(each, msgspec.Struct)
            ]
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigInvalid(f"{of(path)}{key} is {value}; it must be a finite number")
        elif isinstance(value, int) and abs(value) > MOST:
            raise ConfigInvalid(f"{of(path)}{key} is {value}, which is too large (at most {MOST:,})")


def _plain(reason: str) -> str:
    """msgspec's `reason` in the words of TOML: `int` is an integer, an object is a table."""
    reason = reason.replace(" | null`", "`")
    for typed, plain in _TYPES.items():
        reason = reason.replace(f"`{typed}`", plain)
    reason = re.sub("^Object missing required field `(.*)`", r"the key \1 is missing", reason)
    return reason.replace("Invalid enum value", "invalid value")


def of(path: Path | None) -> str:
    """The start of a message about that file."""
    return f"{path}: " if path else ""


def _known(shape: type, place: str) -> str:
    """The keys that exist at `place` (`.queue`) in `shape`."""
    for name in filter(None, place.rstrip("`").split(".")):
        kinds = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
        inner = [kind for kind in (kinds.get(name), *get_args(kinds.get(name))) if hasattr(kind, "__struct_fields__")]
        shape = inner[0] if inner else shape
    return f"Known keys: {', '.join(field.encode_name for field in msgspec.structs.fields(shape))}."
