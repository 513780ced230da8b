"""What the upkeep of a ledger reports, on every database: sizes, copies, and what removing old bytes needs."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Progress = Callable[[int, int], None]
"""Called from time to time with the amount done and the total."""
STOP_PROCESSES = (
    "Stop every process that uses it (such as `aorch serve`, a worker, `aorch run` or `aorch log -f`) or wait for it, "
    "then try again."
)
"""The hint of an error about a ledger that no process may use meanwhile."""


class FileSizes(NamedTuple):
    """Bytes of the ledger, of its write-ahead log, and of its free pages, which new rows use. None: the database does not tell.

    `tables` has the bytes of each table with its indexes, the largest first; None if nobody asked, or if this SQLite cannot
    tell (it was built without `dbstat`). `revision` is that of the schema, `newest_revision` the one that this aorch uses.
    `shrinks`: free pages can be released without VACUUM. `server` is the version of PostgreSQL, None for a file.
    """

    file_bytes: int
    wal_bytes: int | None
    free_bytes: int | None
    page_bytes: int
    revision: str | None
    newest_revision: str
    journal_mode: str | None
    shrinks: bool
    tables: dict[str, int] | None
    server: str | None = None


class Copied(NamedTuple):
    """A verified copy: its size, and the contracts in it."""

    bytes: int
    contracts: int
    last_position: int
    newest_at: str | None
    revision: str


class Restored(NamedTuple):
    """What is in the ledger now, the backup's revision, and the path of the file that was there before (None: there was none).

    `queued` tasks start again when a worker runs, `webhooks` are sent again.
    """

    copied: Copied
    revision_before: str
    kept_as: Path | None
    queued: int
    webhooks: int


class RewriteEstimate(NamedTuple):
    """What removing old bytes from a ledger needs: it has `file_bytes`, and `kept_bytes` after it.

    It needs `kept_bytes` of disk twice for a while: on SQLite beside the ledger and in `temporary`, SQLite's directory for
    temporary files; on PostgreSQL for the new tables and in the write-ahead log. Other processes cannot write for about
    `lock_s` seconds, measured with a small database. `blocks_readers`: they cannot read either.
    """

    file_bytes: int
    kept_bytes: int
    temporary: Path | None
    lock_s: float
    blocks_readers: bool = False

    @property
    def disk_bytes(self) -> int:
        """The disk space that it needs for a while, in both places together."""
        return 2 * self.kept_bytes
