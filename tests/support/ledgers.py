"""The ledgers of tests: SQLite files, or PostgreSQL databases if AORCH_TEST_DATABASE is `postgresql`."""

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
from postgres_servers import Cluster
from psycopg.conninfo import conninfo_to_dict

from aorch.config.ledger_location import LedgerLocation, PostgresUrl
from aorch.ledger.database import Connection, connect, statements
from aorch.ledger.ledger import Ledger

ON_POSTGRESQL = os.environ.get("AORCH_TEST_DATABASE") == "postgresql"
clusters: list[Cluster] = []
"""The server of this session, once conftest.py has started it."""
databases: set[str] = set()
"""The databases that `new_ledger` and `no_ledger` have created, and `drop` not removed yet."""


def new_ledger(folder: Path, name: str = "ledger.db") -> LedgerLocation:
    """An empty ledger: the file `name` in `folder`, or a new database."""
    if ON_POSTGRESQL:
        return _new_database(_template())
    return Path(shutil.copy(empty_ledger(), folder / name))


def no_ledger(folder: Path, name: str = "ledger.db") -> LedgerLocation:
    """The location for a ledger that does not exist yet: the file `name` in `folder`, or a new empty database."""
    return _new_database("template0") if ON_POSTGRESQL else folder / name


@cache
def empty_ledger() -> Path:
    """An empty ledger in a file to copy, which takes 1 ms; to create one takes 85."""
    folder = Path(tempfile.mkdtemp(prefix="aorch-ledger-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Ledger(folder / "ledger.db").close()
    return folder / "ledger.db"


def rows(ledger: LedgerLocation, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement that both databases understand, none if it only writes; `?` marks a value."""
    with opened(ledger) as connection:
        done = connection.execute(sql, values)
        return done.fetchall() if done.description else []


def copy_of(ledger: LedgerLocation, folder: Path) -> LedgerLocation:
    """A copy of that ledger, which no process uses: `copy.db` in `folder`, or a new database."""
    if isinstance(ledger, PostgresUrl):
        return _new_database(str(conninfo_to_dict(str(ledger))["dbname"]))
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(folder / "copy.db")) as copy:
        source.backup(copy)
    return folder / "copy.db"


def exists(ledger: LedgerLocation) -> bool:
    """Whether the file exists, or the database has the tables of a ledger."""
    if isinstance(ledger, Path):
        return ledger.exists()
    with closing(psycopg.connect(str(ledger))) as connection:
        return connection.execute("SELECT to_regclass('contracts') IS NOT NULL").fetchone() == (True,)


@contextmanager
def opened(ledger: LedgerLocation) -> Iterator[Connection]:
    """A connection that also executes SQL of the test, if both databases understand it; `?` marks a value."""
    with closing(connect(ledger)) as connection:
        if isinstance(ledger, PostgresUrl):
            execute = connection.execute
            connection.execute = lambda sql, values=(): execute(_marked(sql), values)  # type: ignore[method-assign]
        yield connection


def _marked(sql: str) -> str:
    """SQL with the marks of PostgreSQL's driver, unless it is a statement of the ledger."""
    return sql if sql in _statements() else sql.replace("%", "%%").replace("?", "%s")


@cache
def _statements() -> set[str]:
    return {text for name, text in vars(statements).items() if name.isupper()}


def drop(names: set[str]) -> None:
    """Remove these databases, with all their connections."""
    for name in names:
        _administration().execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        databases.discard(name)


@cache
def _template() -> str:
    """The database of an empty ledger, which each worker of the session creates once."""
    cluster, name = clusters[0], f"template_{os.getpid()}"
    cluster.psql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    Ledger(PostgresUrl(cluster.url(name))).close()
    return name


def _new_database(template: str) -> PostgresUrl:
    name = f"t_{token_hex(6)}"
    server = _administration()
    how = "STRATEGY file_copy" if server.info.server_version >= 150_000 else ""  # half the CPU time of the log of 15
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' {how}".encode())
    databases.add(name)
    return PostgresUrl(clusters[0].url(name))


@cache
def _administration() -> psycopg.Connection:
    """A connection that creates and removes databases, which takes a third of the time of a psql for each."""
    connection = psycopg.connect(clusters[0].url("postgres"), autocommit=True)
    atexit.register(connection.close)
    return connection
