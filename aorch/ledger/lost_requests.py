"""Answers REQUESTs that dead processes left open, or that expired."""

from collections.abc import Iterable
from pathlib import Path

from aorch.clock import now
from aorch.errors import LedgerError
from aorch.ledger import task_queue
from aorch.ledger.database import Connection, Database, dead_owner, is_alive, owner_ids, statements, transaction


def recover(path: Path) -> None:
    """Answer REQUESTs in the ledger at `path` that dead processes left open or that expired, so that a reader sees
    their end.

    Writes only if there are such REQUESTs. Raises LedgerError if the ledger cannot be written, and OSError.
    """
    if not _overdue(path):
        return
    with Database(path).transactions() as connection:
        recover_open(connection, path)


def _overdue(path: Path) -> bool:
    try:
        with Database(path).peek() as connection:
            found = connection.execute(statements.OWNERS_AND_EXPIRY, (now(),)).fetchall()
    except LedgerError:
        return False
    return any(owner_id is None or not is_alive(path, owner_id) for (owner_id,) in found)


def recover_open(connection: Connection, path: Path) -> None:
    """Like `recover`, by a connection that is open for writing."""
    claimed = [owner_id for (owner_id,) in connection.execute(statements.OWNERS_AND_EXPIRY, (now(),))]
    if None in claimed:
        claimed.remove(None)
        with transaction(connection):
            task_queue.expire(connection)
    dead = [each for each in dict.fromkeys([*claimed, *owner_ids(path)]) if not is_alive(path, each)]
    if dead:
        with transaction(connection):
            answer_lost(connection, path, dead)


def answer_lost(connection: Connection, path: Path, owner_ids: Iterable[str]) -> None:
    """Answer the open REQUESTs of those owners if they are dead. The caller has a transaction open."""
    for owner_id in owner_ids:
        with dead_owner(path, owner_id) as dead:
            if dead:
                task_queue.release_or_interrupt_all(connection, owner_id)
                connection.execute(statements.DELETE_ENDED_PROGRESS)
