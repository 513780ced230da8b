"""Templates: strings with references in braces, used by program agents, pipelines and batches (docs/templates.md).

    {text}                    the value of `text`
    {steps.clean.data[0]}     a part of a value: by key, or by number in a list
    {item["first name"]}      a key that is not a plain name
    {text|json}, {text|url}   the value as JSON, or percent-encoded
    {$NAME}                   an environment variable (only in the `stdin` of a program agent)
    {{text}}                  the literal text {text}

All other braces are literal, since templates often contain JSON, shell or awk. If a reference is the whole string, it
becomes the value itself, so a list stays a list. Within a longer string, a value that is not a string becomes JSON.

There are no expressions: nothing in a configuration or in an agent's data is ever evaluated. (jinja2 takes 60 ms to
import, evaluates expressions, and renders everything to text.)
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from aorch import jsonio
from aorch.errors import ReferenceInvalid

MOST_NAMED = 12
"""Keys that an error lists."""
ENCODINGS: dict[str, Callable[[Any], str]] = {
    "json": jsonio.encode,
    "url": lambda value: quote(_as_text(value), safe=""),
}
"""The encodings of a reference, such as `{name|url}`: RFC 8259, and RFC 3986 (every reserved character)."""

_KEY = r"\w(?:[\w -]*[\w-])?"
_PATH = rf'(?:(?!\d){_KEY}|\["[^"]*"\])(?:\.{_KEY}|\[\d+\]|\["[^"]*"\])*'
_INNER = rf"(?:\$\w+|{_PATH}(?:\|\w+)?)"
_PLACE = re.compile(rf"\{{(?P<double>\{{)?(?P<inner>{_INNER})\}}(?(double)\}})")
_STEP = re.compile(rf'(?:^|\.)({_KEY})|\[(\d+)\]|\["([^"]*)"\]')
_LONGEST_NUMBER = 18
NAME = re.compile(_KEY)
"""A key that can be written in a path without quotes."""

Path = tuple[str, ...]
"""The keys and numbers of a reference, in order."""


class Reference(NamedTuple):
    """A reference in a template. `text` is the whole of it; `path` is empty if it refers to `variable`."""

    text: str
    path: Path
    encoding: str | None
    variable: str | None


def references(template: Any) -> Iterator[Reference]:
    """The references in `template`, any JSON value with templates in its strings."""
    if isinstance(template, dict):
        for value in template.values():
            yield from references(value)
    elif isinstance(template, list):
        for value in template:
            yield from references(value)
    elif isinstance(template, str):
        for match in _PLACE.finditer(template):
            if not match["double"]:
                yield _reference(match["inner"])


def is_template(text: str) -> bool:
    """Whether `fill` would change `text`: it has a reference, or a literal `{{name}}`."""
    return _PLACE.search(text) is not None


def is_reference(template: Any) -> bool:
    """Whether `template` is one reference and nothing else, without an encoding, so that it becomes any JSON value."""
    return _whole(template) is not None


def literal(text: str) -> str:
    """`text` with its references escaped, so that `fill` leaves them unchanged."""
    return _PLACE.sub(lambda match: f"{{{match[0]}}}", text)


def check_encodings(template: Any) -> None:
    """Raise ReferenceInvalid for an encoding that does not exist."""
    for reference in references(template):
        if reference.encoding is not None and reference.encoding not in ENCODINGS:
            known = " and ".join(f"{{NAME|{name}}}" for name in ENCODINGS)
            raise ReferenceInvalid(f"{reference.text} has an unknown encoding (there are {known})")


def fill(template: Any, scope: Mapping[str, Any]) -> Any:
    """`template` with each reference replaced by its value in `scope`.

    Keys of objects stay as they are, and replaced values are not templates themselves. Raises ReferenceInvalid, which names
    the invalid reference and the keys that exist there.
    """
    if isinstance(template, dict):
        return {key: fill(value, scope) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, scope) for value in template]
    if not isinstance(template, str):
        return template
    if (whole := _whole(template)) is not None:
        return value_at(whole, scope)
    return fill_text(template, scope)


def fill_text(template: str, scope: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> str:
    """Like `fill`, but the result is always a string. `{$NAME}` refers to `variables`."""

    def replacement(match: re.Match[str]) -> str:
        if match["double"]:
            return f"{{{match['inner']}}}"
        reference = _reference(match["inner"])
        if reference.variable is None:
            return ENCODINGS.get(reference.encoding or "", _as_text)(value_at(reference, scope))
        if variables is None or reference.variable not in variables:
            raise ReferenceInvalid(f"{reference.text}: this variable is not set")
        return variables[reference.variable]

    return _PLACE.sub(replacement, template) if "{" in template else template


def value_at(reference: Reference, scope: Mapping[str, Any]) -> Any:
    """The value that `reference` refers to. Raises ReferenceInvalid."""
    value: Any = scope
    for reached, name in enumerate(reference.path):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and (number := _number(name)) is not None and number < len(value):
            value = value[number]
        else:
            where = ".".join(reference.path[:reached]) or "a template"
            raise ReferenceInvalid(f"{reference.text} leads nowhere: {where} {_described(value)}")
    return value


def _whole(template: Any) -> Reference | None:
    match = _PLACE.fullmatch(template) if isinstance(template, str) else None
    if match is None or match["double"]:
        return None
    reference = _reference(match["inner"])
    return None if reference.encoding or reference.variable else reference


@functools.lru_cache(maxsize=4096)
def _reference(inner: str) -> Reference:
    if inner.startswith("$"):
        return Reference(f"{{{inner}}}", (), None, inner[1:])
    path, _, encoding = inner.rpartition("|") if re.search(r"\|\w+$", inner) else (inner, "", "")
    steps = tuple(match[match.lastindex or 0] for match in _STEP.finditer(path))
    return Reference(f"{{{inner}}}", steps, encoding or None, None)


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) <= _LONGEST_NUMBER else None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else jsonio.encode(value)


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        names = ", ".join(str(key)[:40] for key in list(value)[:MOST_NAMED])
        more = f" and {len(value) - MOST_NAMED} more" if len(value) > MOST_NAMED else ""
        return f"has {names}{more}" if value else "is an empty object"
    if isinstance(value, list):
        return f"is a list of {len(value)}"
    return f"is {jsonio.encode(value)[:40]}"
