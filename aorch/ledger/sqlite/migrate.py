"""Bringing a ledger to the newest revision. The only module that imports Alembic."""

import threading
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event, pool
from sqlalchemy.exc import DBAPIError

from aorch.ledger.sqlite.driver import Connection
from aorch.ledger.sqlite.opening import revision
from aorch.ledger.statements import REVISION

_one_at_a_time = threading.Lock()
"""Alembic's context is global: two threads that migrate two ledgers at once would take each other's connection."""


def upgrade(connection: Connection) -> None:
    """Upgrade the ledger that `connection` has open, or make it.

    The write lock is taken first and the revision read again under it, so that many processes may come at once: one
    migrates and the others find nothing left to do.
    """
    # A URL with the path in it would name another file where that holds `?` or `%`.
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=pool.StaticPool)
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with _one_at_a_time, engine.begin() as begun:
            if revision(connection) != REVISION:
                command.upgrade(configuration(begun), "head")
    except DBAPIError as error:
        raise error.orig or error from error


def configuration(connection: Any = None) -> Config:
    """Alembic's configuration for the history that the package carries (or that lies beside it in a checkout)."""
    package = Path(__file__).resolve().parents[2]
    shipped = package / "_migrations"
    config = Config()
    scripts = shipped if shipped.is_dir() else package.parent / "migrations"
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))  # `%` begins a reference there
    config.attributes["connection"] = connection
    return config
