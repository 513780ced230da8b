"""Ledgers as older versions of the program left them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from sqlalchemy import Engine, create_engine, pool

from aorch.ledger.sqlite.migrate import configuration


def ledger_at(path: Path, revision: str) -> None:
    """Create a ledger with the schema of `revision` at `path`."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with engine_of(path).begin() as connection:
        command.upgrade(configuration(connection), revision)


def engine_of(path: Path) -> Engine:
    """An engine without a pool: a connection closes when it is returned."""
    return create_engine(f"sqlite:///{path}", poolclass=pool.NullPool)
