"""The size of a ledger's SQLite file: its pages, its write-ahead log, and its tables."""

import sqlite3
from pathlib import Path

from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import Connection, revision
from aorch.ledger.sqlite.free_pages import can_release_pages, free_pages
from aorch.ledger.sqlite.statements import REVISION
from aorch.ledger.upkeep_reports import FileSizes

_TABLES = (
    "SELECT coalesce(m.tbl_name, s.name), sum(s.pgsize) FROM dbstat s LEFT JOIN sqlite_master m ON m.name = s.name"
    " WHERE s.aggregate = 1 GROUP BY 1 ORDER BY 2 DESC, 1"
)
"""The pages of each table with its indexes. Reads every page of the file."""
_FULL_TEXT = "contracts_text"


def sizes_of(connection: Connection, *, tables: bool = True) -> FileSizes:
    """The sizes of the file that `connection` has open, with those of its `tables` if wanted."""
    path = connection.path
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return FileSizes(
        file_bytes=_bytes_of(path),
        wal_bytes=_bytes_of(files.beside(path, "wal")),
        free_bytes=free_pages(connection) * page_bytes,
        page_bytes=page_bytes,
        revision=revision(connection),
        newest_revision=REVISION,
        journal_mode=connection.execute("PRAGMA journal_mode").fetchone()[0],
        shrinks=can_release_pages(connection),
        tables=_tables(connection) if tables else None,
    )


def _tables(connection: Connection) -> dict[str, int] | None:
    try:
        found = connection.execute(_TABLES).fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # not: there is no such table
            raise
        return None
    tables: dict[str, int] = {}
    for name, size in found:
        whole = _FULL_TEXT if name.startswith(f"{_FULL_TEXT}_") else name  # FTS5 keeps its index in tables of its own
        tables[whole] = tables.get(whole, 0) + size
    return dict(sorted(tables.items(), key=lambda each: -each[1]))


def _bytes_of(file: Path) -> int:
    try:
        return files.resolved(file).stat().st_size
    except FileNotFoundError:
        return 0
