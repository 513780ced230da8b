r"""Writes rows as CSV or as TSV, with a header.

CSV follows RFC 4180, with `\n` after each line. Spreadsheets run a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage
return as a formula, so a string that begins with one of these is written after an apostrophe, as OWASP recommends against
CSV injection. TSV changes no value; as in jq's `@tsv`, a tab, newline, carriage return or backslash in a cell is written as
`\t`, `\n`, `\r` or `\\`.
"""

import csv
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aorch import jsonio

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_TSV_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class RowWriter:
    """Writes rows in `form` (`csv` or `tsv`) with the columns `fields`, and the header at once.

    A string is written as it is, null as an empty cell, and any other value as JSON. Values of the fields `as_json` are always
    JSON, so that a string and a number in them differ; `msgspec.Raw` contains JSON. `write` gets the UTF-8 of one line at a time.
    """

    def __init__(
        self, write: Callable[[bytes], object], form: str, fields: Sequence[str], as_json: Collection[str] = ()
    ) -> None:
        self._write = write
        self._fields = fields
        self._as_json = as_json
        self._put = _put_tsv if form == "tsv" else _put_csv
        self._put(write, list(fields))

    def row(self, item: Mapping[str, Any]) -> None:
        """Write the line of `item`; a field that it does not have is an empty cell."""
        self._put(self._write, [self._cell(name, item.get(name)) for name in self._fields])

    def _cell(self, name: str, value: Any) -> "str | _Json":
        if value is None:
            return ""
        if isinstance(value, msgspec.Raw):
            return _Json(bytes(value).decode())
        return value if isinstance(value, str) and name not in self._as_json else _Json(jsonio.encode(value))


class _Json(str):
    """A cell with JSON. That of a number may begin with a minus, and is no formula."""

    __slots__ = ()


def _put_tsv(write: Callable[[bytes], object], cells: Iterable[str]) -> None:
    write(("\t".join(cell.translate(_TSV_ESCAPES) for cell in cells) + "\n").encode("utf-8", "replace"))


def _put_csv(write: Callable[[bytes], object], cells: Iterable[str]) -> None:
    safe = [f"'{cell}" if cell.startswith(FORMULA_STARTS) and type(cell) is str else cell for cell in cells]
    csv.writer(_Line(write)).writerow(safe)


class _Line:
    """Ends a line of csv.writer with a newline alone. (If csv.writer did so, it would not quote carriage returns.)"""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, text: str) -> None:
        self._write((text.removesuffix("\r\n") + "\n").encode("utf-8", "replace"))
