"""The lines of a batch: JSON objects or the rows of a CSV file (RFC 4180), each made into a task or told why it is none."""

import codecs
import csv
import hashlib
import os
import re
import shlex
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from aorch import jsonio
from aorch.batch.batch_line import Line
from aorch.cli.columns import Templates, missing_columns
from aorch.engine.task import Task, named_session
from aorch.errors import AorchError, InvalidJSON, UsageError
from aorch.ledger import priorities

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one line; a longer one is refused."""
READ = 64 * 1024
LONGEST_ID = 64
"""Characters of a line's own id that stand in its key."""

_END = "Is its closing quote missing? Nothing after it was read."


@dataclass(frozen=True)
class TooLong:
    """A line that is left out. `quotes` says whether the number of quotes in it is odd: a cell of CSV begins or ends in it."""

    quotes: bool


Numbered = list[tuple[int, bytes | TooLong]]
"""Lines with their numbers, from 1."""


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    capability: str | None = None
    parameters: dict[str, Any] | None = None
    session_id: str | None = None
    priority: Annotated[int, msgspec.Meta(ge=priorities.HIGHEST, le=priorities.LOWEST)] | None = None
    id: str | int | None = None
    context: dict[str, Any] | None = None
    agent_id: str | None = None
    timeout_s: float | None = None


_EXPECTED = {
    "capability": "a text",
    "parameters": "a JSON object",
    "session_id": "a text",
    "priority": f"a whole number from {priorities.HIGHEST} (goes first) to {priorities.LOWEST}",
    "id": "a text or a whole number",
    "context": "a JSON object",
    "agent_id": "a text",
    "timeout_s": "a number of seconds",
}
_decode = msgspec.json.Decoder(_Given).decode


def _given(text: bytes) -> _Given:
    try:
        return _decode(text)
    except msgspec.DecodeError:
        whole = jsonio.without_half_pairs(text)
        if whole is None:
            raise
        return _decode(whole)


_NAME = re.compile(r"\w+")
"""A field's name that can stand in an item as it is."""


@dataclass(frozen=True)
class Defaults:
    """What a line's task is made of where the line does not say. `parameters` come before `items`, which may be templates.

    `file` is what `--batch` names, for a next step that is said to a person.
    """

    capability: str | None
    items: Templates
    session_id: str
    parameters: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    agent_id: str | None = None
    timeout_s: float | None = None
    file: str = "FILE"

    def command(self, items: str = "", capability: str | None = None) -> str:
        """The command that does such a batch with those items."""
        said = shlex.quote(self.capability or capability or "CAPABILITY")
        return " ".join(filter(None, ("aorch run", said, items, "--batch", shlex.quote(self.file))))


