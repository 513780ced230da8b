"""Templates: JSON values in whose texts `{{ steps.clean.data.path }}` stands for a value that is known later.

A reference is a dotted path and nothing else: no expression, no filter, no call. That is what handing data from step to step
needs, and nothing in a configuration, or in data that an agent made, is ever evaluated. (jinja2 takes 60 ms to import, executes
expressions, and renders everything to text, where a list must stay a list.)

    {{ input.path }}             the value itself, where it is the whole text: a list stays a list
    from {{ input.path }} on     within other text: a text as it stands, anything else as JSON
    {{ item.tags[0] }}           an element of a list, also written item.tags.0
    {{ item["first name"] }}     a key that is no plain word
    {{{{                         the two braces themselves
"""

import re
from collections.abc import Iterator
from typing import Any

from aorch import jsonio
from aorch.errors import ReferenceInvalid

WORD = r'[^\s.\[\]{}"]+'
"""What a name must be to stand in a path."""
MOST_NAMED = 12
"""Keys that a refusal names."""

Path = tuple[str, ...]
"""The names and numbers of a reference, in order."""

_PLACE = re.compile(r"\{\{\{\{|\{\{((?:(?!\}\}).)*)\}\}", re.DOTALL)
_STEP = re.compile(rf'(?:^|\.)({WORD})|\[(\d+)\]|\["([^"]*)"\]')
_WHOLE_PATH = re.compile(rf'{WORD}(?:\.{WORD}|\[\d+\]|\["[^"]*"\])*')
_LONGEST_NUMBER = 18


def references(template: Any) -> Iterator[Path]:
    """Every path that `template` refers to. Raises ReferenceInvalid for what opens like a reference and is none."""
    if isinstance(template, dict):
        for value in template.values():
            yield from references(value)
    elif isinstance(template, list):
        for value in template:
            yield from references(value)
    elif isinstance(template, str):
        for match in _PLACE.finditer(template):
            if match[1] is not None:
                yield _path(match[1])
        if "{{" in _PLACE.sub("", template):
            raise ReferenceInvalid(f"{template[:60]!r} opens {{{{ and does not close it", "Write {{{{ for the braces.")


def is_reference(template: Any) -> bool:
    """Whether `template` is a text that is one reference and nothing else, so that it becomes any JSON value."""
    match = _PLACE.fullmatch(template) if isinstance(template, str) else None
    return match is not None and match[1] is not None


def fill(template: Any, scope: dict[str, Any]) -> Any:
    """`template` with each reference replaced by what it leads to in `scope`.

    Keys stand as they are, and what was filled in is not looked into again. Raises ReferenceInvalid, which names the
    reference that leads nowhere and what is there instead.
    """
    if isinstance(template, dict):
        return {key: fill(value, scope) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, scope) for value in template]
    if not isinstance(template, str) or "{{" not in template:
        return template
    whole = _PLACE.fullmatch(template)
    if whole is not None and whole[1] is not None:
        return _resolved(whole[1], scope)
    return _PLACE.sub(lambda match: "{{" if match[1] is None else _as_text(_resolved(match[1], scope)), template)


def _resolved(reference: str, scope: dict[str, Any]) -> Any:
    value: Any = scope
    path = _path(reference)
    for reached, name in enumerate(path):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and (number := _number(name)) is not None and number < len(value):
            value = value[number]
        else:
            where = ".".join(path[:reached]) or "a template"
            raise ReferenceInvalid(f"{{{{ {reference.strip()} }}}} leads nowhere: {where} {_described(value)}")
    return value


def _path(reference: str) -> Path:
    text = reference.strip()
    if not _WHOLE_PATH.fullmatch(text):
        raise ReferenceInvalid(
            f"{{{{{reference[:60]}}}}} is no reference", "Write a dotted path, such as {{ input.path }}."
        )
    return tuple(match[match.lastindex or 0] for match in _STEP.finditer(text))


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) <= _LONGEST_NUMBER else None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else jsonio.encode(value)


def _described(value: Any) -> str:
    if isinstance(value, dict):
        names = ", ".join(str(key)[:40] for key in list(value)[:MOST_NAMED])
        more = f" and {len(value) - MOST_NAMED} more" if len(value) > MOST_NAMED else ""
        return f"has {names}{more}" if value else "is an empty object"
    if isinstance(value, list):
        return f"is a list of {len(value)}"
    return f"is {jsonio.encode(value)[:40]}"
