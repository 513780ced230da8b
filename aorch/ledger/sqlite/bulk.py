"""What a copy of a whole ledger needs of SQLite (copying.py)."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from aorch.ledger import copy_mark
from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import Connection, connection_to, revision

MARK = "?"
"""How a statement marks a parameter."""
BEGIN_READING = "BEGIN"
"""Begins a transaction that sees the moment of its first read."""


def reopen_incomplete(path: Path) -> None:
    """Remove the mark of an incomplete copy to `path`, if there is one. Waits for the write lock, which a running copy holds."""
    if files.may_write(path):
        with closing(connection_to(path, "mode=rw")) as connection:
            try:
                revision(connection)
            except copy_mark.IncompleteCopy:
                connection.execute(copy_mark.CLEAR)


def last_given_position(connection: Connection) -> int:
    """The highest position that a contract has ever had; 0 if there was none."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'contracts'").fetchone()
    return int(found[0]) if found else 0


def give_positions_after(connection: Connection, last: int) -> None:
    """Let the next contract have a position after `last`."""
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'contracts'")
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('contracts', ?)", (last,))


def storable(row: Sequence[Any]) -> Sequence[Any]:
    """`row`: a file stores every text."""
    return row
