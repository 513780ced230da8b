"""Files of contracts.

Exports are JSONL (the JSON form of a contract per line), CSV or TSV (payload, result and metadata are JSON text).
Imports are JSONL or session files of the older JSON store, each a JSON list of contracts with the same field names.
"""

import json as standard_json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any, BinaryIO, Literal

import msgspec

from aorch import jsonio
from aorch.clock import from_rfc3339, rfc3339
from aorch.csvio import RowWriter
from aorch.errors import AorchError, InvalidJSON, UsageError
from aorch.ledger.older_store import link_responses
from aorch.ledger.record import FIELDS, JSON_FIELDS, REQUEST, Record

MAX_LINE_BYTES = 256 * 1024 * 1024
"""Maximum size of one contract in JSONL, so that a file of another format is not read into memory."""

ContractInFile = tuple[str, Record]
"""The location of a contract in a file (`contracts.jsonl, line 3`), and the contract."""

Name = Annotated[str, msgspec.Meta(min_length=1)]


_TYPES: dict[str, tuple[Any, ...]] = {
    "contract_id": (Name,),
    "session_id": (Name,),
    "contract_type": (Literal["REQUEST", "RESPONSE"],),
    "from_agent": (Name,),
    "status": (Literal["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"],),
    "created_at": (str,),
    "payload": (dict[str, Any] | None, None),
    "result": (Any, None),
    "metadata": (dict[str, Any] | None, None),
    "request_id": (Name | None, None),
    "parent_id": (Name | None, None),
}
"""The types of imported fields that are not optional strings, and the defaults of optional ones, which the older store and
other programs may leave out.
"""
_ContractForm = msgspec.defstruct(
    "_ContractForm",
    [(name, *_TYPES.get(name, (str | None, None))) for name in FIELDS],
    forbid_unknown_fields=True,
    kw_only=True,
)

_decoder = msgspec.json.Decoder(_ContractForm)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


# Writing


def write_jsonl(rows: Iterable[Record], fields: Sequence[str], out: BinaryIO) -> None:
    """Write the JSON form of each contract on its own line, with only these fields."""
    for row in rows:
        out.write(_line(row, fields))


def write_csv(rows: Iterable[Record], fields: Sequence[str], out: BinaryIO, form: str = "csv") -> None:
    """Write a header, and a line of these fields per contract. Null is an empty cell."""
    writer = RowWriter(out.write, form, fields)
    for row in rows:
        writer.row(_stored_form(row))


