"""Contracts to put in a ledger on any database without agents."""

from contextlib import closing
from pathlib import Path

from rows import put

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import connect, statements, transaction
from aorch.ledger.record import Record


def put_in(location: LedgerLocation, *rows: Record) -> None:
    """Write `rows` in one transaction, in their order, into the ledger, which is created if necessary."""
    if isinstance(location, Path):
        return put(location, *rows)
    with closing(connect(location)) as connection, transaction(connection):
        connection.insert(statements.INSERT_CONTRACT, rows)
    return None
