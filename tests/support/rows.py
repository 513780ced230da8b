"""Contracts to put in a ledger without agents, and the putting."""

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from aorch import jsonio
from aorch.clock import now
from aorch.ids import new_id
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import Record
from aorch.ledger.sqlite.opening import connect
from aorch.ledger.sqlite.statements import INSERT_CONTRACT


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


@cache
def empty_ledger() -> Path:
    """An empty ledger to copy, which takes 1 ms; to create one takes 85."""
    folder = Path(tempfile.mkdtemp(prefix="aorch-ledger-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Ledger(folder / "ledger.db").close()
    return folder / "ledger.db"


def put(ledger: Path, *rows: Record) -> None:
    """Write `rows` in one transaction, in their order, into a new ledger if there is none."""
    if not ledger.exists() and ledger.parent.is_dir():
        shutil.copy(empty_ledger(), ledger)
    connection = connect(ledger)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(INSERT_CONTRACT, rows)
    connection.execute("COMMIT")
    connection.close()


@contextmanager
def locked(ledger: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Hold the write lock of the ledger, as another process would, until the end of the block."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute(how)
        yield
        other.execute("ROLLBACK")