WRITERS: dict[str, Callable[[Iterable[Record], Sequence[str], BinaryIO], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "tsv": partial(write_csv, form="tsv"),
}
"""The writer of each format."""


def _stored_form(row: Record) -> dict[str, Any]:
    """The JSON form, with JSON text as it is stored."""
    form = row.texts()
    for name in JSON_FIELDS:
        if form[name] is not None:
            form[name] = msgspec.Raw(form[name])
    return form


def _line(row: Record, fields: Sequence[str]) -> bytes:
    form = _stored_form(row)
    line = _encoder.encode(form if fields is FIELDS else {name: form[name] for name in fields})
    if b"\n" in line:  # another program wrote this row, with JSON on several lines
        form = row.as_dict()
        line = _encoder.encode({name: form[name] for name in fields})
    return line + b"\n"


# Reading


def read_contracts(stream: BinaryIO, name: str) -> Iterator[ContractInFile]:
    """The contracts of an open file in order, read line by line, or all at once from a JSON list.

    Raises InvalidJSON or UsageError for the first invalid contract, with the file and the location in it.
    """
    first, line_number = stream.readline(MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf"), 1
    while first and not first.strip():  # blank lines before a list
        first, line_number = stream.readline(MAX_LINE_BYTES), line_number + 1
    if first.lstrip().startswith(b"["):
        yield from _read_list(first + stream.read(), name)
        return
    lines = chain((first,), iter(lambda: stream.readline(MAX_LINE_BYTES), b""))
    for number, line in enumerate(lines, line_number):
        if len(line) == MAX_LINE_BYTES:
            raise UsageError(
                f"{name}, line {number}: longer than {MAX_LINE_BYTES:,} bytes", "Is this a file of contracts?"
            )
        if line.strip():
            yield _contract(line, f"{name}, line {number}")


def _read_list(text: bytes, name: str) -> Iterator[ContractInFile]:
    """The contracts before the first invalid one, each RESPONSE with the id of its REQUEST; then raises that error."""
    contracts, invalid = [], None
    for number, item in enumerate(_items(text, name), 1):
        try:
            contracts.append(_contract(item, f"{name}, contract {number} of the list"))
        except AorchError as error:
            invalid = error
            break
    yield from zip([location for location, _ in contracts], link_responses([row for _, row in contracts]), strict=True)
    if invalid is not None:
        raise invalid


def _items(text: bytes, name: str) -> Iterable[bytes]:
    try:
        return [bytes(item) for item in _list_decoder.decode(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = _decode_python_json(text)
        if not isinstance(found, list):
            raise InvalidJSON(
                f"{name} is not JSON: {jsonio.reason_of(error)}",
                "Pass a file that `aorch contracts export` wrote, or a session file of the JSON store.",
            ) from error
        return [standard_json.dumps(item).encode() for item in found]


def _contract(text: bytes, location: str) -> ContractInFile:
    try:
        return location, _row(_decode(text))
    except msgspec.ValidationError as error:
        raise UsageError(f"{location}: {_reason(error)}", "Each item must be the JSON form of one contract.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJSON(
            f"{location}: not JSON: {jsonio.reason_of(error)}",
            "Pass a file that `aorch contracts export` wrote, or a session file of the JSON store.",
        ) from error
    except (UsageError, ValueError, OverflowError) as error:
        raise UsageError(f"{location}: {error}") from error


def _decode(text: bytes) -> Any:
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        value = _decode_python_json(text)
        if value is None:
            raise
        return msgspec.convert(value, _ContractForm)


def _decode_python_json(text: bytes) -> Any:
    """`text` as Python's json module reads it, or None if it cannot. The older store wrote NaN and lone surrogates."""
    try:
        return standard_json.loads(text)
    except (ValueError, RecursionError):
        return None


_PLAIN = {
    "object": "an object",
    "array": "a list",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
}


def _reason(error: msgspec.ValidationError) -> str:
    reason, _, path = str(error).partition(" - at `$.")
    if reason.startswith("Object missing required field"):
        return f"the field {reason.split('`')[1]} is missing"
    reason = reason.replace(" | null`", "`")
    for typed, plain in _PLAIN.items():
        reason = reason.replace(f"`{typed}`", plain)
    return f"{path.rstrip('`')}: {reason[:1].lower()}{reason[1:]}" if path else f"{reason[:1].lower()}{reason[1:]}"


def _row(form: Any) -> Record:
    if form.contract_type == REQUEST and form.request_id is not None:
        raise UsageError("request_id: a REQUEST cannot answer another contract")
    values: dict[str, Any] = {"to_agent": None, "capability": "", "payload": "{}", "metadata": "{}"}
    for name in FIELDS:
        if (value := getattr(form, name)) is not None:
            values[name] = _stored(name, value)
    return Record(**values)


def _stored(name: str, value: Any) -> str:
    """The value of a field in the form of a record. Raises UsageError."""
    if name in JSON_FIELDS:
        return jsonio.encode(value)
    if name in ("created_at", "completed_at"):
        return _time(name, value)
    storable = jsonio.storable_text(value)
    if storable != value and name != "error":
        raise UsageError(f"{name} contains U+0000 or is not valid Unicode: {value!r}")
    return storable


def _time(name: str, text: str) -> str:
    try:
        return rfc3339(from_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"invalid {name}: {text!r} (expected an RFC 3339 time)") from error
