"""Checks of what SQLite and triggers keep for a ledger besides its rows: pages, schema, counters, indexes of sessions and turns,
full text.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from aorch.ledger.sqlite import statements
from aorch.ledger.sqlite.connection import Connection
from aorch.ledger.sqlite.opening import connect

MOST_DAMAGES = 20
_INDEXED = "(SELECT value FROM counters WHERE name = 'session_index')"
_MISSING_IN_INDEX = (
    f"SELECT position FROM contracts c WHERE position <= {_INDEXED} AND NOT EXISTS"  # noqa: S608  constants
    " (SELECT 1 FROM session_index s WHERE s.session_id = c.session_id AND s.position = c.position"
    " AND s.is_request = (c.contract_type = 'REQUEST'))"
)
_WRONG_IN_INDEX = (
    "SELECT position FROM session_index s WHERE NOT EXISTS"
    " (SELECT 1 FROM contracts c WHERE c.position = s.position AND c.session_id = s.session_id)"
)
_IN_NO_RUN = (
    "SELECT session_id FROM contracts c WHERE turn > (SELECT turn FROM queue_clock q WHERE q.priority = c.priority)"
    " AND coalesce((SELECT first_turn FROM session_turns s WHERE s.session_id = c.session_id AND s.priority = c.priority"
    " AND s.turn >= c.turn ORDER BY s.turn LIMIT 1), turn + 1) > turn"
)
_RUNS_WITHOUT_LAST = (
    "SELECT session_id FROM (SELECT session_id, priority, turn FROM session_turns"
    " EXCEPT SELECT session_id, priority, turn FROM contracts WHERE turn IS NOT NULL) s"
    " WHERE turn > (SELECT turn FROM queue_clock q WHERE q.priority = s.priority)"
)
_REACHED = "(SELECT coalesce(max(id), 0) FROM contracts_text_docsize)"
_MISSING_IN_TEXT = (
    f"SELECT position FROM contracts WHERE position <= {_REACHED}"  # noqa: S608  constants
    " AND position NOT IN (SELECT id FROM contracts_text_docsize)"
)
_WRONG_IN_TEXT = "SELECT id FROM contracts_text_docsize WHERE id NOT IN (SELECT position FROM contracts)"
_OBJECTS = (
    "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE 'contracts_text_%'"
)


def damages(connection: Connection) -> list[str]:
    """What is wrong with the pages and indexes of the file, in SQLite's words; empty if nothing is."""
    try:
        found = [text for (text,) in connection.execute(f"PRAGMA integrity_check({MOST_DAMAGES})")]
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        return [str(error)]
    return [] if found == ["ok"] else found


def schema_differences(connection: Connection) -> Iterator[tuple[str, str]]:
    """The tables, indexes, triggers and views that a ledger of this revision has, and this one lacks or has differently: the name
    (`trigger contracts_deleted`), and `is missing` or `differs`.
    """
    found = {(kind, name): sql for kind, name, sql in connection.execute(_OBJECTS)}
    for kind, name, sql in _objects_of_a_new_ledger():
        if (kind, name) not in found:
            yield f"{kind} {name}", "is missing"
        elif " ".join((found[kind, name] or "").split()) != " ".join((sql or "").split()):
            yield f"{kind} {name}", "differs"


@cache
def _objects_of_a_new_ledger() -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder, closing(connect(Path(folder, "new.db"))) as new:
        return new.execute(_OBJECTS).fetchall()


def miscounted(connection: Connection) -> str | None:
    """How the number of contracts that the counters give differs from the number of rows."""
    (counted,) = connection.execute(statements.CONTRACT_COUNT).fetchone()
    (rows,) = connection.execute(statements.CONTRACT_TOTAL).fetchone()
    return None if counted == rows else f"the counters say {counted}; there are {rows}"


def wrong_in_session_index(connection: Connection) -> list[int]:
    """The positions that the session index lacks, or has wrongly."""
    return [each for sql in (_MISSING_IN_INDEX, _WRONG_IN_INDEX) for (each,) in connection.execute(sql)]


def sessions_with_wrong_turns(connection: Connection) -> list[str]:
    """The sessions of which the index of turns lacks a queued REQUEST, or has a turn without one."""
    return sorted({each for sql in (_IN_NO_RUN, _RUNS_WITHOUT_LAST) for (each,) in connection.execute(sql)})


def wrong_in_full_text(connection: Connection) -> list[int]:
    """The positions that the full-text index lacks although it has later ones, or has without a contract."""
    return [each for sql in (_MISSING_IN_TEXT, _WRONG_IN_TEXT) for (each,) in connection.execute(sql)]


def rebuild(connection: Connection) -> None:
    """Create counters and the indexes of sessions and turns anew from the contracts, and empty the full-text index, which the
    next search creates anew, and the ages of contracts, which the next prune reads anew, in the caller's transaction.
    """
    connection.execute("DELETE FROM session_index")
    connection.execute(
        "INSERT INTO session_index SELECT session_id, position, contract_type = 'REQUEST' FROM contracts"
        " ORDER BY session_id, position"
    )
    connection.execute(
        "INSERT OR REPLACE INTO counters SELECT 'session_index', coalesce(max(position), 0) FROM contracts"
    )
    connection.execute(
        "INSERT OR REPLACE INTO counters SELECT 'deleted_contracts', (SELECT coalesce(max(seq), 0) FROM sqlite_sequence"
        " WHERE name = 'contracts') - (SELECT count(*) FROM contracts)"
    )
    connection.execute("DELETE FROM session_turns")
    connection.execute(
        "INSERT INTO session_turns SELECT session_id, priority, max(turn), min(turn) FROM (SELECT session_id, priority, turn,"
        " turn - dense_rank() OVER (PARTITION BY session_id, priority ORDER BY turn) AS run FROM contracts"
        " WHERE turn IS NOT NULL AND priority IS NOT NULL) GROUP BY session_id, priority, run"
    )
    connection.execute("DELETE FROM contract_ages")
    connection.execute("INSERT INTO contracts_text (contracts_text) VALUES ('delete-all')")
