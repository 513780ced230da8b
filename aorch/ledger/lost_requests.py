"""Answers REQUESTs that dead processes left open, or that expired."""

from collections.abc import Iterable

from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import LedgerError
from aorch.ledger import task_queue
from aorch.ledger.database import Connection, Database, dead_owner, dead_owners, owner_ids, statements, transaction


def recover(path: LedgerLocation) -> None:
    """Answer REQUESTs in the ledger at `path` that dead processes left open or that expired, so that a reader sees
    their end.

    Writes only if there are such REQUESTs. Raises LedgerError if the ledger cannot be written, and OSError.
    """
    if not _overdue(path):
        return
    with Database(path).transactions() as connection:
        recover_open(connection, path, owner_ids(path))


def _overdue(path: LedgerLocation) -> bool:
    try:
        with Database(path).peek() as connection:
            found = connection.execute(statements.OWNERS_AND_EXPIRY, (now(),)).fetchall()
    except LedgerError:
        return False
    claimed = [owner_id for (owner_id,) in found]
    return None in claimed or bool(dead_processes(path, claimed))


def dead_processes(path: LedgerLocation, owner_ids: Iterable[str]) -> list[str]:
    """Those of these owners of claims that are processes that have died. A lease ends only when a server judges it."""
    processes = [owner_id for owner_id in owner_ids if owner_id is not None and not task_queue.is_lease(owner_id)]
    return dead_owners(path, processes) if processes else []


def recover_open(connection: Connection, path: LedgerLocation, known_owners: Iterable[str]) -> None:
    """Like `recover`, by a connection that is open for writing. `known_owners` are those of `owner_ids`."""
    claimed = [owner_id for (owner_id,) in connection.execute(statements.OWNERS_AND_EXPIRY, (now(),))]
    if None in claimed:
        claimed.remove(None)
        with transaction(connection):
            task_queue.expire(connection)
    owners = list(dict.fromkeys([*claimed, *known_owners]))
    if owners and (dead := dead_processes(path, owners)):
        with transaction(connection):
            answer_lost(connection, path, dead)


def answer_lost(connection: Connection, path: LedgerLocation, owner_ids: Iterable[str]) -> None:
    """Answer the open REQUESTs of those owners if they are dead. The caller has a transaction open."""
    for owner_id in owner_ids:
        with dead_owner(path, owner_id) as dead:
            if dead:
                task_queue.release_or_interrupt_all(connection, owner_id)
                connection.execute(statements.DELETE_ENDED_PROGRESS)
