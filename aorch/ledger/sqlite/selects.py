"""SQLAlchemy over a connection to the ledger's SQLite file."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, pool
from sqlalchemy.exc import DBAPIError

from aorch import jsonio
from aorch.ledger.sqlite.connection import Connection


def engine_over(connection: Connection) -> Engine:
    """An engine that uses `connection` and no other."""
    # A URL with the path in it would name another file if the path holds `?` or `%`.
    return create_engine(
        "sqlite://", creator=lambda: connection, poolclass=pool.StaticPool, json_deserializer=jsonio.decode
    )


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Raise SQLAlchemy's errors of the database as SQLite's own."""
    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from error
