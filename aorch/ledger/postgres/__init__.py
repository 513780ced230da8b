"""Everything that only a ledger on PostgreSQL needs. Imported only for a ledger whose location is a PostgreSQL URL."""

from aorch.errors import LedgerError

try:
    import psycopg  # noqa: F401  so that its absence is reported once, whichever module is imported first
except ImportError as error:
    raise LedgerError(
        f"a ledger on PostgreSQL needs psycopg, which cannot be imported: {error}",
        "Install it with `pip install 'aorch[postgres]'`.",
    ) from error
