"""Checks of what a PostgreSQL database keeps for a ledger besides its rows: that they can be read, schema, full text."""

from collections.abc import Iterator

from aorch.ledger.postgres.connection import Connection
from aorch.ledger.postgres.sizes import table_bytes
from aorch.ledger.server_errors import ServerError

_DAMAGED = "XX"
"""The class of errors for damaged pages."""
_OBJECTS = (
    "SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' ELSE 'index' END, relname::text FROM pg_class"
    " WHERE relkind IN ('r', 'v', 'i') AND relnamespace = current_schema()::regnamespace"
    " UNION ALL SELECT 'column', c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND NOT a.attisdropped"
    " UNION ALL SELECT 'trigger', t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
    " WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relnamespace = current_schema()::regnamespace"
    " UNION ALL SELECT 'function', proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
)
_REACHED = "(SELECT coalesce(max(position), 0) FROM contracts_text)"
_MISSING_IN_TEXT = (
    f"SELECT position FROM contracts c WHERE position <= {_REACHED}"  # noqa: S608  constants
    " AND NOT EXISTS (SELECT 1 FROM contracts_text t WHERE t.position = c.position) ORDER BY position"
)
_WRONG_IN_TEXT = (
    "SELECT DISTINCT position FROM contracts_text t"
    " WHERE NOT EXISTS (SELECT 1 FROM contracts c WHERE c.position = t.position) ORDER BY position"
)


def damages(connection: Connection) -> list[str]:
    """What the server says about pages that it cannot read; empty if it reads all rows of all tables."""
    for table in table_bytes(connection):
        try:
            connection.execute(f'SELECT count(t::text) FROM "{table}" AS t')  # noqa: S608  a name from the catalog
        except ServerError as error:
            if not error.sqlstate.startswith(_DAMAGED):
                raise
            return [str(error)]
    return []


def schema_differences(connection: Connection) -> Iterator[tuple[str, str]]:
    """The tables, columns, indexes, triggers, functions and views of a ledger of this revision that this one lacks: the name
    (`trigger contracts_deleted`), and `is missing`.
    """
    from aorch.ledger.postgres.declared import declared_objects  # noqa: PLC0415  SQLAlchemy takes 400 ms

    found = {(kind, name) for kind, name in connection.execute(_OBJECTS)}
    for kind, name in declared_objects():
        if (kind, name) not in found:
            yield f"{kind} {name}", "is missing"


def miscounted(connection: Connection) -> str | None:
    """None: contracts are counted when their number is needed."""
    del connection
    return None


def wrong_in_session_index(connection: Connection) -> list[int]:
    """None: the server keeps the index of sessions."""
    del connection
    return []


def sessions_with_wrong_turns(connection: Connection) -> list[str]:
    """None: the server keeps the index of turns."""
    del connection
    return []


def wrong_in_full_text(connection: Connection) -> list[int]:
    """The positions that the full-text index lacks although it has later ones, or has without a contract."""
    return [each for sql in (_MISSING_IN_TEXT, _WRONG_IN_TEXT) for (each,) in connection.execute(sql)]


def rebuild(connection: Connection) -> None:
    """Empty the full-text index, which the next search creates anew, and the ages of contracts, which a prune reads anew, in the
    caller's transaction.
    """
    connection.execute("DELETE FROM contracts_text")
    connection.execute("DELETE FROM contract_ages")
