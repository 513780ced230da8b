"""The free pages of a ledger's file: those of deleted rows, which SQLite keeps for new rows, so that no file shrinks by itself.

VACUUM writes the whole file anew (rewriting.py) and locks it meanwhile. After one VACUUM with `auto_vacuum = INCREMENTAL`, free
pages can be released a few at a time, while others write.
"""

import time
from collections.abc import Callable

from aorch.ledger.sqlite.connection import Connection

STEP_PAGES = 256
"""Free pages that one transaction releases. It takes 2 to 5 ms."""
INCREMENTAL = 2
"""The value of `PRAGMA auto_vacuum` with which free pages can be released without VACUUM."""


def release_pages(connection: Connection, wanted: Callable[[], bool] = lambda: True) -> int:
    """Return free pages to the disk, in small transactions with pauses between, so that other writers get their turn.

    Returns the number of released pages: 0 if the file was never rewritten, because only VACUUM enables this. The file itself
    gets shorter with the next checkpoint.
    """
    released = 0
    while can_release_pages(connection) and wanted() and (free := free_pages(connection)):
        started = time.monotonic()
        connection.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})").fetchall()
        left = free_pages(connection)
        if left >= free:
            break
        released += free - left
        time.sleep(time.monotonic() - started)
    return released


def can_release_pages(connection: Connection) -> bool:
    """Whether the file was rewritten once, so that `release_pages` shrinks it."""
    return bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0] == INCREMENTAL)


def used_bytes(connection: Connection) -> int:
    """The size that the file would have without free pages."""
    return file_bytes(connection) - free_pages(connection) * _page_size(connection)


def sees_removals(connection: Connection) -> bool:
    """Whether `used_bytes` can be asked after each transaction of a prune: SQLite counts its pages."""
    del connection
    return True


def empty_bytes(connection: Connection) -> int:
    """The size of the same tables and indexes without rows: a page each."""
    (trees,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE rootpage > 0").fetchone()
    return int(trees * _page_size(connection))


def file_bytes(connection: Connection) -> int:
    """The size of the file once its write-ahead log is copied into it."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return int(pages * _page_size(connection))


def _page_size(connection: Connection) -> int:
    return int(connection.execute("PRAGMA page_size").fetchone()[0])


def free_pages(connection: Connection) -> int:
    """The number of pages that no row uses."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])
