"""Parameters that take their values from the columns of a CSV row or the fields of a JSON line: `text={body}`.

They are templates (config/templates.py) over the row. In `key:={name}` the parameter is the JSON value of the column. In other
JSON (`key:=["{name}"]`) the references are in its strings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aorch import jsonio
from aorch.config import templates
from aorch.errors import InvalidJSON, UsageError

_HINT = "For plain text write key=text; for a JSON string add quotes: key:='\"text\"'."

Row = Mapping[str, Any]


class ColumnTemplates:
    """Parameters for each row. `columns` are the columns that a row must have.

    `fixed` are parameters without references. `texts` and `documents` map a parameter to its string, or to its JSON
    text, which contain references. Raises InvalidJSON and ReferenceInvalid, which name the parameter.
    """

    def __init__(
        self,
        fixed: Mapping[str, Any] | None = None,
        texts: Mapping[str, str] | None = None,
        documents: Mapping[str, str] | None = None,
    ) -> None:
        self._fixed = dict(fixed or {})
        self._whole: dict[str, str] = {}
        self._templates: dict[str, Any] = dict(texts or {})
        for key, text in (documents or {}).items():
            if templates.is_reference(text):
                self._whole[key] = text
            else:
                self._templates[key] = _json(f"parameter {key!r}", text)
        used = [*self._whole.values(), *self._templates.values()]
        templates.check_encodings(used)
        self.columns = frozenset(
            each.path[0] if each.path else f"${each.variable}" for each in templates.references(used)
        )

    def fill(self, row: Row) -> dict[str, Any]:
        """The parameters for `row`. Raises UsageError if it lacks a column, ReferenceInvalid, and InvalidJSON."""
        if missing := self.columns - row.keys():
            raise missing_columns(missing, row)
        parameters = {key: _fill(template, row) for key, template in self._templates.items()}
        for key, reference in self._whole.items():
            value = templates.fill(reference, row)
            parameters[key] = _json(f"column {reference[1:-1]!r}", value) if isinstance(value, str) else value
        return {**self._fixed, **parameters}


def missing_columns(missing: frozenset[str] | set[str], columns: Mapping[str, Any] | Sequence[str]) -> UsageError:
    """The error for a row or a header that has `columns`, but not those in `missing`."""
    names = sorted(missing)
    noun = "column" if len(names) == 1 else "columns"
    return UsageError(
        f"no {noun} {', '.join(map(repr, names))} (columns: {', '.join(columns) or 'none'})",
        f"For the literal text {{{names[0]}}}, write {{{{{names[0]}}}}}.",
    )


def _fill(template: Any, row: Row) -> Any:
    """`template` with its references replaced by strings: only `:={column}` gives a value that is not a string."""
    if isinstance(template, str):
        return templates.fill_text(template, row)
    if isinstance(template, dict):
        return {key: _fill(each, row) for key, each in template.items()}
    return [_fill(each, row) for each in template] if isinstance(template, list) else template


def _json(of: str, text: str) -> Any:
    try:
        return jsonio.decode(text)
    except InvalidJSON as error:
        raise InvalidJSON(f"{of} is {error}: {text[:60]!r}", _HINT) from error
