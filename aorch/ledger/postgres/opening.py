"""Opens a ledger's PostgreSQL database: checks the server and the revision, and creates or upgrades the ledger.

Alembic is imported if the database is empty or of an older revision.
"""

from functools import partial

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerGone
from aorch.ledger import newer_revision
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.failures import translated
from aorch.ledger.postgres.server_checks import checked_revision
from aorch.ledger.postgres.session import announce
from aorch.ledger.postgres.statements import REVISION


def connect(location: PostgresUrl) -> Connection:
    """A connection for writing to the ledger, which is created or upgraded if necessary. Raises LedgerError."""
    with translated(location):
        connection = connection_to(location)
        try:
            found = checked_revision(connection)
            if found != REVISION:
                upgrade(connection, found)
            connection.check = _check_again
            connection.committed = partial(announce, connection)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_reading(location: PostgresUrl) -> Connection:
    """A connection for reading the ledger, which must exist and is upgraded if necessary. Raises LedgerError."""
    return connect(location)


def connect_peeking(location: PostgresUrl) -> Connection:
    """A connection for reading the ledger as it is, also from a read-only replica. Raises LedgerError."""
    with translated(location):
        connection = connection_to(location, read_write=False)
        try:
            checked_revision(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_again(connection: Connection) -> None:
    """Raise LedgerTooNew if a newer aorch has upgraded the ledger since, and LedgerGone if the database is empty now."""
    found = checked_revision(connection)
    if found is None:
        raise LedgerGone(
            f"the ledger {connection.location} is gone: its database is empty",
            "Restore it from a backup, or start aorch again to create a new one.",
        )
    if found != REVISION:
        upgrade(connection, found)


def upgrade(connection: Connection, found: str | None) -> None:
    """Bring the ledger from the revision `found` (None: it is empty) to the newest one. Raises LedgerTooNew and LedgerError."""
    if found is not None:
        newer_revision.refuse(connection.location, found, REVISION)
    from aorch.ledger.postgres.migrate import migrate  # noqa: PLC0415  Alembic and SQLAlchemy take 400 ms

    migrate(connection)
