"""Importing contracts into a ledger: what is new is added, and what has gone on elsewhere is brought up to date."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import msgspec

from aorch import jsonio
from aorch.errors import AorchError, Conflict
from aorch.ledger import statements, task_queue
from aorch.ledger.contract_files import Placed
from aorch.ledger.database import transaction
from aorch.ledger.record import FIELDS, IN_PROGRESS, PENDING, REQUEST, Row
from aorch.ledger.sqlite import process_locks

BATCH, BATCH_CHARACTERS = 500, 4_000_000
"""Contracts that one transaction of an import takes in, and about how much they may say together."""

_LINKS = {"request_id", "capability"}
"""What an import of a session file of the older JSON store adds to its RESPONSEs; versions before did not."""
_MAY_CHANGE = {"status", "completed_at", "to_agent"}
"""What of a REQUEST may change after writing; `to_agent` only if it was queued, when an agent's process claims it."""
_sorted_encoder = msgspec.json.Encoder(order="sorted")


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

    def set(self, other: "Taken") -> None:
        """Count what `other` does."""
        self.new, self.updated, self.present = other.new, other.updated, other.present


def take_in(connection: sqlite3.Connection, ledger: Path, contracts: Iterator[Placed], taken: Taken) -> Iterator[Taken]:
    """Import `contracts` into `ledger`, BATCH a transaction; yields `taken` after each, once it is durable.

    A REQUEST that is open here and has ended in the file ends here too, in the transaction of its RESPONSE; if the file
    holds none, at the file's end. A RESPONSE alone ends its REQUEST as well. A REQUEST that has ended here and is open in the
    file stays as it is, and of two open ones `in_progress` stands. So files that were exported at any moments come to the same
    in any order.

    At the first contract that cannot be taken the import stops, with all before that one durable. Raises Conflict if a contract
    is here already and differs, answers a REQUEST that has another answer, or ends one that a process runs here; and what
    `contracts` raises.
    """
    importing, refusal = _Import(connection, ledger, taken), None
    while refusal is None:
        batch: list[Placed] = []
        try:
            _fill(batch, contracts)
        except AorchError as error:
            refusal = error
        if not batch:
            break
        refusal = importing.take(batch) or refusal
        yield taken
    if refusal is not None:
        raise refusal
    if importing.end_the_rest():
        yield taken


def _fill(batch: list[Placed], contracts: Iterator[Placed]) -> None:
    said = 0
    for place, row in islice(contracts, BATCH):
        batch.append((place, row))
        said += len(row.payload) + len(row.result or "")
        if said > BATCH_CHARACTERS:
            return


