"""Removes deleted contracts from the full-text index."""

import sqlite3
from collections.abc import Sequence

from aorch import jsonio
from aorch.ledger.searchable import words_of
from aorch.ledger.sqlite.connection import Connection, savepoint
from aorch.ledger.sqlite.driver import Database

_TEXTS = (
    "SELECT c.position, CAST(c.payload AS TEXT), CAST(c.result AS TEXT), c.error FROM json_each(?) j"
    " JOIN contracts_text_docsize d ON d.id = j.value JOIN contracts c ON c.position = j.value"
)
_REMOVE = "INSERT INTO contracts_text (contracts_text, rowid, words) VALUES ('delete', ?, ?)"
_EMPTY = "INSERT INTO contracts_text (contracts_text) VALUES ('delete-all')"


def remove_words(connection: Connection, positions: Sequence[int]) -> None:
    """Remove the contracts at those positions, which still exist, from the index, inside the caller's transaction.

    The index has no text of its own, so it needs the same words again. If they differ, because another program changed a
    contract after it was indexed, SQLite notices, and the index is emptied: the next search creates it again.
    """
    rows = connection.execute(_TEXTS, (jsonio.encode(list(positions)),)).fetchall()
    try:
        with savepoint(connection):
            connection.executemany(_REMOVE, [(position, words_of(*texts)) for position, *texts in rows])
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        connection.execute(_EMPTY)


def optimize(database: Database) -> None:
    """Rewrite the index without what it kept of removed contracts. Holds the write lock meanwhile."""
    with database.write() as connection:
        connection.execute("INSERT INTO contracts_text (contracts_text) VALUES ('optimize')")
