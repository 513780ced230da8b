"""Corrections of memory by a person: claims to keep (pin), statements to add (note), claims to leave out (forget), and undo.

Each is an exchange in the session that it corrects: a completed REQUEST to aorch itself, with the claim in its payload, and its
RESPONSE. It is exported, imported and erased like any other. It is not part of the session's conversation.
"""

from typing import Any, NamedTuple

from aorch import jsonio
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import ContentErased
from aorch.ids import new_id
from aorch.ledger.database import Connection, Database, statements
from aorch.ledger.record import COMPLETED, ORCHESTRATOR, REQUEST, RESPONSE, Record, object_in

PIN, NOTE, FORGET, UNDO = "memory.pin", "memory.note", "memory.forget", "memory.undo"
CAPABILITIES = (PIN, NOTE, FORGET, UNDO)
"""The capabilities of corrections."""
_NAMES = ", ".join(f"'{each}'" for each in CAPABILITIES)
IS_CORRECTION = f"contract_type = '{REQUEST}' AND to_agent = '{ORCHESTRATOR}' AND capability IN ({_NAMES})"
"""The condition of the index `ix_contracts_corrections`, in SQL."""


class StoredCorrection(NamedTuple):
    """A correction: `action` is one of CAPABILITIES, `payload` the JSON object in its REQUEST ({} if it was erased)."""

    contract_id: str
    session_id: str
    action: str
    created_at: str
    from_agent: str
    payload: dict[str, Any]


def read_corrections(connection: Connection, session_id: str) -> list[StoredCorrection]:
    """The corrections of that session, oldest first, those that were undone or erased included."""
    rows = connection.execute(statements.CORRECTIONS_OF_SESSION, (session_id,)).fetchall()
    return [_stored(Record(*row[1:])) for row in rows]


def _stored(record: Record) -> StoredCorrection:
    payload = object_in({"payload": jsonio.decode(record.payload)}, "payload")
    return StoredCorrection(
        record.contract_id, record.session_id, record.capability, record.created_at, record.from_agent, payload
    )


def citing(connection: Connection, session_id: str, contract_ids: frozenset[str]) -> list[str]:
    """The corrections (ids) of that session whose claims cite one of these contracts."""
    return [
        each.contract_id
        for each in read_corrections(connection, session_id)
        if isinstance(cited := each.payload.get("contract_ids"), list) and any(one in contract_ids for one in cited)
    ]


def correction_request(
    session_id: str, action: str, payload: dict[str, Any], from_agent: str | None, caller: dict[str, str] | None
) -> Record:
    """The REQUEST of a new correction. `caller` is stored in its metadata, as for any task."""
    created_at = now()
    return Record(
        new_id(),
        session_id,
        REQUEST,
        from_agent or ORCHESTRATOR,
        ORCHESTRATOR,
        action,
        jsonio.encode(payload),
        COMPLETED,
        created_at,
        created_at,
        metadata=jsonio.encode({"caller": caller} if caller else {}),
    )


def add_correction(path: LedgerLocation, request: Record, result: dict[str, Any]) -> None:
    """Commit a correction and its RESPONSE; durable when this returns.

    Raises ContentErased if a contract that its claim cites was erased meanwhile, and LedgerError.
    """
    response = Record(
        new_id(),
        request.session_id,
        RESPONSE,
        ORCHESTRATOR,
        request.from_agent,
        request.capability,
        "{}",
        COMPLETED,
        request.created_at,
        request.created_at,
        jsonio.encode(result),
        request_id=request.contract_id,
    )
    with Database(path) as database, database.write() as connection:
        for contract_id in jsonio.decode(request.payload).get("contract_ids", ()):
            if connection.execute(statements.IS_ERASED, (contract_id,)).fetchone() is not None:
                raise ContentErased(f"contract {contract_id} was erased", "The claim about it is gone.")
        connection.execute(statements.INSERT_CONTRACT, request)
        connection.execute(statements.INSERT_CONTRACT, response)