class _Import:
    """One import. `_ends` has the REQUESTs that are open here and have ended in the file, until their RESPONSE comes."""

    def __init__(self, connection: sqlite3.Connection, ledger: Path, taken: Taken) -> None:
        self._connection = connection
        self._ledger = ledger
        self._taken = taken
        self._ends: dict[str, Row] = {}

    def take(self, batch: list[Placed]) -> Conflict | None:
        """Take these in one transaction, up to the first that is refused."""
        refusal, before = None, replace(self._taken)
        try:
            with transaction(self._connection):
                for place, row in batch:
                    try:
                        self._take(row)
                    except Conflict as conflict:
                        refusal = Conflict(f"{place}: {conflict}", conflict.hint)
                        break
        except BaseException:  # nothing of the batch was kept
            self._taken.set(before)
            raise
        return refusal

    def end_the_rest(self) -> bool:
        """End those whose RESPONSE did not come; whether there were any."""
        if not self._ends:
            return False
        with transaction(self._connection):
            for row in self._ends.values():
                self._end_as(row)
        return True

    def _take(self, row: Row) -> None:
        ours = self._row(statements.CONTRACT_TEXTS, row.contract_id)
        if ours is None:
            self._insert(row)
        elif row.contract_type != REQUEST and _linked_alike(row, ours):
            self._link(row, ours)
        elif different := [
            name for name, said, kept in zip(FIELDS, row, ours, strict=False) if not _same(name, said, kept)
        ]:
            self._update(row, ours, different)
        else:
            self._taken.present += 1

    def _row(self, sql: str, contract_id: str | None) -> Row | None:
        found = self._connection.execute(sql, (contract_id,)).fetchone()
        return None if found is None else Row(*found)

    def _insert(self, row: Row) -> None:
        if row.contract_type == REQUEST:
            self._connection.execute(statements.INSERT_CONTRACT, row)
            self._taken.new += 1
            answer = self._row(statements.RESPONSE_TEXTS, row.contract_id) if row.status in task_queue.OPEN else None
            if answer is not None:
                task_queue.finish_by(self._connection, answer)
            return
        open_here = self._may_answer(row)
        self._connection.execute(statements.INSERT_CONTRACT, row)
        self._taken.new += 1
        self._end_request(row, open_here)

    def _link(self, row: Row, ours: Row) -> None:
        """Take over which REQUEST a RESPONSE answers, which is here as `ours`, if only the file says so."""
        if ours.request_id is None:
            open_here = self._may_answer(row)
            self._connection.execute(statements.LINK_RESPONSE, (row.request_id, row.capability, row.contract_id))
            self._taken.updated += 1
            self._end_request(row, open_here)
        else:
            self._taken.present += 1

    def _may_answer(self, row: Row) -> bool:
        """Whether the REQUEST of this RESPONSE is open here. Raises Conflict if it has another answer, or runs here."""
        answer = self._row(statements.RESPONSE_TEXTS, row.request_id)
        if answer is not None:
            other = answer.contract_id
            message = f"contract {row.contract_id} answers request {row.request_id}, which {other} in the ledger answers already"
            raise Conflict(message, _keep(other))
        asked = self._row(statements.CONTRACT_TEXTS, row.request_id)
        open_here = asked is not None and asked.contract_type == REQUEST and asked.status in task_queue.OPEN
        if open_here:
            self._refuse_if_run_here(
                row.request_id or "", f"contract {row.contract_id} answers {row.request_id}, which"
            )
        return open_here

    def _end_request(self, row: Row, open_here: bool) -> None:
        """End the REQUEST of this RESPONSE: as the file says of it, else as the RESPONSE does if it is open here."""
        if (ended := self._ends.pop(row.request_id or "", None)) is not None:
            self._end_as(ended)
        elif open_here:
            task_queue.finish_by(self._connection, row)
            self._taken.updated += 1

    def _update(self, row: Row, ours: Row, different: list[str]) -> None:
        """Take over what may change of a contract that is here as `ours`: how far a REQUEST has come. Raises Conflict."""
        ours = self._ends.get(row.contract_id, ours)
        if row.contract_type != REQUEST or not set(different) <= _MAY_CHANGE or not _agents_agree(row, ours):
            raise _differs(row, different)
        if ours.status not in task_queue.OPEN:
            self._compare_ends(row, ours, different)
        elif row.status not in task_queue.OPEN:
            self._refuse_if_run_here(row.contract_id, f"contract {row.contract_id} is {row.status} in the file, but")
            self._ends[row.contract_id] = row
            if self._row(statements.RESPONSE_TEXTS, row.contract_id) is not None:
                self._end_as(self._ends.pop(row.contract_id))
        elif _further(row, ours) and task_queue.is_unowned(self._connection, row.contract_id):
            self._connection.execute(statements.START_REQUEST, (row.contract_id,))
            if row.to_agent is not None:
                self._set_agent(row)
            self._taken.updated += 1
        else:
            self._taken.present += 1

    def _compare_ends(self, row: Row, ours: Row, different: list[str]) -> None:
        if row.status not in task_queue.OPEN and (row.status, row.completed_at) != (ours.status, ours.completed_at):
            raise _differs(row, different)
        if row.status not in task_queue.OPEN and ours.to_agent is None and row.to_agent is not None:
            self._set_agent(row)
            self._taken.updated += 1
        else:
            self._taken.present += 1

    def _refuse_if_run_here(self, request_id: str, what: str) -> None:
        claimed_by = self._connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()[3]
        if claimed_by is not None and process_locks.lives(self._ledger, claimed_by):
            raise Conflict(
                f"{what} a process runs that REQUEST here",
                f"It can end only once: leave it and its RESPONSE out. See `aorch contracts show {request_id}`.",
            )

    def _end_as(self, row: Row) -> None:
        self._connection.execute(statements.FINISH_QUEUED_REQUEST, (row.status, row.completed_at, row.contract_id))
        self._set_agent(row)
        self._taken.updated += 1

    def _set_agent(self, row: Row) -> None:
        self._connection.execute(statements.SET_AGENT, (row.to_agent, row.contract_id))


def _further(row: Row, ours: Row) -> bool:
    """Whether an open REQUEST has gone further than the open one here."""
    named = ours.to_agent is None and row.to_agent is not None
    return row.status == IN_PROGRESS and (ours.status == PENDING or named)


def _agents_agree(row: Row, ours: Row) -> bool:
    """Whether both name the same agent, or the REQUEST was queued and one of them is of a time before an agent took it."""
    if row.to_agent == ours.to_agent:
        return True
    if "queue" not in jsonio.decode(row.metadata):
        return False
    return None in (row.to_agent, ours.to_agent) or ours.status in task_queue.OPEN


def _linked_alike(row: Row, ours: Row) -> bool:
    """Whether two forms of a RESPONSE say the same, but that one of them alone names the REQUEST that it answers."""
    if (row.request_id is None) == (ours.request_id is None):
        return False
    if row.capability != ours.capability and (row if row.request_id is None else ours).capability:
        return False
    return all(name in _LINKS or _same(name, *both) for name, *both in zip(FIELDS, row, ours, strict=False))


def _differs(row: Row, different: list[str]) -> Conflict:
    names = ", ".join(different)
    message = f"contract {row.contract_id} is in the ledger already, and differs in {names}"
    return Conflict(message, _keep(row.contract_id))


def _keep(contract_id: str) -> str:
    return f"Compare it with `aorch contracts show {contract_id}`; leave its line out to keep what is in the ledger."


def _same(name: str, said: str | None, ours: str | None) -> bool:
    if said == ours or name not in ("payload", "result", "metadata"):
        return said == ours
    return _sorted_encoder.encode(jsonio.decode(said or "null")) == _sorted_encoder.encode(
        jsonio.decode(ours or "null")
    )
