"""Checks of a server and its database: whether a ledger can be in it, and which revision of one is."""

from contextlib import closing

from aorch.errors import LedgerInvalid
from aorch.ledger import copy_mark, newer_revision
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.statements import REVISION

_CHOOSE_ANOTHER = "Choose another database with --ledger or AORCH_LEDGER."
_PROCESS = "SELECT pg_backend_pid()"
_STATE = (
    "SELECT current_setting('server_encoding'), pg_backend_pid(), to_regclass('contracts') IS NOT NULL,"
    " to_regclass('alembic_version') IS NOT NULL,"
    " EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema())"
)


def revision(connection: Connection) -> str | None:
    """The revision of the ledger; None if the database is empty. Raises LedgerInvalid for another program's database, and
    IncompleteCopy.
    """
    *_, has_contracts, has_revision, has_tables = connection.one(_STATE)
    return _revision(connection, has_contracts, has_revision, has_tables)


def checked_revision(connection: Connection) -> str | None:
    location = connection.location
    encoding, process, has_contracts, has_revision, has_tables = connection.one(_STATE)
    if encoding != "UTF8":
        raise LedgerInvalid(
            f"the database {location} has the encoding {encoding}, which cannot store every text",
            "Create one with `createdb --encoding=UTF8 --template=template0`.",
        )
    if process != connection.raw.info.backend_pid:
        _check_pooler(connection, process)
    return _revision(connection, has_contracts, has_revision, has_tables)


def refuse_newer(connection: Connection) -> None:
    """Raise LedgerTooNew if a newer aorch has upgraded the ledger. Nothing else is checked."""
    if not connection.one("SELECT to_regclass('alembic_version') IS NOT NULL")[0]:
        return
    for (found,) in connection.execute("SELECT version_num FROM alembic_version").fetchall():
        newer_revision.refuse(connection.location, found, REVISION)


def _check_pooler(connection: Connection, process: int) -> None:
    """Raise LedgerInvalid if a pooler gives this client's process of the server to others, whose locks would be mixed up.

    A second client that is inside a transaction gets that process if it is free, which it only is in transaction mode.
    """
    with closing(connection_to(connection.location)) as other:
        other.execute("BEGIN")
        shared = other.one(_PROCESS)[0] == process or connection.one(_PROCESS)[0] != process
        other.execute("ROLLBACK")
    if shared:
        raise LedgerInvalid(
            f"a connection pooler in transaction mode is between aorch and the server of {connection.location}",
            "Connect to the server itself, or set the pooler to session mode (PgBouncer: `pool_mode = session`).",
        )


def _revision(connection: Connection, has_contracts: int, has_revision: int, has_tables: int) -> str | None:
    if has_contracts and has_revision:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if found is not None and str(found[0]).startswith(copy_mark.MARK):
            raise copy_mark.IncompleteCopy(connection.location)
        return None if found is None else str(found[0])
    if has_tables:
        raise LedgerInvalid(f"{connection.location} is not a ledger: it is another program's database", _CHOOSE_ANOTHER)
    return None
