"""Upgrades a ledger to the newest revision."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from sqlalchemy import Engine, create_engine, event, pool
from sqlalchemy.exc import DBAPIError

from aorch.ledger import upgrade_notice
from aorch.ledger.migration_scripts import configuration, one_at_a_time
from aorch.ledger.sqlite.connection import Connection, revision
from aorch.ledger.sqlite.statements import REVISION


def upgrade(connection: Connection) -> None:
    """Upgrade the ledger that `connection` has open, or create it.

    Takes the write lock first and reads the revision again under it, so that many processes may do this at once: one
    upgrades, and the others find nothing left to do.
    """
    engine = _engine_over(connection)
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    with _foreign_errors(), one_at_a_time, engine.begin() as begun:
        if (found := revision(connection)) != REVISION:
            if found is not None:
                upgrade_notice.notify(connection.path, connection.path.stat().st_size)
            command.upgrade(configuration(begun), "head")


def _engine_over(connection: Connection) -> Engine:
    """An engine of SQLAlchemy that uses only `connection`."""
    # A URL with the path would name another file if the path contains `?` or `%`.
    return create_engine("sqlite://", creator=lambda: connection, poolclass=pool.StaticPool)


@contextmanager
def _foreign_errors() -> Iterator[None]:
    """Raise SQLAlchemy's database errors as SQLite's own."""
    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from error
