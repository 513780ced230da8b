"""Upgrades a ledger to the newest revision. The only module that imports Alembic."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, pool
from sqlalchemy.exc import DBAPIError

from aorch.ledger.sqlite.connection import Connection, revision
from aorch.ledger.sqlite.statements import REVISION

_one_at_a_time = threading.Lock()
"""Alembic's context is global: two threads that upgrade two ledgers at once would use each other's connection."""


def upgrade(connection: Connection) -> None:
    """Upgrade the ledger that `connection` has open, or create it.

    Takes the write lock first and reads the revision again under it, so that many processes may do this at once: one
    upgrades, and the others find nothing left to do.
    """
    engine = _engine_over(connection)
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    with _foreign_errors(), _one_at_a_time, engine.begin() as begun:
        if revision(connection) != REVISION:
            command.upgrade(configuration(begun), "head")


def configuration(connection: Any = None) -> Config:
    """Alembic's configuration for the migrations inside the package, or next to it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    shipped = package / "_migrations"
    config = Config()
    scripts = shipped if shipped.is_dir() else package.parent / "migrations"
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))  # `%` starts a reference there
    config.attributes["connection"] = connection
    return config


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
