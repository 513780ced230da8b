"""`text={body}`: parameters of a batch whose values come from the columns of a row, or the fields of a JSON line.

They are templates (config/templates.py) over the row. After `:=`, a reference that is the whole value takes the column as JSON;
within JSON, references are in its strings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aorch import jsonio
from aorch.cli.parameters_cli import ESCAPED_AT, TEXT_HINT, parse_items, split
from aorch.config import templates
from aorch.errors import InvalidJSON, UsageError

Row = Mapping[str, Any]


class Templates:
    """The parameters `items`, of which some have references. A row must have `columns`."""

    def __init__(self, items: Sequence[str]) -> None:
        """Raises UsageError, NotFound, InvalidJSON or ReferenceInvalid, which name the item."""
        self._plain = parse_items([item for item in items if not _is_template(item)])
        self._json: dict[str, str] = {}
        self._filled: dict[str, Any] = {}
        for item in items:
            if _is_template(item):
                self._take(item)
        used = [*self._json.values(), *self._filled.values()]
        templates.check_encodings(used)
        self.columns = frozenset(
            each.path[0] if each.path else f"${each.variable}" for each in templates.references(used)
        )

    def _take(self, item: str) -> None:
        key, separator, value = split(item)
        if key in self._plain or key in self._json or key in self._filled:
            raise UsageError(f"parameter {key!r} is given twice")
        if separator.endswith("@"):
            raise UsageError(f"{item!r} names a file, which is the same for all lines: its name cannot have a column")
        if separator == "=":
            self._filled[key] = value[1:] if ESCAPED_AT.match(value) else value
        elif templates.is_reference(value):
            self._json[key] = value
        else:
            self._filled[key] = _decoded(f"parameter {key!r}", value)

    def fill(self, row: Row) -> dict[str, Any]:
        """The parameters for `row`. Raises UsageError for a column that it does not have, ReferenceInvalid, InvalidJSON."""
        if missing := self.columns - row.keys():
            raise missing_columns(missing, row)
        filled = {key: _filled(value, row) for key, value in self._filled.items()}
        for key, reference in self._json.items():
            value = templates.fill(reference, row)
            filled[key] = _decoded(f"column {reference[1:-1]!r}", value) if isinstance(value, str) else value
        return {**self._plain, **filled}


def missing_columns(missing: frozenset[str] | set[str], columns: Mapping[str, Any] | Sequence[str]) -> UsageError:
    """The error for references to columns that do not exist among `columns`."""
    names = sorted(missing)
    return UsageError(
        f"there is no column {', '.join(map(repr, names))} (columns: {', '.join(columns) or 'none'})",
        f"If you mean the literal text {{{names[0]}}}, write {{{{{names[0]}}}}}.",
    )


def _is_template(item: str) -> bool:
    return templates.is_template(split(item)[2])


def _filled(value: Any, row: Row) -> Any:
    """`value` with its references as text: only `:={column}` makes a value that is not a string."""
    if isinstance(value, str):
        return templates.fill_text(value, row)
    if isinstance(value, dict):
        return {key: _filled(each, row) for key, each in value.items()}
    return [_filled(each, row) for each in value] if isinstance(value, list) else value


def _decoded(name: str, text: str) -> Any:
    try:
        return jsonio.decode(text)
    except InvalidJSON as error:
        raise InvalidJSON(f"{name} is {error}: {text[:60]!r}", TEXT_HINT) from error
