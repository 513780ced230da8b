"""Removes deleted contracts from the full-text index."""

from collections.abc import Sequence

from aorch import jsonio
from aorch.ledger.postgres.connection import Connection
from aorch.ledger.postgres.driver import Database

_REMOVE = (
    "DELETE FROM contracts_text WHERE position IN (SELECT value::bigint FROM json_array_elements_text(%s) AS value)"
)


def remove_words(writing: Connection, positions: Sequence[int]) -> None:
    """Remove the contracts at those positions from the index, inside the caller's transaction."""
    writing.execute(_REMOVE, (jsonio.encode(list(positions)),))


def optimize(database: Database) -> None:
    """Does nothing: a rewrite of the tables leaves nothing of removed contracts in the index."""
    del database
