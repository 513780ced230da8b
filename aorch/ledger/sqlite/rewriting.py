"""Rewrites the ledger's file without unused space, so that bytes of deleted or changed rows are nowhere in it.

SQLite leaves such bytes in free pages, in free space inside pages, and in the write-ahead log (`-wal`). VACUUM copies all rows to
a temporary file and writes them back through the write-ahead log (https://www.sqlite.org/lang_vacuum.html), and a truncating
checkpoint empties the log. Meanwhile other processes can read, but not write. From then on, free pages can be released in small
steps (free_pages.py).
"""

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from aorch.config import environment
from aorch.errors import LedgerFull
from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import Connection, not_writable, translated
from aorch.ledger.sqlite.free_pages import INCREMENTAL
from aorch.ledger.sqlite.opening import connect, open_without_upgrade
from aorch.ledger.upkeep_reports import RewriteEstimate

READERS_S = 10.0
"""How long to wait for other processes that read from the write-ahead log."""
PAUSE_S = 0.02
SAMPLE_BYTES = 8 * 1024 * 1024
"""The size of the database with which the speed of the machine is measured."""


def estimate_rewrite(ledger: Path) -> RewriteEstimate:
    """What `rewrite` would need now. Writes up to 3 × SAMPLE_BYTES of temporary files. Raises LedgerError."""
    with translated(ledger), closing(open_without_upgrade(ledger)) as connection:
        size, kept = _number(connection, "page_size") * _number(connection, "page_count"), _kept_bytes(connection)
    try:
        seconds = kept * _seconds_per_byte(ledger, kept)
    except OSError as error:
        raise not_writable(ledger) from error
    return RewriteEstimate(size, kept, temporary_folder(), seconds)


def rewrite(ledger: Path, wait_s: float = READERS_S) -> bool:
    """Rewrite the file, and empty the write-ahead log. Returns False if another process still reads from the log after
    `wait_s` seconds: it may contain old bytes then.

    Waits for the write lock like any write. Raises LedgerFull before it starts if the disk has not enough space, and
    LedgerError. If the process is killed, the ledger is as before.
    """
    with closing(connect(ledger)) as connection, translated(ledger):
        _check_space(ledger, connection)
        connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        connection.execute("VACUUM")
        return _empty_log(connection, wait_s)


def check_rewrite_space(ledger: Path) -> None:
    """Raise LedgerFull if the disk has not enough space for `rewrite`; and LedgerError."""
    with translated(ledger), closing(open_without_upgrade(ledger)) as connection:
        _check_space(ledger, connection)


def empty_log(ledger: Path, wait_s: float = READERS_S) -> bool:
    """Copy the write-ahead log to the file, and truncate it. Returns False if another process still reads from it after
    `wait_s` seconds.
    """
    with closing(connect(ledger)) as connection, translated(ledger):
        return _empty_log(connection, wait_s)


def temporary_folder() -> Path:
    """Where SQLite puts temporary files (https://www.sqlite.org/tempfiles.html#temporary_file_storage_locations)."""
    named = (environment.get("SQLITE_TMPDIR"), environment.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108
    for each in named:
        if each and os.path.isdir(each) and os.access(each, os.W_OK | os.X_OK):  # noqa: PTH112  Path.is_dir can raise
            return Path(each)
    return Path()


def _empty_log(connection: Connection, wait_s: float) -> bool:
    ends = time.monotonic() + wait_s
    while True:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return True
        if time.monotonic() > ends:
            return False
        time.sleep(PAUSE_S)


def _check_space(ledger: Path, connection: Connection) -> None:
    kept, needed = _kept_bytes(connection), dict[int, tuple[Path, int]]()
    for folder in (files.resolved(ledger).parent, temporary_folder()):
        device = folder.stat().st_dev
        needed[device] = folder, kept + needed.get(device, (folder, 0))[1]
    for folder, size in needed.values():
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < size:
            raise LedgerFull(
                f"rewriting the ledger {ledger} needs {size / 1e6:,.1f} MB in {folder}, which has"
                f" {found.f_bavail * found.f_frsize / 1e6:,.1f} MB free",
                "Make room, then try again. SQLITE_TMPDIR names another directory for temporary files.",
            )


def _kept_bytes(connection: sqlite3.Connection) -> int:
    """The size of the file after a rewrite, from above: its pages in use, those that map them, 5 bytes for each, and one more,
    because the schema is written anew and may fill its pages less.
    """
    page, pages, free = (_number(connection, name) for name in ("page_size", "page_count", "freelist_count"))
    kept = pages - free
    return page * (kept + kept // (page // 5) + 2)


def _number(connection: sqlite3.Connection, name: str) -> int:
    (number,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(number)


_SAMPLE = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE sample (position INTEGER PRIMARY KEY, content BLOB);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO sample SELECT i, randomblob(4000) FROM n;
PRAGMA wal_checkpoint(TRUNCATE);
"""


def _seconds_per_byte(ledger: Path, kept: int) -> float:
    """How long VACUUM and a checkpoint take for a byte, measured with a database of up to SAMPLE_BYTES beside the ledger."""
    rows = max(1, min(kept, SAMPLE_BYTES) // 4096)
    with (
        tempfile.TemporaryDirectory(prefix=".aorch-", dir=files.resolved(ledger).parent) as folder,
        closing(sqlite3.connect(Path(folder, "sample.db"), isolation_level=None)) as connection,
    ):
        connection.executescript(_SAMPLE.replace(":rows", str(rows)))
        size = _number(connection, "page_count") * _number(connection, "page_size")
        begun = time.perf_counter()
        connection.executescript("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        return (time.perf_counter() - begun) / size
