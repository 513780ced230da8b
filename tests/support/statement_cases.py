"""An empty ledger as a plain connection, and contracts for the tests of single statements."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ledgers
import pytest

from aorch.ledger.record import Record


@pytest.fixture
def ledger(tmp_path: Path, made_ledger: Path) -> Iterator[sqlite3.Connection]:
    """An empty ledger."""
    with ledgers.opened(ledgers.new_ledger(tmp_path)) as connection:
        yield connection


def end_endless_queries(connection: Any) -> None:
    """Let a query that does not end, as one that follows a cycle for ever, fail instead of filling the machine."""
    if ledgers.ON_POSTGRESQL:
        connection.execute("SET statement_timeout = '10s'")
    else:
        connection.set_progress_handler(lambda: 1, 1_000_000)


def row(contract_id: str, **different: Any) -> Record:
    """A REQUEST of the session `session`, with these differences."""
    usual = {
        "contract_id": contract_id,
        "session_id": "session",
        "contract_type": "REQUEST",
        "from_agent": "orchestrator",
        "to_agent": "agent",
        "capability": "echo",
        "payload": "{}",
        "status": "in_progress",
        "created_at": "2026-01-01T00:00:00.000Z",
    }
    return Record(**(usual | different))


def everything(connection: sqlite3.Connection) -> list[Record]:
    """All contracts in the order of commits."""
    rows = connection.execute(f"SELECT {', '.join(Record._fields)} FROM contracts ORDER BY position")
    return [Record(*each) for each in rows]
