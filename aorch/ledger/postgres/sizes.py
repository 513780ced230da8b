"""The size of a ledger in a PostgreSQL database: its tables with their indexes."""

from aorch.ledger.postgres.connection import Connection
from aorch.ledger.postgres.server_checks import revision
from aorch.ledger.postgres.statements import REVISION
from aorch.ledger.upkeep_reports import FileSizes

_TABLES = (
    "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY 2 DESC, 1"
)
_SERVER = "SELECT current_setting('server_version'), current_setting('block_size')::int"


def sizes_of(connection: Connection, *, tables: bool = True) -> FileSizes:
    """The sizes of the ledger, with those of its `tables` if wanted."""
    server, page_bytes = connection.one(_SERVER)
    found = table_bytes(connection)
    return FileSizes(
        file_bytes=sum(found.values()),
        wal_bytes=None,
        free_bytes=None,
        page_bytes=page_bytes,
        revision=revision(connection),
        newest_revision=REVISION,
        journal_mode=None,
        shrinks=False,
        tables=found if tables else None,
        server=f"PostgreSQL {server.split()[0]}",
    )


def table_bytes(connection: Connection) -> dict[str, int]:
    """The bytes of each table with its indexes and long values, the largest first."""
    return dict(connection.execute(_TABLES).fetchall())
