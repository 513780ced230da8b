"""`key=value` on the command line, written as HTTPie has it (https://httpie.io/docs/cli/request-items).

text=hello        a text              n:=3              JSON
text=@notes.md    a file's text       doc:=@data.json   a file's JSON
text=@-           standard input      a\\=b=c            a backslash takes a separator's meaning
"""

import os
import re
import stat
from typing import Any

from aorch import jsonio
from aorch.cli.streams import standard_input
from aorch.config import config_file
from aorch.errors import InvalidJSON, NotFound, UsageError

_ITEM = re.compile(r"(?P<key>(?:\\.|[^\\=:]|:(?!=))+)(?P<separator>:=@|=@|:=|=)(?P<value>.*)", re.DOTALL)
TEXT_HINT = "Text is written key=text; JSON text needs its own quotes: key:='\"text\"'."
_ESCAPED = re.compile(r"\\([=:@\\])")
ESCAPED_AT = re.compile(r"\\+@")
"""At the beginning of a text: one backslash less of it is what is meant."""


def parse_items(items: list[str]) -> dict[str, Any]:
    """The parameters that `items` say. Raises UsageError, NotFound (a file) or InvalidJSON, which name the item."""
    if sum(item.endswith("=@-") for item in items) > 1:
        raise UsageError("standard input can be read only once, and two parameters ask for it (=@-)")
    parameters: dict[str, Any] = {}
    for item in items:
        key, value = _parse(item)
        if key in parameters:
            raise UsageError(f"parameter {key!r} is given twice")
        parameters[key] = value
    return parameters


def parse_object(option: str, text: str) -> dict[str, Any]:
    """The JSON object of an option that takes one: its text, `@FILE` or `@-`."""
    value = _json(option, _content(option, text[1:]) if text.startswith("@") else text)
    if not isinstance(value, dict):
        raise UsageError(f"{option} must be a JSON object, not {jsonio.encode(value)[:80]}")
    return value


def split(item: str) -> tuple[str, str, str]:
    """Key, separator and value of `item`, as they are written. Raises UsageError."""
    match = _ITEM.fullmatch(item)
    text = match["key"] if match and match["separator"].endswith("@") else item  # a file's name may be any bytes
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"the parameter {item!r} is not valid UTF-8", "Put such bytes into a file: key=@FILE.")
    if match is None:
        raise UsageError(
            f"{item!r} is not a parameter", "Write key=text, key:=JSON, key=@FILE or key:=@FILE; `-` is standard input."
        )
    return _ESCAPED.sub(r"\1", match["key"]), match["separator"], match["value"]


def _parse(item: str) -> tuple[str, Any]:
    key, separator, value = split(item)
    given = value
    if separator.endswith("@"):
        value = _content(key, value)
    elif separator == "=" and ESCAPED_AT.match(value):
        value = value[1:]
    if not separator.startswith(":"):
        return key, value
    origin = "standard input" if given == "-" else f"the file {given!r}"
    of = f"parameter {key!r}" if separator == ":=" else f"{origin} for parameter {key!r}"
    return key, _json(of, value, TEXT_HINT if separator == ":=" else "")


def _content(of: str, name: str) -> str:
    try:
        data = _standard_input(of) if name == "-" else config_file.absolute(name, of).read_bytes()
        return data.decode("utf-8")
    except FileNotFoundError:
        raise NotFound(f"the file {name!r} for {of!r} is not there") from None
    except OSError as error:
        raise UsageError(f"cannot read the file {name!r} for {of!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name!r} for {of!r} is not UTF-8 text (byte {error.start})", "Give a path instead."
        ) from error


def _standard_input(of: str) -> bytes:
    """All of it. Raises UsageError where it is a pipe that brought nothing: most likely the program before it failed."""
    stream = standard_input()
    data = stream.read()
    if not data and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
        raise UsageError(
            f"standard input, for {of!r}, is a pipe that brought nothing",
            "See why the program before it said nothing. Where an empty text is meant, write key= or key=@/dev/null.",
        )
    return data


def _json(of: str, text: str, hint: str = "") -> Any:
    try:
        return jsonio.decode(text)
    except InvalidJSON as error:
        raise InvalidJSON(f"{of} is {error}: {text[:60]!r}", hint) from error