class Lines:
    """Makes lines; `seed` is all that decides, beside a line itself, what its task is."""

    def __init__(self, defaults: Defaults, seed: bytes) -> None:
        self._defaults = defaults
        self._are_rows = bool(defaults.items.columns)
        self._parameters = {} if self._are_rows else {**defaults.parameters, **defaults.items.fill({})}
        self._seed = hashlib.sha256(seed)

    def from_json(self, descriptor: int) -> Iterator[list[Line]]:
        """A line for each that is not blank, as they come. Raises UsageError where the first looks nothing like JSON."""
        is_first = True
        for whole in physical_lines(descriptor):
            said = [(number, text) for number, text in whole if isinstance(text, TooLong) or text.strip()]
            if said and is_first:
                self._check_first(said[0][1])
                is_first = False
            yield [self._json_line(number, text) for number, text in said]

    def _check_first(self, text: bytes | TooLong) -> None:
        """One that is begun as JSON and broken is one broken line; any other means that all the lines are something else."""
        if isinstance(text, TooLong) or text.lstrip()[:1] in (b"{", b"["):
            return
        try:
            jsonio.decode(text)
        except InvalidJSON as error:
            said = text.strip()[:60].decode(errors="replace")
            raise UsageError(
                f"the first line is no JSON, so nothing was done: {said}",
                f"Where {self._defaults.file} is CSV with a header: {self._defaults.command()} --csv",
            ) from error

    def from_csv(self, descriptor: int) -> Iterator[list[Line]]:
        """A line for each row below the header. Raises UsageError where the header is none, or lacks a column."""
        text = _Text(physical_lines(descriptor))
        rows = csv.reader(text, strict=True)
        csv.field_size_limit(LONGEST_LINE)
        header = self._header(text, rows)
        made: list[Line] = []
        while True:
            first, wrong = text.number + 1, ""
            try:
                cells = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                cells, wrong = [], f"not CSV: {error}"
            size, unusable = text.taken()
            if wrong or unusable:
                made.append(_broken(first, first, size, UsageError(unusable or wrong)))
                if "field limit" in wrong:  # the rest of the cell would be taken for rows
                    made[-1].refusal = UsageError(
                        f"line {first}: a cell does not end within {LONGEST_LINE:,} bytes", _END
                    )
                    break
            elif cells:
                made.append(self._row(first, header, cells, size))
            if text.is_empty:
                yield made
                made = []
        yield made

    def _header(self, text: "_Text", rows: Iterator[list[str]]) -> list[str]:
        try:
            header = next((cells for cells in rows if cells), [])  # after blank lines
        except csv.Error as error:
            raise UsageError(f"the header of the CSV cannot be read: {error}") from error
        if unusable := text.taken()[1]:
            raise UsageError(f"the header of the CSV cannot be read: {unusable}")
        twice = sorted({name for name in header if header.count(name) > 1})
        if not header or "" in header or twice:
            wrong = f"names {', '.join(map(repr, twice))} twice" if twice else "must name every column"
            raise UsageError(f"the header (the first line of the CSV) {wrong}: {','.join(header)!r}")
        if missing := self._defaults.items.columns - set(header):
            raise missing_columns(missing, header)
        return header

    def _row(self, number: int, header: list[str], cells: list[str], size: int) -> Line:
        row = dict(zip(header, cells, strict=False))
        own = row.get("id") or number
        if len(cells) != len(header):
            wrong = UsageError(f"the row has {len(cells)} cells, and the header names {len(header)} columns")
            return _broken(number, own, size, wrong)
        try:
            return self._from_row(number, own, row, jsonio.encode_bytes(row), size)
        except AorchError as error:
            return _broken(number, own, size, error)

    def _json_line(self, number: int, text: bytes | TooLong) -> Line:
        if isinstance(text, TooLong):
            return _broken(number, number, 0, UsageError(f"longer than {LONGEST_LINE:,} bytes"))
        size, text = len(text) + 1, text.strip()
        try:
            if self._are_rows:
                row = jsonio.decode(text)
                if not isinstance(row, dict):
                    raise UsageError(f"must be a JSON object, not {text[:60].decode()}")
                return self._from_row(number, _own_id(row, number), row, text, size)
            given = _given(text)
            own = number if given.id is None else given.id
            return self._line(number, own, self._task(given), text, size, given.priority)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError, RecursionError, AorchError) as error:
            return _broken(number, *self._what_is_wrong(number, text, size, error))

    def _what_is_wrong(
        self, number: int, text: bytes, size: int, error: Exception
    ) -> tuple[str | int, int, AorchError]:
        """(the line's id, its size, the error in words)."""
        try:
            given = jsonio.decode(text)
        except InvalidJSON as broken:
            return number, size, broken
        own = _own_id(given, number)
        if isinstance(error, AorchError):
            return own, size, error
        if not isinstance(given, dict):
            return own, size, UsageError(f"a task must be a JSON object, not {jsonio.encode(given)[:60]}")
        if unknown := [name for name in given if name not in _EXPECTED]:
            return own, size, UsageError(_unknown(given, unknown, self._defaults))
        for name, expected in _EXPECTED.items():
            if f"`$.{name}" in str(error):
                return own, size, UsageError(f"{name} must be {expected}, not {jsonio.encode(given[name])[:60]}")
        return own, size, UsageError(str(error))

    def _task(self, given: _Given) -> Task:
        defaults = self._defaults
        capability = defaults.capability if given.capability is None else given.capability
        if capability is None:
            raise UsageError("needs a capability, as the line's field or on the command line")
        parameters = given.parameters or {}
        context = given.context or {}
        return Task(
            capability,
            {**self._parameters, **parameters} if self._parameters else parameters,
            defaults.session_id if given.session_id is None else named_session(given.session_id),
            {**defaults.context, **context} if defaults.context else context,
            defaults.agent_id if given.agent_id is None else given.agent_id,
            defaults.timeout_s if given.timeout_s is None else given.timeout_s,
            annotations={} if given.priority is None else {"priority": given.priority},
        )

    def _from_row(self, number: int, own: str | int, row: dict[str, Any], text: bytes, size: int) -> Line:
        """A row is data: its columns fill the items or are the parameters, and an `id` is the line's own besides."""
        defaults = self._defaults
        if defaults.capability is None:
            raise UsageError("a capability is needed on the command line where lines are rows of data")
        filled = {**defaults.parameters, **defaults.items.fill(row)} if self._are_rows else {**self._parameters, **row}
        task = Task(
            defaults.capability,
            filled,
            defaults.session_id,
            defaults.context,
            defaults.agent_id,
            defaults.timeout_s,
        )
        return self._line(number, own, task, text, size, None)

    def _line(self, number: int, own: str | int, task: Task, text: bytes, size: int, priority: int | None) -> Line:
        digest = self._seed.copy()
        digest.update(text)
        key = f"{own}"[:LONGEST_ID] + ":" + digest.hexdigest()[:16]
        task.annotations["line"] = own
        return Line(
            number,
            own,
            size,
            task,
            None,
            priorities.DEFAULT if priority is None else priority,
            jsonio.storable_text(key),
        )


