"""Upgrades a ledger to the newest revision. The only module that imports Alembic."""

import threading
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import event

from aorch.ledger.sqlite.connection import Connection, revision
from aorch.ledger.sqlite.selects import engine_over, foreign_errors
from aorch.ledger.statements import REVISION

_one_at_a_time = threading.Lock()
"""Alembic's context is global: two threads that upgrade two ledgers at once would use each other's connection."""


def upgrade(connection: Connection) -> None:
    """Upgrade the ledger that `connection` has open, or create it.

    Takes the write lock first and reads the revision again under it, so that many processes may do this at once: one
    upgrades, and the others find nothing left to do.
    """
    engine = engine_over(connection)
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    with foreign_errors(), _one_at_a_time, engine.begin() as begun:
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
