"""Parses the lines of a batch (JSON objects or CSV rows) into tasks. An invalid line becomes a `Line` with its error."""

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from aorch import jsonio
from aorch.batch.batch_line import Line
from aorch.batch.columns import ColumnTemplates, missing_columns
from aorch.batch.csv_rows import CsvReader, CsvRow
from aorch.batch.raw_lines import LONGEST_LINE, LongLine, read_lines
from aorch.engine.task import Task, named_session
from aorch.errors import AorchError, InvalidJSON, UsageError
from aorch.ledger import priorities

LONGEST_ID = 64
"""Number of characters of a line's `id` that are part of its key."""


class _TaskFields(msgspec.Struct, forbid_unknown_fields=True):
    capability: str | None = None
    parameters: dict[str, Any] | None = None
    session_id: str | None = None
    priority: Annotated[int, msgspec.Meta(ge=priorities.HIGHEST, le=priorities.LOWEST)] | None = None
    id: str | int | None = None
    context: dict[str, Any] | None = None
    agent_id: str | None = None
    require: dict[str, str] | None = None
    timeout_s: float | None = None


_EXPECTED = {
    "capability": "a string",
    "parameters": "a JSON object",
    "session_id": "a string",
    "priority": f"an integer from {priorities.HIGHEST} (runs first) to {priorities.LOWEST}",
    "id": "a string or an integer",
    "context": "a JSON object",
    "agent_id": "a string",
    "require": "a JSON object of labels",
    "timeout_s": "a number of seconds",
}
_decode = msgspec.json.Decoder(_TaskFields).decode
_NAME = re.compile(r"\w+")
"""A field name that needs no escape in `key=value`."""


@dataclass(frozen=True)
class Defaults:
    """Defaults for the fields that a line does not set. Templates override `parameters`.

    `file` is the argument of `--batch`, for commands in hints.
    """

    capability: str | None
    templates: ColumnTemplates
    session_id: str
    parameters: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    agent_id: str | None = None
    timeout_s: float | None = None
    require: dict[str, str] = field(default_factory=dict)
    file: str = "FILE"

    def command(self, items: str = "", capability: str | None = None) -> str:
        """The command line that runs this batch with these KEY=VALUE items."""
        named = shlex.quote(self.capability or capability or "CAPABILITY")
        return " ".join(filter(None, ("aorch run", named, items, "--batch", shlex.quote(self.file))))


