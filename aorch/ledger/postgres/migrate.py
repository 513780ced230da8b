"""Creates a ledger in an empty database, and upgrades one to the newest revision.

A new ledger is created from schema.py and definitions.py, and gets the newest revision: the migrations up to 0020 are for
SQLite alone. Later migrations upgrade both databases.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic import command
from sqlalchemy import Connection as Begun
from sqlalchemy import Engine, Table, create_engine, pool
from sqlalchemy.exc import DBAPIError

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger import upgrade_notice
from aorch.ledger.migration_scripts import configuration, one_at_a_time
from aorch.ledger.postgres.connection import SESSION, Connection, raw_connection
from aorch.ledger.postgres.definitions import DEFINITIONS, ROWS
from aorch.ledger.postgres.failures import translated_error
from aorch.ledger.postgres.server_checks import revision
from aorch.ledger.postgres.statements import REVISION
from aorch.ledger.schema import metadata

SIZE = "SELECT pg_total_relation_size('contracts')"
_VIEWS = {"session_index", "session_turns"}
"""Tables of SQLite that are views here (definitions.py)."""


def migrate(connection: Connection) -> None:
    """Create or upgrade the ledger that `connection` has open.

    Takes the write lock and reads the revision again under it, so that many processes may do this at once: one migrates, and the
    others find nothing left to do.
    """
    engine = _engine_for(connection)
    try:
        with connection.transaction(), one_at_a_time, _foreign_errors():
            found = revision(connection)
            if found == REVISION:
                return
            with engine.begin() as begun:
                if found is None:
                    create(begun)
                else:
                    upgrade_notice.notify(connection.location, *connection.one(SIZE))
                    command.upgrade(configuration(begun), "head")
    finally:
        engine.dispose()


def create(begun: Begun) -> None:
    """Create the ledger in an empty database, at the newest revision."""
    metadata.create_all(begun, tables=tables_of_a_ledger())
    for statement in (*DEFINITIONS, *ROWS):
        begun.exec_driver_sql(statement)
    command.stamp(configuration(begun), "head")


def tables_of_a_ledger() -> list[Table]:
    """The tables of schema.py that are tables here too."""
    return [table for table in metadata.sorted_tables if table.name not in _VIEWS]


def _engine_for(connection: Connection) -> Engine:
    """An engine of SQLAlchemy for the same database, with a connection of its own: it expects rows as psycopg gives them."""
    return create_engine(
        "postgresql+psycopg://", creator=lambda: connection_for_migrations(connection.location), poolclass=pool.NullPool
    )


def connection_for_migrations(location: PostgresUrl) -> psycopg.Connection[Any]:
    """A connection of psycopg with the settings of every session, so that it does not wait for a lock without limit."""
    raw = raw_connection(location)
    raw.execute(SESSION)
    raw.commit()
    return raw


@contextmanager
def _foreign_errors() -> Iterator[None]:
    """Raise SQLAlchemy's database errors as ServerError."""
    try:
        yield
    except DBAPIError as error:
        raise translated_error(error.orig) from error  # type: ignore[arg-type]  # psycopg raised it
