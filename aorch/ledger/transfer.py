"""Contracts carried out of a ledger, and into one.

Out: JSONL (a contract's JSON form a line) or CSV (RFC 4180; payload, result and metadata as JSON text).
In: such JSONL, or a session file of the older JSON store: one JSON list of contracts with the seed document's field names.
"""

import csv
import json as standard_json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated, Any, BinaryIO, Literal

import msgspec

from aorch import json
from aorch.errors import AorchError, Conflict, InvalidJSON, UsageError
from aorch.ledger import queue, statements
from aorch.ledger.row import FIELDS, IN_PROGRESS, PENDING, REQUEST, Row
from aorch.moments import from_rfc3339, rfc3339

BATCH, BATCH_CHARACTERS = 500, 4_000_000
"""Contracts that one transaction of an import takes in, and about how much they may say together."""
LONGEST_LINE = 256 * 1024 * 1024
"""Bytes of one contract in JSONL, so that a file that is something else does not end up in memory."""

Placed = tuple[str, Row]
"""A contract of a file, and where it stands: `contracts.jsonl, line 3`."""

_TEXTS = ", ".join(f"CAST({name} AS TEXT)" for name in FIELDS)
_FOUND = f"SELECT {_TEXTS} FROM contracts WHERE contract_id = ?"  # noqa: S608  names of columns
_ANSWER = "SELECT contract_id FROM contracts WHERE request_id = ?"

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
_sorted_encoder = msgspec.json.Encoder(order="sorted")


# Out


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


# In


def read(stream: BinaryIO, name: str) -> Iterator[Placed]:
    """The contracts of an open file, in its order: a line at a time, or from one list as a whole.

    Raises InvalidJSON or UsageError, which name the file and the place in it, when it comes to what is no contract.
    """
    first = stream.readline(LONGEST_LINE).removeprefix(b"\xef\xbb\xbf")
    while first and not first.strip():  # blank lines before a list
        first = stream.readline(LONGEST_LINE)
    if first.lstrip().startswith(b"["):
        for number, item in enumerate(_items(first + stream.read(), name), 1):
            yield _placed(item, f"{name}, contract {number} of the list")
        return
    for number, line in enumerate(chain((first,), iter(lambda: stream.readline(LONGEST_LINE), b"")), 1):
        if len(line) == LONGEST_LINE:
            raise UsageError(f"{name}, line {number}: longer than {LONGEST_LINE:,} bytes", "Is it a file of contracts?")
        if line.strip():
            yield _placed(line, f"{name}, line {number}")


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
        if value is not None and json.storable_text(value) != value:
            raise UsageError(f"{name} holds U+0000 or is not valid Unicode: {value!r}")
    return Row(
        contract_id=form.contract_id,
        session_id=form.session_id,
        contract_type=form.contract_type,
        from_agent=form.from_agent,
        to_agent=form.to_agent,
        capability=form.capability or "",
        payload=json.encode(form.payload or {}),
        status=form.status,
        created_at=_time("created_at", form.created_at),
        completed_at=None if form.completed_at is None else _time("completed_at", form.completed_at),
        result=None if form.result is None else json.encode(form.result),
        error=None if form.error is None else json.storable_text(form.error),
        metadata=json.encode(form.metadata or {}),
        request_id=form.request_id,
        parent_id=form.parent_id,
    )


def _time(name: str, text: str) -> str:
    try:
        return rfc3339(from_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} is not a time of RFC 3339: {text!r}") from error


@dataclass(slots=True)
class Taken:
    """What an import did so far: contracts that were new, that were here in an earlier state, and that were here already."""

    new: int = 0
    updated: int = 0
    present: int = 0

    def add(self, more: "Taken") -> None:
        """Count `more` too."""
        self.new, self.updated = self.new + more.new, self.updated + more.updated
        self.present += more.present


def take_in(connection: sqlite3.Connection, contracts: Iterator[Placed], taken: Taken) -> Iterator[Taken]:
    """Take `contracts` in, BATCH a transaction; yields `taken` after each, once it is durable.

    A REQUEST that is open here and has ended in the file ends here too, in the transaction of its RESPONSE; where the file
    holds none, at the file's end. One that has ended here and is open in the file stays as it is, and of two open ones
    `in_progress` stands. So files that were exported at any moments come to the same in any order.

    At the first contract that cannot be taken it stops, with all before that one durable. Raises Conflict where one is
    there already and differs otherwise, or answers a REQUEST that has another answer; and what `contracts` raises.
    """
    refusal: AorchError | None = None
    ends: _Ends = {}
    while refusal is None:
        batch: list[Placed] = []
        try:
            _fill(batch, contracts)
        except AorchError as error:
            refusal = error
        if not batch:
            break
        refusal = _take_batch(connection, batch, ends, taken) or refusal
        yield taken
    if refusal is not None:
        raise refusal
    if ends:
        with _transaction(connection):
            for request_id in ends:
                _end(connection, request_id, ends[request_id])
        taken.updated += len(ends)
        yield taken


