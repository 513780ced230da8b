"""A glance at a ledger for shell completion: no SQLAlchemy, no upgrade, nothing written, and silence where it fails."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from aorch.errors import LedgerReadOnly
from aorch.ledger import statements
from aorch.ledger.sqlite.opening import open_without_upgrade

MOST = 100


def sessions_from(path: Path, first: str) -> list[str]:
    """Up to MOST session ids, in order, from `first` on."""
    return [session_id for (session_id,) in _read(path, statements.SESSIONS_FROM, (first, MOST))]


def newest_contracts(path: Path) -> list[tuple[str, str, str]]:
    """(contract_id, capability, session_id) of the MOST newest contracts."""
    return _read(path, statements.NEWEST_IDS, (MOST,))


def _read(path: Path, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
    try:
        with closing(open_without_upgrade(path)) as connection:
            connection.may_wait = lambda: False  # somebody waits for the shell
            return connection.execute(sql, parameters).fetchall()
    except (sqlite3.Error, LedgerReadOnly):
        return []
