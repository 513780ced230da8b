"""What a copy of a whole ledger needs of PostgreSQL (copying.py)."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from aorch import jsonio
from aorch.config.ledger_location import PostgresUrl
from aorch.ledger import copy_mark
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.server_checks import revision

MARK = "%s"
"""How a statement marks a parameter."""
BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""Begins a transaction that sees the moment of its first read."""
_SEQUENCE = "pg_get_serial_sequence('contracts', 'position')"


def reopen_incomplete(location: PostgresUrl) -> None:
    """Remove the mark of an incomplete copy to `location`, if there is one. Waits for the write lock, which a running copy
    holds.
    """
    with closing(connection_to(location)) as connection:
        try:
            revision(connection)
        except copy_mark.IncompleteCopy:
            with connection.transaction():
                connection.execute(copy_mark.CLEAR)


def last_given_position(connection: Connection) -> int:
    """The highest position that a contract has ever had; 0 if there was none."""
    found = connection.execute(f"SELECT coalesce(pg_sequence_last_value({_SEQUENCE}::regclass), 0)").fetchone()
    return int(found[0]) if found else 0


def give_positions_after(connection: Connection, last: int) -> None:
    """Let the next contract have a position after `last`."""
    connection.execute(f"SELECT setval({_SEQUENCE}, greatest(%s, 1), %s > 0)", (last, last))


def storable(row: Sequence[Any]) -> Sequence[Any]:
    """`row`, or a new one without U+0000, which another program may have written to a file: PostgreSQL stores none."""
    if not any(isinstance(value, str) and "\x00" in value for value in row):
        return row
    return [jsonio.storable_text(value) if isinstance(value, str) else value for value in row]