class LineParser:
    """Parses lines.

    The key of a line is a hash of its text and of `seed`, which is everything else that determines its task.
    """

    def __init__(self, defaults: Defaults, seed: bytes) -> None:
        self._defaults = defaults
        self._has_columns = bool(defaults.templates.columns)
        self._parameters = {} if self._has_columns else {**defaults.parameters, **defaults.templates.fill({})}
        self._seed = hashlib.sha256(seed)

    def from_json(self, descriptor: int) -> Iterator[list[Line]]:
        """Yield each line that is not blank as it arrives.

        Raises UsageError if the first one does not look like JSON.
        """
        is_first = True
        for numbered in read_lines(descriptor):
            filled = [(number, text) for number, text in numbered if isinstance(text, LongLine) or text.strip()]
            if filled and is_first:
                self._check_first(filled[0][1])
                is_first = False
            yield [self._json_line(number, text) for number, text in filled]

    def from_csv(self, descriptor: int) -> Iterator[list[Line]]:
        """Yield a line for each row below the header. Raises UsageError if the header is invalid or lacks a column."""
        reader = CsvReader(read_lines(descriptor))
        if missing := self._defaults.templates.columns - set(reader.header):
            raise missing_columns(missing, reader.header)
        for rows in reader.chunks():
            yield [self._csv_line(row, reader.header) for row in rows]

    def _check_first(self, text: bytes | LongLine) -> None:
        """If the first line starts like JSON, only that line is invalid; otherwise the file is not JSON Lines, and this
        raises.
        """
        if isinstance(text, LongLine) or text.lstrip()[:1] in (b"{", b"["):
            return
        try:
            jsonio.decode(text)
        except InvalidJSON as error:
            start = text.strip()[:60].decode(errors="replace")
            raise UsageError(
                f"the first line is not JSON, so nothing was run: {start}",
                f"If {self._defaults.file} is CSV with a header, run `{self._defaults.command()} --csv`.",
            ) from error

    def _csv_line(self, row: CsvRow, header: list[str]) -> Line:
        if row.error is not None:
            return _invalid(row.number, row.number, row.size, row.error)
        values = dict(zip(header, row.cells, strict=False))
        line_id = values.get("id") or row.number
        if len(row.cells) != len(header):
            error = UsageError(f"the row has {len(row.cells)} cells, but the header names {len(header)} columns")
            return _invalid(row.number, line_id, row.size, error)
        try:
            return self._from_row(row.number, line_id, values, jsonio.encode_bytes(values), row.size)
        except AorchError as error:
            return _invalid(row.number, line_id, row.size, error)

    def _json_line(self, number: int, text: bytes | LongLine) -> Line:
        if isinstance(text, LongLine):
            return _invalid(number, number, 0, UsageError(f"longer than {LONGEST_LINE:,} bytes"))
        size, text = len(text) + 1, text.strip()
        try:
            if self._has_columns:
                row = jsonio.decode(text)
                if not isinstance(row, dict):
                    raise UsageError(f"must be a JSON object, not {text[:60].decode()}")
                return self._from_row(number, _line_id(row, number), row, text, size)
            fields = _fields_of(text)
            line_id = number if fields.id is None else fields.id
            return self._line(number, line_id, self._task(fields), text, size, fields.priority)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError, RecursionError, AorchError) as error:
            line_id, problem = self._explain(number, text, error)
            return _invalid(number, line_id, size, problem)

    def _explain(self, number: int, text: bytes, error: Exception) -> tuple[str | int, AorchError]:
        """An invalid line, with its id and the message of `error`."""
        try:
            given = jsonio.decode(text)
        except InvalidJSON as invalid:
            return number, invalid
        line_id = _line_id(given, number)
        if isinstance(error, AorchError):
            return line_id, error
        if not isinstance(given, dict):
            return line_id, UsageError(f"a task must be a JSON object, not {jsonio.encode(given)[:60]}")
        if unknown := [name for name in given if name not in _EXPECTED]:
            return line_id, UsageError(_unknown_fields(given, unknown, self._defaults))
        for name, expected in _EXPECTED.items():
            if f"`$.{name}" in str(error):
                return line_id, UsageError(f"{name} must be {expected}, not {jsonio.encode(given[name])[:60]}")
        return line_id, UsageError(str(error))

    def _task(self, fields: _TaskFields) -> Task:
        defaults = self._defaults
        capability = defaults.capability if fields.capability is None else fields.capability
        if capability is None:
            raise UsageError("missing capability: set it in the line or on the command line")
        parameters = fields.parameters or {}
        context = fields.context or {}
        return Task(
            capability,
            {**self._parameters, **parameters} if self._parameters else parameters,
            defaults.session_id if fields.session_id is None else named_session(fields.session_id),
            {**defaults.context, **context} if defaults.context else context,
            defaults.agent_id if fields.agent_id is None else fields.agent_id,
            defaults.timeout_s if fields.timeout_s is None else fields.timeout_s,
            annotations={} if fields.priority is None else {"priority": fields.priority},
            require=defaults.require if fields.require is None else fields.require,
        )

    def _from_row(self, number: int, line_id: str | int, row: dict[str, Any], text: bytes, size: int) -> Line:
        """The line for a row of data: its columns fill the templates, or are the parameters if there are no templates."""
        defaults = self._defaults
        if defaults.capability is None:
            raise UsageError("missing capability: name it on the command line, because rows have none")
        filled = (
            {**defaults.parameters, **defaults.templates.fill(row)}
            if self._has_columns
            else {**self._parameters, **row}
        )
        task = Task(
            defaults.capability,
            filled,
            defaults.session_id,
            defaults.context,
            defaults.agent_id,
            defaults.timeout_s,
            require=defaults.require,
        )
        return self._line(number, line_id, task, text, size, None)

    def _line(self, number: int, line_id: str | int, task: Task, text: bytes, size: int, priority: int | None) -> Line:
        digest = self._seed.copy()
        digest.update(text)
        key = f"{line_id}"[:LONGEST_ID] + ":" + digest.hexdigest()[:16]
        task.annotations["line"] = line_id
        return Line(
            number,
            line_id,
            size,
            task,
            None,
            priorities.DEFAULT if priority is None else priority,
            jsonio.storable_text(key),
        )


def _fields_of(text: bytes) -> _TaskFields:
    try:
        return _decode(text)
    except msgspec.DecodeError:
        whole = jsonio.without_half_pairs(text)
        if whole is None:
            raise
        return _decode(whole)


def _line_id(row: Any, number: int) -> str | int:
    given = row.get("id") if isinstance(row, dict) else None
    return given if isinstance(given, str | int) and not isinstance(given, bool) and given != "" else number


def _invalid(number: int, line_id: str | int, size: int, error: AorchError) -> Line:
    return Line(number, line_id, size, refusal=type(error)(f"line {number}: {error}", error.hint))


def _unknown_fields(given: dict[str, Any], unknown: list[str], defaults: Defaults) -> str:
    """The error message for unknown fields, with the command that reads them as parameters."""
    noun, names = "fields" if len(unknown) > 1 else "field", ", ".join(map(repr, unknown))
    inside = ", ".join(f"{jsonio.encode(name)}: …" for name in unknown)
    message = f'unknown {noun} {names} (fields: {", ".join(_EXPECTED)}); write {{"parameters": {{{inside}}}}}'
    if "parameters" in given or not all(_NAME.fullmatch(name) for name in unknown):
        return message
    items = " ".join(f"{name}{'=' if isinstance(given[name], str) else ':='}{{{name}}}" for name in unknown)
    capability = given.get("capability")
    command = defaults.command(items, capability if isinstance(capability, str) else None)
    return f"{message}, or read the fields of each line as parameters: {command}"
