"""Reads the rows of a CSV batch (RFC 4180). A row that cannot be read is reported with its line number."""

import csv
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from aorch.batch.raw_lines import LONGEST_LINE, LongLine, NumberedLines
from aorch.errors import UsageError

_ENDLESS_HINT = "Add the missing closing quote. The lines after it were not read."


class CsvRow(NamedTuple):
    """A row: the number of its first line, its cells, its bytes, and the error that makes it invalid (or None).

    `is_last`: the lines after it cannot be read, because it has no end.
    """

    number: int
    cells: list[str]
    size: int
    error: UsageError | None = None
    is_last: bool = False


class CsvReader:
    """The rows of `lines`. Construction reads the header, and raises UsageError if it is invalid."""

    def __init__(self, lines: Iterator[NumberedLines]) -> None:
        self._text = _TextLines(lines)
        csv.field_size_limit(LONGEST_LINE)
        self._rows = csv.reader(self._text, strict=True)
        self.header = self._read_header()

    def _read_header(self) -> list[str]:
        try:
            header = next((cells for cells in self._rows if cells), [])  # after blank lines
        except csv.Error as error:
            raise UsageError(f"cannot read the CSV header: {error}") from error
        if unusable := self._text.take()[1]:
            raise UsageError(f"cannot read the CSV header: {unusable}")
        duplicates = sorted({name for name in header if header.count(name) > 1})
        if not header or "" in header or duplicates:
            problem = f"names {', '.join(map(repr, duplicates))} twice" if duplicates else "must name every column"
            raise UsageError(f"the CSV header (its first line) {problem}: {','.join(header)!r}")
        return header

    def chunks(self) -> Iterator[list[CsvRow]]:
        """Yield the rows below the header; each list holds the rows of one read."""
        rows: list[CsvRow] = []
        while (row := self._next()) is not None:
            if row.cells or row.error:
                rows.append(row)
            if row.is_last:
                break
            if self._text.is_empty:
                yield rows
                rows = []
        yield rows

    def _next(self) -> CsvRow | None:
        first, problem = self._text.number + 1, ""
        try:
            cells = next(self._rows)
        except StopIteration:
            return None
        except csv.Error as error:
            cells, problem = [], f"{error}"
        size, unusable = self._text.take()
        if "field limit" in problem:  # the rest of the cell must not be read as rows
            endless = UsageError(f"a cell does not end within {LONGEST_LINE:,} bytes", _ENDLESS_HINT)
            return CsvRow(first, [], size, endless, is_last=True)
        if unusable or problem:
            return CsvRow(first, [], size, UsageError(unusable or f"not valid CSV: {problem}"))
        return CsvRow(first, cells, size)


class _TextLines:
    """The lines as text for the CSV reader; `number` is that of the last one.

    An invalid line is passed on too, because the reader needs it to find the end of its row.
    """

    def __init__(self, lines: Iterator[NumberedLines]) -> None:
        self.number = 0
        self._lines = lines
        self._buffer: deque[tuple[int, bytes | LongLine]] = deque()
        self._size, self._unusable = 0, ""

    @property
    def is_empty(self) -> bool:
        return not self._buffer

    def take(self) -> tuple[int, str]:
        """The number of bytes read since the last call, and the first problem in them ("" if there is none)."""
        taken = self._size, self._unusable
        self._size, self._unusable = 0, ""
        return taken

    def __iter__(self) -> "_TextLines":
        return self

    def __next__(self) -> str:
        if not self._buffer:
            self._buffer.extend(next(self._lines))
        self.number, line = self._buffer.popleft()
        is_first, problem = self._size == 0, ""
        if isinstance(line, LongLine):
            problem, text = f"longer than {LONGEST_LINE:,} bytes", '"' if line.odd_quotes else "" if is_first else " "
            self._size += 1
        else:
            self._size += len(line) + 1
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                problem, text = f"not UTF-8 text (byte {error.start})", line.decode(errors="replace")
        if problem and not self._unusable:
            self._unusable = problem if is_first else f"{problem} in line {self.number}"
        return f"{text}\n"
