"""Reads a ledger for shell completion, without an upgrade. Returns nothing if that fails."""

from typing import Any

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import LedgerError
from aorch.ledger.database import Database, statements

MOST = 100


def sessions_from(path: LedgerLocation, first: str) -> list[str]:
    """Up to MOST session ids, in order, starting at `first`."""
    return [session_id for (session_id,) in _read(path, statements.SESSIONS_FROM, (first, MOST))]


def newest_contracts(path: LedgerLocation) -> list[tuple[str, str, str]]:
    """(contract_id, capability, session_id) of the MOST newest contracts."""
    return _read(path, statements.NEWEST_IDS, (MOST,))


def _read(path: LedgerLocation, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
    try:
        with Database(path).peek(may_wait=False) as connection:
            return connection.execute(sql, parameters).fetchall()
    except LedgerError:
        return []