_Ends = dict[str, dict[str, str | None]]
"""REQUESTs that are open here and have ended in the file, by id, each with its `status` and `completed_at` there, as long as
their RESPONSE has not come."""


def _fill(batch: list[Placed], contracts: Iterator[Placed]) -> None:
    said = 0
    for place, row in islice(contracts, BATCH):
        batch.append((place, row))
        said += len(row.payload) + len(row.result or "")
        if said > BATCH_CHARACTERS:
            return


def _take_batch(connection: sqlite3.Connection, batch: list[Placed], ends: _Ends, taken: Taken) -> Conflict | None:
    refusal = None
    more = Taken()
    with _transaction(connection):
        for place, row in batch:
            try:
                _take(connection, row, ends, more)
            except Conflict as conflict:
                refusal = Conflict(f"{place}: {conflict}", conflict.hint)
                break
    taken.add(more)
    return refusal


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _take(connection: sqlite3.Connection, row: Row, ends: _Ends, taken: Taken) -> None:
    """Take one contract in and count it. Raises Conflict."""
    found = connection.execute(_FOUND, (row.contract_id,)).fetchone()
    if found is None:
        _insert(connection, row)
        taken.new += 1
    elif different := [
        name for name, said, ours in zip(FIELDS, row, found, strict=False) if not _same(name, said, ours)
    ]:
        _update(connection, row, dict(zip(FIELDS, found, strict=True)), different, ends, taken)
    else:
        taken.present += 1
    if row.request_id in ends:
        _end(connection, row.request_id, ends.pop(row.request_id))
        taken.updated += 1


def _insert(connection: sqlite3.Connection, row: Row) -> None:
    try:
        connection.execute(statements.INSERT, row)
    except sqlite3.IntegrityError:
        (answer,) = connection.execute(_ANSWER, (row.request_id,)).fetchone()
        raise Conflict(
            f"contract {row.contract_id} answers request {row.request_id}, which {answer} in the ledger answers already",
            _keep(answer),
        ) from None


def _update(
    connection: sqlite3.Connection,
    row: Row,
    ours: dict[str, str | None],
    different: list[str],
    ends: _Ends,
    taken: Taken,
) -> None:
    """Take over what may change of a contract that is here as `ours`: how far a REQUEST has come. Raises Conflict."""
    ours |= ends.get(row.contract_id, {})
    said = {"status": row.status, "completed_at": row.completed_at}
    if row.contract_type != REQUEST or not said.keys() >= set(different):
        raise _differs(row, different)
    if ours["status"] not in queue.OPEN:
        if row.status not in queue.OPEN and not said.items() <= ours.items():
            raise _differs(row, different)
        taken.present += 1
    elif row.status not in queue.OPEN:
        ends[row.contract_id] = _unless_run_here(connection, row, said)
        if connection.execute(_ANSWER, (row.contract_id,)).fetchone():
            _end(connection, row.contract_id, ends.pop(row.contract_id))
            taken.updated += 1
    elif row.status == IN_PROGRESS and queue.is_nobodys(connection, row.contract_id):
        connection.execute(statements.START, (IN_PROGRESS, row.contract_id, PENDING))
        taken.updated += 1
    else:
        taken.present += 1


def _unless_run_here(connection: sqlite3.Connection, row: Row, said: dict[str, str | None]) -> dict[str, str | None]:
    if connection.execute(statements.CLAIMED_STATE, (row.contract_id,)).fetchone():
        raise Conflict(
            f"contract {row.contract_id} is {row.status} in the file, while a process runs it here",
            f"It can end only once: leave it and its RESPONSE out. See `aorch contracts show {row.contract_id}`.",
        )
    return said


def _end(connection: sqlite3.Connection, request_id: str, said: dict[str, str | None]) -> None:
    connection.execute(statements.END, (said["status"], said["completed_at"], request_id))


def _differs(row: Row, different: list[str]) -> Conflict:
    names = ", ".join(different)
    message = f"contract {row.contract_id} is in the ledger already, and differs in {names}"
    return Conflict(message, _keep(row.contract_id))


def _keep(contract_id: str) -> str:
    return f"Compare it with `aorch contracts show {contract_id}`; leave its line out to keep what is in the ledger."


def _same(name: str, said: str | None, ours: str | None) -> bool:
    if said == ours or name not in ("payload", "result", "metadata"):
        return said == ours
    return _sorted_encoder.encode(json.decode(said or "null")) == _sorted_encoder.encode(json.decode(ours or "null"))