def physical_lines(descriptor: int) -> Iterator[Numbered]:
    """The lines of a file or a pipe without their newlines, those that are there at once together.

    A byte order mark is left out. Raises UsageError where it cannot be read.
    """
    begun: list[bytes] = []
    number, length, quotes = 1, 0, 0

    def line(last: bytes) -> bytes | TooLong:
        text = b"".join([*begun, last]) if begun else last
        return text if length + len(last) <= LONGEST_LINE else TooLong((quotes + text.count(b'"')) % 2 == 1)

    for data in _read(descriptor):
        *whole, rest = data.split(b"\n")
        ended: Numbered = []
        for part in whole:
            ended.append((number, line(part)))
            number, length, quotes = number + 1, 0, 0
            begun.clear()
        if ended:
            yield ended
        length += len(rest)
        if rest:
            begun.append(rest)
        if length > LONGEST_LINE:
            quotes += sum(part.count(b'"') for part in begun)
            begun.clear()
    if length:
        yield [(number, line(b""))]


def _read(descriptor: int) -> Iterator[bytes]:
    """What there is, as it comes, without a byte order mark, which may come in parts."""
    begun: bytes | None = b""
    try:
        while data := os.read(descriptor, READ):
            if begun is not None:
                data = begun + data
                begun = data if codecs.BOM_UTF8.startswith(data) and data != codecs.BOM_UTF8 else None
                data = b"" if begun else data.removeprefix(codecs.BOM_UTF8)
            if data:
                yield data
        if begun:
            yield begun
    except OSError as error:
        raise UsageError(f"the batch cannot be read: {error.strerror}") from error


class _Text:
    """The lines as text, for the CSV reader. `number` is that of the last.

    A line that cannot be used is given as well, as far as the reader needs it to find where its row ends.
    """

    def __init__(self, lines: Iterator[Numbered]) -> None:
        self.number = 0
        self._lines = lines
        self._waiting: deque[tuple[int, bytes | TooLong]] = deque()
        self._size, self._unusable = 0, ""

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def taken(self) -> tuple[int, str]:
        """The bytes that were taken since this was last asked, and what is wrong with them, if anything is."""
        taken = self._size, self._unusable
        self._size, self._unusable = 0, ""
        return taken

    def __iter__(self) -> "_Text":
        return self

    def __next__(self) -> str:
        if not self._waiting:
            self._waiting.extend(next(self._lines))
        self.number, line = self._waiting.popleft()
        is_first, wrong = self._size == 0, ""
        if isinstance(line, TooLong):
            wrong, text = f"longer than {LONGEST_LINE:,} bytes", '"' if line.quotes else "" if is_first else " "
            self._size += 1
        else:
            self._size += len(line) + 1
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                wrong, text = f"not UTF-8 text (byte {error.start})", line.decode(errors="replace")
        if wrong and not self._unusable:
            self._unusable = wrong if is_first else f"{wrong} in line {self.number}"
        return f"{text}\n"


def _own_id(row: Any, number: int) -> str | int:
    own = row.get("id") if isinstance(row, dict) else None
    return own if isinstance(own, str | int) and not isinstance(own, bool) and own != "" else number


def _broken(number: int, own: str | int, size: int, error: AorchError) -> Line:
    return Line(number, own, size, refusal=type(error)(f"line {number}: {error}", error.hint))


def _unknown(given: dict[str, Any], unknown: list[str], defaults: Defaults) -> str:
    """Which fields of that line are none of a task, and where they could stand instead."""
    names, their = ", ".join(map(repr, unknown)), "s" if len(unknown) > 1 else ""
    inside = ", ".join(f"{jsonio.encode(name)}: …" for name in unknown)
    said = f'a task has no field{their} {names}; it has {", ".join(_EXPECTED)}. Write {{"parameters": {{{inside}}}}}'
    if "parameters" in given or not all(_NAME.fullmatch(name) for name in unknown):
        return said
    items = " ".join(f"{name}{'=' if isinstance(given[name], str) else ':='}{{{name}}}" for name in unknown)
    capability = given.get("capability")
    command = defaults.command(items, capability if isinstance(capability, str) else None)
    return f"{said}, or take parameters from the fields of each line: {command}"
