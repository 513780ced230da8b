"""Contracts to put in a ledger without agents, and the putting."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ledgers import empty_ledger

from aorch import jsonio
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.ids import new_id
from aorch.ledger.database import Database, connect, statements
from aorch.ledger.record import Record

__all__ = ["empty_ledger", "locked", "pairs", "put", "request", "response"]


def request(session: str = "s", text: str = "hi", **more: Any) -> Record:
    """A REQUEST of `echo` that was completed; `more` are columns."""
    row = Record(
        contract_id=new_id(),
        session_id=session,
        contract_type="REQUEST",
        from_agent="orchestrator",
        to_agent="agent_example_001",
        capability="echo",
        payload=jsonio.encode({"text": text}),
        status="completed",
        created_at=now(),
        completed_at=now(),
    )
    return row._replace(**more)


def response(to: Record, result: Any = "ok", **more: Any) -> Record:
    """The RESPONSE to that REQUEST."""
    row = Record(
        contract_id=new_id(),
        session_id=to.session_id,
        contract_type="RESPONSE",
        from_agent=to.to_agent or "orchestrator",
        to_agent=to.from_agent,
        capability=to.capability,
        payload="{}",
        status=to.status,
        created_at=now(),
        completed_at=now(),
        result=jsonio.encode(result),
        metadata='{"duration_ms":1.5}',
        request_id=to.contract_id,
        parent_id=to.parent_id,
    )
    return row._replace(**more)


def pairs(count: int, session: str = "s", **more: Any) -> list[Record]:
    """`count` exchanges, each its REQUEST and its RESPONSE."""
    requests = [request(session, f"word{number}", **more) for number in range(count)]
    return [row for each in requests for row in (each, response(each))]


def put(ledger: LedgerLocation, *rows: Record) -> None:
    """Write `rows` in one transaction, in their order, into a new ledger if there is none."""
    if isinstance(ledger, Path) and not ledger.exists() and ledger.parent.is_dir():
        shutil.copy(empty_ledger(), ledger)
    with Database(ledger) as database, database.write() as connection:
        connection.executemany(statements.INSERT_CONTRACT, rows)


@contextmanager
def locked(ledger: LedgerLocation, how: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Hold the write lock of the ledger, as another process would, until the end of the block. `how` is SQLite's command."""
    if not isinstance(ledger, Path):
        with closing(connect(ledger)) as connection, connection.transaction():
            yield
        return
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute(how)
        yield
        other.execute("ROLLBACK")
