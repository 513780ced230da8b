"""SQLAlchemy over a connection to the ledger's SQLite file."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Engine, Integer, create_engine, literal_column, pool
from sqlalchemy.exc import DBAPIError

from aorch import jsonio
from aorch.ledger.sqlite.connection import Connection

contract_count: ColumnElement[int] = literal_column(
    "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'contracts')"
    " - (SELECT value FROM counters WHERE name = 'deleted_contracts')",
    Integer,
)
"""The number of contracts, without counting rows: SQLite stores the last position, and a trigger counts deletions."""


def engine_over(connection: Connection) -> Engine:
    """An engine that uses only `connection`."""
    # A URL with the path would name another file if the path contains `?` or `%`.
    return create_engine(
        "sqlite://", creator=lambda: connection, poolclass=pool.StaticPool, json_deserializer=jsonio.decode
    )


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Raise SQLAlchemy's database errors as SQLite's own."""
    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from error
