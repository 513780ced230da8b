"""Rewrites the tables of a ledger, so that bytes of deleted or changed rows are nowhere in the server's tables and indexes.

`VACUUM FULL` writes each table and its indexes to new files (https://www.postgresql.org/docs/current/sql-vacuum.html), and the
server removes the old ones. It keeps old rows that a transaction may still see, so older transactions must have ended first. The
server's write-ahead log, its archive, replicas that are behind, and backups keep the old bytes longer.
"""

import time
from contextlib import closing

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.postgres.connection import Connection
from aorch.ledger.postgres.failures import LOCK_NOT_AVAILABLE, translated
from aorch.ledger.postgres.opening import connect, connect_peeking
from aorch.ledger.postgres.sizes import table_bytes
from aorch.ledger.server_errors import ServerError
from aorch.ledger.upkeep_reports import RewriteEstimate

READERS_S = 10.0
"""How long to wait for transactions that may still see old rows."""
PAUSE_S = 0.05
_HELD_BACK = (
    "SELECT pg_snapshot_xmin(pg_current_snapshot()) <= %s::text::xid8 OR EXISTS (SELECT FROM ("
    "SELECT backend_xmin FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    " UNION ALL SELECT backend_xmin FROM pg_stat_replication UNION ALL SELECT xmin FROM pg_replication_slots"
    ") AS held (xid) WHERE held.xid IS NOT NULL AND age(held.xid) > age(%s::text::xid8::xid))"
)
"""Whether VACUUM would keep rows that were deleted before that transaction: while an older transaction writes in any database of
the server, also a prepared one, or a snapshot of this database, a replica or a replication slot may still see them.
"""
_SAMPLE = (
    "CREATE TEMPORARY TABLE aorch_sample AS SELECT i AS position, string_agg(md5((i * 64 + j)::text), '') AS content"
    " FROM generate_series(1, 4096) AS i, generate_series(1, 64) AS j GROUP BY i"
)
"""8 MB, in rows of 2 kB whose content does not compress well."""


def estimate_rewrite(ledger: PostgresUrl) -> RewriteEstimate:
    """What `rewrite` would need now. Writes a temporary table of 8 MB. Raises LedgerError."""
    with translated(ledger), closing(connect_peeking(ledger)) as connection:
        size = sum(table_bytes(connection).values())
        return RewriteEstimate(size, size, None, size * _seconds_per_byte(connection), blocks_readers=True)


def rewrite(ledger: PostgresUrl, wait_s: float = READERS_S) -> bool:
    """Rewrite all tables. Returns False if a transaction that began earlier has not ended after `wait_s` seconds, or keeps a
    table locked: old rows may remain then. Raises LedgerError.
    """
    with closing(connect(ledger)) as connection, translated(ledger):
        is_clear = _wait_for_others(connection, wait_s)
        connection.execute(f"SET lock_timeout = {max(1, round(wait_s * 1000))}")
        for table in table_bytes(connection):
            try:
                connection.execute(f'VACUUM FULL "{table}"')
            except ServerError as error:
                if error.sqlstate != LOCK_NOT_AVAILABLE:
                    raise
                return False
        return is_clear


def check_rewrite_space(ledger: PostgresUrl) -> None:
    """Does nothing: the disk of a server cannot be seen from here. A VACUUM FULL without space fails and changes nothing."""
    del ledger


def _wait_for_others(connection: Connection, wait_s: float) -> bool:
    """Whether all transactions that began before now have ended, after waiting for at most `wait_s` seconds."""
    (now,) = connection.one("SELECT pg_current_xact_id()::text")
    ends = time.monotonic() + wait_s
    while connection.one(_HELD_BACK, (now, now))[0]:
        if time.monotonic() > ends:
            return False
        time.sleep(PAUSE_S)
    return True


def _seconds_per_byte(connection: Connection) -> float:
    """How long the server takes to rewrite a byte of a table, and to write it to the write-ahead log."""
    connection.execute(_SAMPLE)
    (size,) = connection.one("SELECT pg_total_relation_size('aorch_sample')")
    begun = time.perf_counter()
    connection.execute("VACUUM FULL aorch_sample")
    return 2 * (time.perf_counter() - begun) / float(size)
