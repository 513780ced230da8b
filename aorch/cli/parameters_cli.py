"""Parses `key=value` on the command line, in the syntax of HTTPie (https://httpie.io/docs/cli/request-items).

text=hello        a string                 n:=3              JSON
text=@notes.md    the content of a file    doc:=@data.json   JSON from a file
text=@-           standard input           a\\=b=c            a backslash escapes a separator
"""

import os
import re
import stat
from typing import TYPE_CHECKING, Any

from aorch import jsonio
from aorch.cli.streams import standard_input
from aorch.config import config_file
from aorch.errors import InvalidJSON, NotFound, UsageError

if TYPE_CHECKING:
    from aorch.batch.columns import ColumnTemplates

_ITEM = re.compile(r"(?P<key>(?:\\.|[^\\=:]|:(?!=))+)(?P<separator>:=@|=@|:=|=)(?P<value>.*)", re.DOTALL)
TEXT_HINT = "For plain text write key=text; for a JSON string add quotes: key:='\"text\"'."
SYNTAX_HINT = "Write key=text, key:=JSON, key=@FILE or key:=@FILE (FILE can be -, standard input)."
_ESCAPED = re.compile(r"\\([=:@\\])")
_ESCAPED_AT = re.compile(r"\\+@")
"""At the start of a value: the first backslash is removed."""


def parse_items(items: list[str]) -> dict[str, Any]:
    """The parameters in `items`. Raises UsageError, NotFound (a file) or InvalidJSON, which name the item."""
    if sum(item.endswith("=@-") for item in items) > 1:
        raise UsageError(
            "two parameters read standard input (=@-), which can be read only once", "Use a file for one: @FILE."
        )
    parameters: dict[str, Any] = {}
    for item in items:
        key, separator, value = split(item)
        if key in parameters:
            raise _duplicate(key)
        if separator == "=":
            parameters[key] = _unescape(value) if value.startswith("\\") else value
        else:
            parameters[key] = _value(key, separator, value)
    return parameters


def parse_templates(items: list[str]) -> "ColumnTemplates":
    """The parameters in `items`, some of which may be templates. Raises as `parse_items` does."""
    from aorch.batch.columns import ColumnTemplates
    from aorch.config.templates import is_template

    fixed = parse_items([item for item in items if not is_template(split(item)[2])])
    texts: dict[str, str] = {}
    documents: dict[str, str] = {}
    for item in items:
        key, separator, value = split(item)
        if not is_template(value):
            continue
        if key in fixed or key in texts or key in documents:
            raise _duplicate(key)
        if separator.endswith("@"):
            raise UsageError(
                f"{item!r}: a file name cannot contain a column",
                "The file is read once, for all lines: name it without {…}.",
            )
        if separator == "=":
            texts[key] = _unescape(value)
        else:
            documents[key] = value
    return ColumnTemplates(fixed, texts, documents)


def parse_object(option: str, text: str) -> dict[str, Any]:
    """The JSON object of an option: its text, `@FILE` or `@-`. Raises as `parse_items` does."""
    value = _json(option, _content(option, text[1:]) if text.startswith("@") else text)
    if not isinstance(value, dict):
        raise UsageError(
            f"{option} must be a JSON object, not {jsonio.encode(value)[:80]}", f"Write {option} '{{\"key\": …}}'."
        )
    return value


def split(item: str) -> tuple[str, str, str]:
    """Key, separator and value of `item`. Raises UsageError."""
    match = _ITEM.fullmatch(item)
    text = match["key"] if match and match["separator"].endswith("@") else item  # a file name can be any bytes
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"the parameter {item!r} is not valid UTF-8", "Put such bytes into a file: key=@FILE.")
    if match is None:
        problem = f"missing value for {item!r}" if item and "=" not in item else f"invalid parameter {item!r}"
        raise UsageError(problem, SYNTAX_HINT)
    return _ESCAPED.sub(r"\1", match["key"]), match["separator"], match["value"]


def _duplicate(key: str) -> UsageError:
    return UsageError(f"parameter {key!r} is given twice", "Leave out one of them.")


def _value(key: str, separator: str, value: str) -> Any:
    if separator == ":=":
        return _json(f"parameter {key!r}", value, TEXT_HINT)
    content = _content(f"parameter {key!r}", value)
    if separator == "=@":
        return content
    origin = "standard input" if value == "-" else f"the file {value!r}"
    return _json(f"{origin} for parameter {key!r}", content)


def _unescape(text: str) -> str:
    return text[1:] if _ESCAPED_AT.match(text) else text


def _content(of: str, name: str) -> str:
    try:
        data = _read_standard_input(of) if name == "-" else config_file.absolute(name, of).read_bytes()
        return data.decode("utf-8")
    except FileNotFoundError:
        raise NotFound(f"file not found: {name!r} (for {of})", "Check the path.") from None
    except OSError as error:
        raise UsageError(f"cannot read the file {name!r} for {of}: {error.strerror}", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name!r} for {of} is not UTF-8 text (invalid byte {error.start})", "Pass the path of the file instead."
        ) from error


def _read_standard_input(of: str) -> bytes:
    """The whole input. Raises UsageError for an empty pipe, because the program before it most likely failed."""
    stream = standard_input()
    data = stream.read()
    if not data and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
        raise UsageError(
            f"standard input for {of} is an empty pipe",
            "Check the program before the pipe. For an empty string write key= or key=@/dev/null.",
        )
    return data


def _json(of: str, text: str, hint: str = "") -> Any:
    try:
        return jsonio.decode(text)
    except InvalidJSON as error:
        raise InvalidJSON(f"{of} is {error}: {text[:60]!r}", hint or "Check the quotes and brackets.") from error
