"""Executes a query of the user, who may read everything in the ledger and write nothing in it.

The server itself holds that: the query runs in a transaction that is read-only from its first statement on, which no later
statement can change (https://www.postgresql.org/docs/current/sql-set-transaction.html), and the protocol of statements with
parameters takes one statement at a time. What functions of the server may do besides depends on the role.
"""

import datetime
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from aorch.clock import rfc3339
from aorch.config.ledger_location import PostgresUrl
from aorch.errors import UsageError
from aorch.ledger.postgres.failures import translated, translated_error
from aorch.ledger.postgres.opening import connect_reading
from aorch.ledger.query_answer import Answer, distinct, first_word, invalid, refusal

TIMEOUT_S = 300
"""The longest time that a query may take."""
_READS = {"SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "SHOW"}
_BEGIN = (
    "BEGIN TRANSACTION READ ONLY",
    f"SET LOCAL statement_timeout = '{TIMEOUT_S}s'",
    "SET LOCAL idle_in_transaction_session_timeout = '60s'",
    "SELECT 1",  # from the first query on, the transaction stays read-only
)
_READ_ONLY, _CANCELLED = "25", "57014"
"""A class of errors about the state of the transaction, and the code for a timeout."""
_OF_THE_STATEMENT = ("0A", "21", "22", "26", "2F", "34", "3F", "42", "54", "P0")
"""Classes of errors about the statement: syntax, names, types, values, permissions."""


@contextmanager
def answer(path: PostgresUrl, sql: str) -> Iterator[Answer]:
    """The answer to one SELECT, WITH, VALUES, TABLE, EXPLAIN or SHOW. The ledger at `path` must exist.

    Raises UsageError for anything else and for invalid SQL, LedgerError, and KeyboardInterrupt during the query.
    """
    keyword = first_word(sql)
    if not keyword:
        raise UsageError("the query is empty", "Give one SELECT statement.")
    if keyword not in _READS:
        raise refusal(keyword)
    with translated(path), closing(connect_reading(path)) as connection:
        for statement in _BEGIN:
            connection.execute(statement)
        with connection.raw.cursor() as cursor:
            rows = _rows(cursor, sql, keyword)
            first = next(rows)  # the first row is always empty: now the columns are known
            assert first == ()
            names = [column.name for column in cursor.description or ()] or _names(connection.raw, sql)
            yield Answer(distinct(names), rows)


def _rows(cursor: psycopg.Cursor[Any], sql: str, keyword: str) -> Iterator[tuple[Any, ...]]:
    """An empty row, and then those of the query as they arrive."""
    with _explained(keyword):
        stream = cursor.stream(sql)
        row = next(stream, None)
        yield ()
        while row is not None:
            yield tuple(_shown(value) for value in row)
            row = next(stream, None)


def _names(connection: psycopg.Connection[Any], sql: str) -> list[str]:
    """The columns of a query without rows, which psycopg does not keep."""
    connection.pgconn.prepare(b"asked", sql.encode())
    described = connection.pgconn.describe_prepared(b"asked")
    return [(described.fname(number) or b"").decode() for number in range(described.nfields)]


def _shown(value: Any) -> Any:
    """A value as it is printed: numbers stay numbers, times are RFC 3339."""
    if value is None or isinstance(value, (int, float, str)):
        return value
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return rfc3339(value)
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    return str(value)


@contextmanager
def _explained(keyword: str) -> Iterator[None]:
    """Raise the server's errors about the statement as UsageError."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if state.startswith(_READ_ONLY):
            raise refusal(keyword) from error
        if state == _CANCELLED:
            raise UsageError(
                f"the query takes longer than {TIMEOUT_S} s", "Restrict it to fewer rows, or execute it with psql."
            ) from error
        if state.startswith(_OF_THE_STATEMENT):
            raise invalid(error.diag.message_primary or str(error)) from error
        raise translated_error(error) from error
    except psycopg.ProgrammingError as error:  # raised by psycopg itself
        raise invalid(error) from error
