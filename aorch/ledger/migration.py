"""Bringing a ledger to the newest revision. The only module that imports Alembic."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event, pool
from sqlalchemy.exc import DBAPIError

from aorch.ledger.database import BUSY_TIMEOUT_S, revision
from aorch.ledger.statements import REVISION

_one_at_a_time = threading.Lock()
"""Alembic's context is global: two threads that migrate two ledgers at once would take each other's connection."""


def upgrade(path: Path) -> None:
    """Upgrade the ledger at `path`, or make it.

    The write lock is taken first and the revision read again under it, so that many processes may come at once: one
    migrates and the others find nothing left to do.
    """
    _to_write_ahead_log(path)
    engine = create_engine(f"sqlite:///{path}", poolclass=pool.NullPool, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _by_hand)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with _one_at_a_time, engine.begin() as connection:
            if revision(connection.connection.driver_connection) != REVISION:  # type: ignore[arg-type]  # it is sqlite3's
                command.upgrade(configuration(connection), "head")
    except DBAPIError as error:
        raise error.orig or error from error
    finally:
        engine.dispose()


def configuration(connection: Any = None) -> Config:
    """Alembic's configuration for the history that the package carries (or that lies beside it in a checkout)."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_migrations"
    config = Config()
    config.set_main_option("script_location", str(shipped if shipped.is_dir() else package.parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _by_hand(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")


def _to_write_ahead_log(path: Path) -> None:
    """Switch to WAL, which the file remembers. SQLite answers BUSY at once here, whatever the timeout: hence the loop."""
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        while True:
            try:
                if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                    return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise
            time.sleep(0.01)
    finally:
        connection.close()
