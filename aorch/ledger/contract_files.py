"""Files of contracts: JSONL (a contract's JSON form a line), CSV, and the session files of the older JSON store.

Written are JSONL and CSV (RFC 4180; payload, result and metadata as JSON text). Read are JSONL and the older store's files:
one JSON list of contracts with the seed document's field names.
"""

import csv
import json as standard_json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Annotated, Any, BinaryIO, Literal

import msgspec

from aorch import jsonio
from aorch.clock import from_rfc3339, rfc3339
from aorch.errors import AorchError, InvalidJSON, UsageError
from aorch.ledger.older_store import linked
from aorch.ledger.record import FIELDS, REQUEST, Row

LONGEST_LINE = 256 * 1024 * 1024
"""Bytes of one contract in JSONL, so that a file that is something else does not end up in memory."""

Placed = tuple[str, Row]
"""A contract of a file, and where it stands: `contracts.jsonl, line 3`."""

Name = Annotated[str, msgspec.Meta(min_length=1)]


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    """A contract's JSON form as it may come in: what the older store or another program left out is allowed to be."""

    contract_id: Name
    session_id: Name
    contract_type: Literal["REQUEST", "RESPONSE"]
    from_agent: Name
    status: Literal["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"]
    created_at: str
    to_agent: str | None = None
    capability: str | None = None
    payload: dict[str, Any] | None = None
    completed_at: str | None = None
    result: Any = None
    error: str | None = None
    metadata: dict[str, Any] | None = None
    request_id: Name | None = None
    parent_id: Name | None = None


_decoder = msgspec.json.Decoder(_Form)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


# Writing


def write_jsonl(rows: Iterable[Row], out: BinaryIO) -> None:
    """Each contract's JSON form on a line of its own."""
    for row in rows:
        out.write(_line(row))


def write_csv(rows: Iterable[Row], out: BinaryIO) -> None:
    """A header and a line for each contract; what is null is empty."""
    lines = csv.writer(_Utf8(out))
    lines.writerow(FIELDS)
    lines.writerows(row[: len(FIELDS)] for row in rows)


WRITERS: dict[str, Callable[[Iterable[Row], BinaryIO], None]] = {"jsonl": write_jsonl, "csv": write_csv}
"""By the name of their format."""


class _Utf8:
    """A text file over a binary one. io.TextIOWrapper would close it when an export ends early."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return self._out.write(text.encode())


def _line(row: Row) -> bytes:
    form: dict[str, Any] = dict(zip(FIELDS, row, strict=False))
    for name in ("payload", "result", "metadata"):
        if form[name] is not None:
            form[name] = msgspec.Raw(form[name])
    line = _encoder.encode(form)
    if b"\n" in line:  # another program wrote this row, with JSON on several lines
        line = _encoder.encode(row.as_dict())
    return line + b"\n"


# Reading


def read(stream: BinaryIO, name: str) -> Iterator[Placed]:
    """The contracts of an open file, in its order: a line at a time, or from one list as a whole.

    Raises InvalidJSON or UsageError, which name the file and the place in it, when it comes to what is no contract.
    """
    first, line_number = stream.readline(LONGEST_LINE).removeprefix(b"\xef\xbb\xbf"), 1
    while first and not first.strip():  # blank lines before a list
        first, line_number = stream.readline(LONGEST_LINE), line_number + 1
    if first.lstrip().startswith(b"["):
        yield from _listed(first + stream.read(), name)
        return
    lines = chain((first,), iter(lambda: stream.readline(LONGEST_LINE), b""))
    for number, line in enumerate(lines, line_number):
        if len(line) == LONGEST_LINE:
            raise UsageError(f"{name}, line {number}: longer than {LONGEST_LINE:,} bytes", "Is it a file of contracts?")
        if line.strip():
            yield _placed(line, f"{name}, line {number}")


def _listed(text: bytes, name: str) -> Iterator[Placed]:
    """The contracts of one list, linked; then, if one of them is invalid, its error."""
    placed, invalid = [], None
    for number, item in enumerate(_items(text, name), 1):
        try:
            placed.append(_placed(item, f"{name}, contract {number} of the list"))
        except AorchError as error:
            invalid = error
            break
    yield from zip([place for place, _ in placed], linked([row for _, row in placed]), strict=True)
    if invalid is not None:
        raise invalid


def _items(text: bytes, name: str) -> Iterable[bytes]:
    try:
        return [bytes(item) for item in _list_decoder.decode(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = _as_python_writes(text)
        if not isinstance(found, list):
            raise InvalidJSON(f"{name}: not JSON: {error}") from error
        return [standard_json.dumps(item).encode() for item in found]


def _placed(text: bytes, place: str) -> Placed:
    try:
        return place, _row(_form(text))
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}: {_reason(error)}", "A line holds one contract in its JSON form.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJSON(f"{place}: not JSON: {error}") from error
    except (UsageError, ValueError, OverflowError) as error:
        raise UsageError(f"{place}: {error}") from error


def _form(text: bytes) -> _Form:
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        value = _as_python_writes(text)
        if value is None:
            raise
        return msgspec.convert(value, _Form)


def _as_python_writes(text: bytes) -> Any:
    """What Python's own json makes of `text`, or None: the older store wrote by it, NaN and lone surrogates included."""
    try:
        return standard_json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reason(error: msgspec.ValidationError) -> str:
    reason, _, path = str(error).partition(" - at `$.")
    return f"{path.rstrip('`')}: {reason}" if path else reason


def _row(form: _Form) -> Row:
    for name in ("contract_id", "session_id", "from_agent", "to_agent", "capability", "request_id", "parent_id"):
        value = getattr(form, name)
        if value is not None and jsonio.storable_text(value) != value:
            raise UsageError(f"{name} holds U+0000 or is not valid Unicode: {value!r}")
    if form.contract_type == REQUEST and form.request_id is not None:
        raise UsageError("request_id: a REQUEST answers no other contract")
    return Row(
        contract_id=form.contract_id,
        session_id=form.session_id,
        contract_type=form.contract_type,
        from_agent=form.from_agent,
        to_agent=form.to_agent,
        capability=form.capability or "",
        payload=jsonio.encode(form.payload or {}),
        status=form.status,
        created_at=_time("created_at", form.created_at),
        completed_at=None if form.completed_at is None else _time("completed_at", form.completed_at),
        result=None if form.result is None else jsonio.encode(form.result),
        error=None if form.error is None else jsonio.storable_text(form.error),
        metadata=jsonio.encode(form.metadata or {}),
        request_id=form.request_id,
        parent_id=form.parent_id,
    )


def _time(name: str, text: str) -> str:
    try:
        return rfc3339(from_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} is not a time of RFC 3339: {text!r}") from error
