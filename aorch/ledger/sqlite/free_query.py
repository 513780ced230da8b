"""Executes a query of the user, who may read everything in the ledger and write nothing, neither in it nor in another file.

Three things hold that: `query_only`, which SQLite checks for each write; an authorizer, which SQLite asks about each action when
it compiles a statement (https://www.sqlite.org/c3ref/set_authorizer.html); and that sqlite3 executes one statement at a time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aorch.errors import UsageError
from aorch.ledger.query_answer import Answer, distinct, first_word, invalid, refusal
from aorch.ledger.sqlite.connection import translated
from aorch.ledger.sqlite.opening import connect_reading

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_PRAGMAS = {
    *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
    *("database_list", "collation_list", "function_list", "compile_options"),
    "data_version",  # the full-text index reads it
}
"""Pragmas that change nothing, with or without an argument."""
_FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer"}
_STEPS = 10_000
"""Steps of SQLite's machine between two looks for Ctrl-C: about 1 ms."""


@contextmanager
def answer(path: Path, sql: str) -> Iterator[Answer]:
    """The answer to one SELECT, WITH, VALUES, EXPLAIN or reading PRAGMA. The ledger at `path` must exist.

    Raises UsageError for anything else and for invalid SQL, LedgerError, and KeyboardInterrupt during the query.
    """
    keyword = first_word(sql)
    if not keyword:
        raise UsageError("the query is empty", "Give one SELECT statement.")
    with translated(path), closing(connect_reading(path)) as connection:
        connection.execute("PRAGMA query_only = ON")
        refused: list[str] = []
        connection.set_authorizer(lambda *asked: _authorized(refused, *asked))
        connection.set_progress_handler(lambda: 0, _STEPS)  # Python handles signals when it is called
        with _explained(refused, keyword):
            cursor = connection.execute(sql)
        if cursor.description is None:
            raise refusal(keyword)
        yield Answer(distinct([name for name, *_ in cursor.description]), _rows(cursor, refused, keyword))


def _authorized(refused: list[str], action: int, first: str | None, second: str | None, *_: Any) -> int:
    if action in _READS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION:
        if (second or "").lower() not in _FORBIDDEN_FUNCTIONS:
            return sqlite3.SQLITE_OK
        refused.append(f"the function {second}")
    elif action == sqlite3.SQLITE_PRAGMA:
        if (first or "").lower() in _PRAGMAS:
            return sqlite3.SQLITE_OK
        refused.append(f"PRAGMA {first}")
    elif action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        return sqlite3.SQLITE_OK  # asked when a virtual table is first used; SQLite rejects such an UPDATE itself
    else:
        refused.append("this statement")
    return sqlite3.SQLITE_DENY


def _rows(cursor: sqlite3.Cursor, refused: list[str], keyword: str) -> Iterator[tuple[Any, ...]]:
    while True:
        with _explained(refused, keyword):
            found = cursor.fetchone()
        if found is None:
            return
        yield tuple(value.hex() if isinstance(value, bytes) else value for value in found)


@contextmanager
def _explained(refused: list[str], keyword: str) -> Iterator[None]:
    """Raise SQLite's errors about the statement as UsageError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        if refused or code == sqlite3.SQLITE_READONLY:
            named = [each for each in refused if each != "this statement"]
            raise refusal(named[0] if named else keyword) from error
        if code in (None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG):
            raise invalid(error) from error
        raise
    except sqlite3.Warning as error:  # several statements, before Python 3.12
        raise invalid(error) from error
