"""The space of a ledger's rows. PostgreSQL marks the space of deleted rows as free during a vacuum, which it starts by itself,
and uses it for new rows. Its files only shrink when they are rewritten (rewriting.py).
"""

from collections.abc import Callable

from aorch.ledger.postgres.connection import Connection
from aorch.ledger.postgres.sizes import table_bytes

ROW_BYTES = 350
"""About what a contract takes besides its content: columns of fixed length, and its entries in the indexes (measured)."""
_USED = (
    f"SELECT coalesce(sum({ROW_BYTES} + pg_column_size(payload) + pg_column_size(metadata)"  # noqa: S608  a constant
    " + coalesce(pg_column_size(result), 0) + coalesce(pg_column_size(error), 0)), 0) FROM contracts"
)


def used_bytes(connection: Connection) -> int:
    """About what the contracts take, without free space, as they are stored. Reads all rows, but no long values."""
    return int(connection.one(_USED)[0])


def sees_removals(connection: Connection) -> bool:
    """Whether `used_bytes` can be asked after each transaction of a prune: it takes too long."""
    del connection
    return False


def empty_bytes(connection: Connection) -> int:
    """The size without rows."""
    del connection
    return 0


def file_bytes(connection: Connection) -> int:
    """The size of all tables with their indexes."""
    return sum(table_bytes(connection).values())


def release_pages(connection: Connection, wanted: Callable[[], bool] = lambda: True) -> int:
    """Does nothing: the server vacuums by itself."""
    del connection, wanted
    return 0


def can_release_pages(connection: Connection) -> bool:
    """Whether the files shrink without a rewrite: no."""
    del connection
    return False
