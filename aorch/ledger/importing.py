"""Imports contracts: adds new ones, and updates open REQUESTs that have progressed in the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec

from aorch import jsonio
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import AorchError, Conflict
from aorch.ledger import task_queue
from aorch.ledger.contract_files import ContractInFile
from aorch.ledger.contract_metadata import ErasureMark, erased_metadata, mark_of
from aorch.ledger.database import Connection, statements, transaction
from aorch.ledger.lost_requests import dead_processes
from aorch.ledger.record import FIELDS, IN_PROGRESS, PENDING, REQUEST, Record

BATCH, BATCH_CHARACTERS = 500, 4_000_000
"""Contracts per transaction, and the approximate number of characters of payloads and results."""

_LINK_FIELDS = {"request_id", "capability"}
"""Fields that the import adds to RESPONSEs of the older JSON store. Earlier versions of aorch did not add them."""
_PROGRESS_FIELDS = {"status", "completed_at", "to_agent"}
"""The fields of a REQUEST that can change after it is written. `to_agent` changes only when a queued REQUEST is claimed."""
_sorted_encoder = msgspec.json.Encoder(order="sorted")


@dataclass(slots=True)
class ImportCounts:
    """Counts of imported contracts: new ones, ones that updated an older state in the ledger, and ones already present.

    `erased`: contracts whose content was erased here, and that stay erased (they count as present too). `erased_there`:
    contracts that are erased in the file and not here; they stay as they are.
    """

    new: int = 0
    updated: int = 0
    present: int = 0
    erased: int = 0
    erased_there: int = 0

    def add(self, other: "ImportCounts") -> None:
        """Add the counts of `other`."""
        self.new += other.new
        self.updated += other.updated
        self.present += other.present
        self.erased += other.erased
        self.erased_there += other.erased_there


def import_batches(
    connection: Connection, ledger: LedgerLocation, contracts: Iterator[ContractInFile], counts: ImportCounts
) -> Iterator[ImportCounts]:
    """Import `contracts` in transactions of BATCH; yields `counts` after each commit.

    If a REQUEST is open in the ledger and has ended in the file, it ends in the transaction of its RESPONSE, or at the end of
    the file if that contains none. A RESPONSE without its REQUEST ends the REQUEST as well. If a REQUEST has ended in the
    ledger and is open in the file, it stays as it is; of two open states, `in_progress` wins. So the result does not depend
    on the order in which exports are imported.

    The import stops at the first contract that it cannot import; everything before it is committed. Raises Conflict if the
    ledger has a different contract of the same id, if a second RESPONSE answers a REQUEST, or if a process of this machine
    runs the REQUEST that would end; and any exception that `contracts` raises.
    """
    importer, error = _Importer(connection, ledger), None
    while error is None:
        batch: list[ContractInFile] = []
        try:
            _read_batch(contracts, batch)
        except AorchError as invalid:
            error = invalid
        if not batch:
            break
        imported, conflict = importer.import_batch(batch)
        counts.add(imported)
        error = conflict or error
        yield counts
    if error is not None:
        raise error
    counts.add(importer.end_without_response())
    yield counts


def _read_batch(contracts: Iterator[ContractInFile], batch: list[ContractInFile]) -> None:
    """Fill `batch`. If a contract is invalid, `batch` keeps the contracts before it."""
    characters = 0
    for location, row in islice(contracts, BATCH):
        batch.append((location, row))
        characters += len(row.payload) + len(row.result or "")
        if characters > BATCH_CHARACTERS:
            return


class _Importer:
    """The import of one file.

    `_ended` has the REQUESTs that are open in the ledger and have ended in the file, until the file has their RESPONSE.
    """

    def __init__(self, connection: Connection, ledger: LedgerLocation) -> None:
        self._connection = connection
        self._ledger = ledger
        self._counts = ImportCounts()
        self._ended: dict[str, Record] = {}

    def import_batch(self, batch: list[ContractInFile]) -> tuple[ImportCounts, Conflict | None]:
        """Import contracts in one transaction, up to the first conflict."""
        self._counts = ImportCounts()
        with transaction(self._connection):
            for location, row in batch:
                try:
                    self._import(row)
                except Conflict as conflict:
                    return self._counts, Conflict(f"{location}: {conflict}", conflict.hint)
        return self._counts, None

    def end_without_response(self) -> ImportCounts:
        """End the REQUESTs whose RESPONSE the file did not contain."""
        self._counts = ImportCounts()
        if self._ended:
            with transaction(self._connection):
                for row in self._ended.values():
                    self._end_as_in_file(row)
        return self._counts

    def _import(self, row: Record) -> None:
        mark = mark_of(row)
        if self._is_erased(row.contract_id) or (mark is None and row.request_id and self._is_erased(row.request_id)):
            self._counts.present += 1
            self._counts.erased += 1
            return
        stored = self._find(row.contract_id)
        if mark is not None and stored is not None:
            self._counts.present += 1
            self._counts.erased_there += 1
            return
        if mark is not None:
            self._record_erasure(row.contract_id, mark)
            row = _without_content(row, mark)
        if stored is None and row.contract_type == REQUEST:
            self._insert_request(row)
        elif stored is None:
            is_open = self._check_answerable(row)
            self._connection.execute(statements.INSERT_CONTRACT, row)
            self._counts.new += 1
            self._end_request_of(row, is_open)
        elif row.contract_type != REQUEST and _differ_only_in_link(row, stored):
            self._link(row, stored)
        elif different := _different_fields(row, stored):
            self._update(row, stored, different)
        else:
            self._counts.present += 1

    def _is_erased(self, contract_id: str) -> bool:
        return self._connection.execute(statements.IS_ERASED, (contract_id,)).fetchone() is not None

    def _record_erasure(self, contract_id: str, mark: ErasureMark) -> None:
        """Record that the contract was erased in the ledger that the file comes from. No bytes of it were ever here."""
        erasure = (mark.erasure_id, mark.at, mark.by, mark.reason, '{"imported":true}', now())
        self._connection.execute(statements.INSERT_ERASURE, erasure)
        self._connection.execute(statements.INSERT_ERASED_CONTRACT, (contract_id, mark.erasure_id))

    def _find(self, contract_id: str | None) -> Record | None:
        return self._one(statements.CONTRACT_TEXTS, contract_id)

    def _response_to(self, request_id: str | None) -> Record | None:
        return self._one(statements.RESPONSE_TEXTS, request_id)

    def _one(self, sql: str, contract_id: str | None) -> Record | None:
        found = self._connection.execute(sql, (contract_id,)).fetchone()
        return None if found is None else Record(*found)

    def _insert_request(self, row: Record) -> None:
        self._connection.execute(statements.INSERT_CONTRACT, row)
        self._counts.new += 1
        response = self._response_to(row.contract_id) if row.status in task_queue.OPEN else None
        if response is not None:
            task_queue.finish_by(self._connection, response)

    def _link(self, row: Record, stored: Record) -> None:
        """Store which REQUEST a RESPONSE answers, if only the file contains this."""
        if stored.request_id is not None:
            self._counts.present += 1
            return
        is_open = self._check_answerable(row)
        self._connection.execute(statements.LINK_RESPONSE, (row.request_id, row.capability, row.contract_id))
        self._counts.updated += 1
        self._end_request_of(row, is_open)

    def _check_answerable(self, row: Record) -> bool:
        """Whether the REQUEST of this RESPONSE is open. Raises Conflict if it has another RESPONSE or runs on this machine."""
        response = self._response_to(row.request_id)
        if response is not None:
            raise Conflict(
                f"contract {row.contract_id} answers request {row.request_id}, which {response.contract_id} in the ledger"
                " answers already",
                _compare_hint(response.contract_id),
            )
        request = self._find(row.request_id)
        is_open = request is not None and request.contract_type == REQUEST and request.status in task_queue.OPEN
        if is_open:
            self._reject_running(row.request_id or "", f"contract {row.contract_id} answers {row.request_id}")
        return is_open

    def _end_request_of(self, response: Record, is_open: bool) -> None:
        """End the REQUEST of a RESPONSE, with the status in the file, or if the file does not contain it, with that of the
        RESPONSE.
        """
        if (ended := self._ended.pop(response.request_id or "", None)) is not None:
            self._end_as_in_file(ended)
        elif is_open:
            task_queue.finish_by(self._connection, response)
            self._counts.updated += 1

    def _update(self, row: Record, stored: Record, different: list[str]) -> None:
        """Update the progress of a REQUEST. Raises Conflict for any other difference."""
        stored = self._ended.get(row.contract_id, stored)
        if row.contract_type != REQUEST or not set(different) <= _PROGRESS_FIELDS or not _agents_agree(row, stored):
            raise _difference(row, different)
        if stored.status not in task_queue.OPEN:
            self._compare_ends(row, stored, different)
        elif row.status not in task_queue.OPEN:
            self._reject_running(row.contract_id, f"contract {row.contract_id} is {row.status} in the file")
            self._ended[row.contract_id] = row
            if self._response_to(row.contract_id) is not None:
                self._end_as_in_file(self._ended.pop(row.contract_id))
        elif _has_progressed(row, stored) and task_queue.is_unowned(self._connection, row.contract_id):
            self._connection.execute(statements.START_REQUEST, (row.contract_id,))
            if row.to_agent is not None:
                self._set_agent(row)
            self._counts.updated += 1
        else:
            self._counts.present += 1

    def _compare_ends(self, row: Record, stored: Record, different: list[str]) -> None:
        has_ended = row.status not in task_queue.OPEN
        if has_ended and (row.status, row.completed_at) != (stored.status, stored.completed_at):
            raise _difference(row, different)
        if has_ended and stored.to_agent is None and row.to_agent is not None:
            self._set_agent(row)
            self._counts.updated += 1
        else:
            self._counts.present += 1

    def _reject_running(self, request_id: str, reason: str) -> None:
        claimed_by = self._connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()[3]
        if claimed_by is not None and not dead_processes(self._ledger, [claimed_by]):
            raise Conflict(
                f"{reason}, but a process or a worker runs that REQUEST",
                f"Remove the REQUEST and its RESPONSE from the file. See `aorch contracts show {request_id}`.",
            )

    def _end_as_in_file(self, row: Record) -> None:
        self._connection.execute(statements.FINISH_QUEUED_REQUEST, (row.status, row.completed_at, row.contract_id))
        self._set_agent(row)
        self._counts.updated += 1

    def _set_agent(self, row: Record) -> None:
        self._connection.execute(statements.SET_AGENT, (row.to_agent, row.contract_id))


def _without_content(row: Record, mark: ErasureMark) -> Record:
    """`row` as an erasure leaves it, whatever content another program may have put next to the mark."""
    kept = erased_metadata(jsonio.decode(row.metadata), mark)
    return row._replace(payload="{}", result=None, error=None, metadata=jsonio.encode(kept))


def _has_progressed(row: Record, stored: Record) -> bool:
    """Whether an open REQUEST has progressed beyond the stored one, which is open too."""
    has_agent = stored.to_agent is None and row.to_agent is not None
    return row.status == IN_PROGRESS and (stored.status == PENDING or has_agent)


def _agents_agree(row: Record, stored: Record) -> bool:
    """Whether both name the same agent, or one of them was exported before an agent claimed it from the queue."""
    if row.to_agent == stored.to_agent:
        return True
    if "queue" not in jsonio.decode(row.metadata):
        return False
    return None in (row.to_agent, stored.to_agent) or stored.status in task_queue.OPEN


def _different_fields(row: Record, stored: Record) -> list[str]:
    return [name for name in FIELDS if not _equal(name, getattr(row, name), getattr(stored, name))]


def _differ_only_in_link(row: Record, stored: Record) -> bool:
    """Whether two forms of a RESPONSE are equal, except that only one names the REQUEST that it answers."""
    if (row.request_id is None) == (stored.request_id is None):
        return False
    if row.capability != stored.capability and (row if row.request_id is None else stored).capability:
        return False
    return set(_different_fields(row, stored)) <= _LINK_FIELDS


def _difference(row: Record, different: list[str]) -> Conflict:
    return Conflict(
        f"contract {row.contract_id} is in the ledger already, and differs in {', '.join(different)}",
        _compare_hint(row.contract_id),
    )


def _compare_hint(contract_id: str) -> str:
    return f"Compare it with `aorch contracts show {contract_id}`; remove its line to keep the contract in the ledger."


def _equal(name: str, value: str | None, stored: str | None) -> bool:
    if value == stored or name not in ("payload", "result", "metadata"):
        return value == stored
    return _normal_json(value) == _normal_json(stored)


def _normal_json(text: str | None) -> bytes:
    return _sorted_encoder.encode(jsonio.decode(text or "null"))
