"""An empty ledger as a plain connection, and contracts for the tests of single statements."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aorch.ledger.record import Record
from aorch.ledger.sqlite.opening import connect


@pytest.fixture
def ledger(tmp_path: Path, made_ledger: Path) -> Iterator[sqlite3.Connection]:
    """An empty ledger."""
    with closing(connect(Path(shutil.copy(made_ledger, tmp_path / "ledger.db")))) as connection:
        yield connection


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
