"""What tests see and change in a ledger without its functions, on both databases."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import ledgers
import psycopg
from psycopg.conninfo import conninfo_to_dict

from aorch.config.ledger_location import LedgerLocation, PostgresUrl
from aorch.ledger.postgres.connection import WRITE_LOCK
from aorch.ledger.postgres.session_queries import NOTIFY
from aorch.ledger.upkeep import damages


def change(ledger: LedgerLocation, sql: str, *values: Any) -> None:
    """Execute SQL that both databases understand, also if it breaks the ledger; `?` marks a value.

    Other processes notice it as they notice a commit: on PostgreSQL by a notification.
    """
    if isinstance(ledger, PostgresUrl):
        with psycopg.connect(str(ledger)) as server:
            server.execute(sql.replace("?", "%s").encode(), values or None)
            server.execute(NOTIFY.encode())
    else:
        with closing(sqlite3.connect(ledger)) as file, file:
            file.execute(sql, values)


@contextmanager
def refusing_deletions(ledger: LedgerLocation) -> Iterator[None]:
    """In this block, no process can delete a contract."""
    if isinstance(ledger, PostgresUrl):
        change(
            ledger,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
            "CREATE TRIGGER no_deletion BEFORE DELETE ON contracts EXECUTE FUNCTION refuse()",
        )
    else:
        change(ledger, "CREATE TRIGGER no_deletion BEFORE DELETE ON contracts BEGIN SELECT raise(ABORT, 'no'); END")
    yield
    change(ledger, "DROP TRIGGER no_deletion" + (" ON contracts" if isinstance(ledger, PostgresUrl) else ""))


def no_table(name: str) -> str:
    """How the database says that this table does not exist."""
    return f'relation "{name}" does not exist' if ledgers.ON_POSTGRESQL else f"no such table: {name}"


def is_intact(ledger: LedgerLocation) -> bool:
    """Whether the database can read all that it stores."""
    with ledgers.opened(ledger) as connection:
        return damages(connection) == []


def owner_count(ledger: LedgerLocation) -> int:
    """The number of processes that show with a lock that they run tasks of the ledger."""
    if not isinstance(ledger, PostgresUrl):
        return len(list(ledger.with_name(f"{ledger.name}-owners").glob("0*")))
    ((count,),) = ledgers.rows(
        ledger,
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint <> ?"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        WRITE_LOCK,
    )
    return int(count)


def stored_bytes(ledger: LedgerLocation) -> bytes:
    """The bytes of the files of the ledger, such as the write-ahead log; of a PostgreSQL database, without that log."""
    if isinstance(ledger, PostgresUrl):
        cluster, name = ledgers.clusters[0], str(conninfo_to_dict(str(ledger))["dbname"])
        oid = cluster.psql("CHECKPOINT; SELECT oid FROM pg_database WHERE datname = current_database()", name).strip()
        files = (cluster.folder / "data" / "base" / oid).iterdir()
    else:
        files = ledger.parent.glob(f"{ledger.name}*")
    return b"".join(file.read_bytes() for file in sorted(files) if file.is_file())


def written(ledger: LedgerLocation) -> object:
    """What any write to the ledger changes: the bytes of its files; of a PostgreSQL database, its rows with their versions."""
    if not isinstance(ledger, PostgresUrl):
        return stored_bytes(ledger)
    with closing(psycopg.connect(str(ledger))) as server:
        tables = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {
            name: server.execute(
                f'SELECT ctid, xmin::text, each::text FROM "{name}" AS each ORDER BY 1'.encode()
            ).fetchall()
            for (name,) in tables
        }
