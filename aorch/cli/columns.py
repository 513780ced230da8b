"""`text={body}`: parameters whose values come from the columns of a row.

`{name}` is the column of that name, `{{name}}` the literal `{name}`. After `:=`, a place that is all of the value takes the
column as JSON; inside JSON, places stand in its texts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aorch import jsonio
from aorch.cli.parameters_cli import ESCAPED_AT, TEXT_HINT, parse_items, split
from aorch.errors import InvalidJSON, UsageError

_NAME = r"\w(?:[\w .-]*[\w.-])?"
_PLACE = re.compile(r"\{\{(" + _NAME + r")\}\}|\{(" + _NAME + r")\}")
_ALONE = re.compile(r"\{(" + _NAME + r")\}")

Row = Mapping[str, Any]


class Templates:
    """`items`, some of which have places for columns. `columns` are those that a row must have."""

    def __init__(self, items: Sequence[str]) -> None:
        """Raises UsageError, NotFound or InvalidJSON, which name the item."""
        self._plain = parse_items([item for item in items if not _has_place(item)])
        self._alone: dict[str, str] = {}
        self._filled: dict[str, Any] = {}
        for item in items:
            if _has_place(item):
                self._take(item)
        named = (name for value in self._filled.values() for name in _places(value))
        self.columns = frozenset([*self._alone.values(), *named])

    def _take(self, item: str) -> None:
        key, separator, value = split(item)
        if key in self._plain or key in self._alone or key in self._filled:
            raise UsageError(f"parameter {key!r} is given twice")
        if separator.endswith("@"):
            raise UsageError(f"{item!r} names a file, which is the same for all lines: it cannot come from a column")
        if separator == "=":
            self._filled[key] = value[1:] if ESCAPED_AT.match(value) else value
        elif alone := _ALONE.fullmatch(value):
            self._alone[key] = alone[1]
        else:
            self._filled[key] = _json(f"parameter {key!r}", value)

    def fill(self, row: Row) -> dict[str, Any]:
        """The parameters that `row` gives. Raises UsageError for a column that it does not have, InvalidJSON."""
        if missing := self.columns - row.keys():
            raise missing_columns(missing, row)
        filled = {key: _fill(value, row) for key, value in self._filled.items()}
        for key, name in self._alone.items():
            value = row[name]
            filled[key] = _json(f"column {name!r}", value) if isinstance(value, str) else value
        return {**self._plain, **filled}


def missing_columns(missing: frozenset[str] | set[str], there: Mapping[str, Any] | Sequence[str]) -> UsageError:
    """What is wrong where those columns are not among those that are there."""
    names = sorted(missing)
    return UsageError(
        f"there is no column {', '.join(map(repr, names))}; there are: {', '.join(there) or 'none'}",
        f"Where the text {{{names[0]}}} itself is meant, write {{{{{names[0]}}}}}.",
    )


def _has_place(item: str) -> bool:
    return _PLACE.search(split(item)[2]) is not None


def _places(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (place[2] for place in _PLACE.finditer(value) if place[2])
    elif isinstance(value, dict):
        yield from (name for each in value.values() for name in _places(each))
    elif isinstance(value, list):
        yield from (name for each in value for name in _places(each))


def _fill(value: Any, row: Row) -> Any:
    if isinstance(value, str):
        return _PLACE.sub(lambda place: f"{{{place[1]}}}" if place[1] else _text(row[place[2]]), value)
    if isinstance(value, dict):
        return {key: _fill(each, row) for key, each in value.items()}
    return [_fill(each, row) for each in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else jsonio.encode(value)


def _json(of: str, text: str) -> Any:
    try:
        return jsonio.decode(text)
    except InvalidJSON as error:
        raise InvalidJSON(f"{of} is {error}: {text[:60]!r}", TEXT_HINT) from error
