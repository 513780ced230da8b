"""Upkeep of a ledger: its size, checks, copies, and shrinking it. Each database does it in its own way, in modules of the same
names in both packages.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import LedgerInvalid, NotFound
from aorch.ledger.database import Connection, Database, module_for, rewrite, statements
from aorch.ledger.upkeep_reports import Copied, FileSizes, Progress, Restored

__all__ = ["Copied", "Restored"]


def back_up(ledger: LedgerLocation, target: Path, *, replace: bool = False, progress: Progress | None = None) -> Copied:
    """Copy the ledger to the file `target`, while other processes use it. Raises Conflict and LedgerError."""
    return cast("Copied", module_for(ledger, "copies").back_up(ledger, target, replace=replace, progress=progress))


def restore(backup: Path, ledger: LedgerLocation, progress: Progress | None = None) -> Restored:
    """Put the copy `backup` in the place of the ledger, which is kept aside. Raises LedgerError."""
    return cast("Restored", module_for(ledger, "copies").restore(backup, ledger, progress))


def kept_aside(ledger: LedgerLocation) -> list[Path]:
    """The files of former ledgers that `restore` has kept."""
    return cast("list[Path]", module_for(ledger, "copies").kept_aside(ledger))


def sizes_of(connection: Connection, *, tables: bool = True) -> FileSizes:
    """The size of the ledger, and of each table unless `tables` is false."""
    return cast("FileSizes", module_for(connection.location, "sizes").sizes_of(connection, tables=tables))


def used_bytes(connection: Connection) -> int:
    """The size that the ledger would have without free pages."""
    return int(module_for(connection.location, "free_pages").used_bytes(connection))


def sees_removals(connection: Connection) -> bool:
    """Whether `used_bytes` is cheap enough, and right, after each transaction of a prune."""
    return bool(module_for(connection.location, "free_pages").sees_removals(connection))


def empty_bytes(connection: Connection) -> int:
    """The size of the same tables and indexes without rows."""
    return int(module_for(connection.location, "free_pages").empty_bytes(connection))


def file_bytes(connection: Connection) -> int:
    """The size of the ledger's files."""
    return int(module_for(connection.location, "free_pages").file_bytes(connection))


def release_pages(connection: Connection, wanted: Callable[[], bool] = lambda: True) -> int:
    """Return free pages to the disk while they are `wanted`, and return the number of bytes. Raises LedgerError."""
    return int(module_for(connection.location, "free_pages").release_pages(connection, wanted))


def can_release_pages(connection: Connection) -> bool:
    """Whether `release_pages` shrinks the ledger's files."""
    return bool(module_for(connection.location, "free_pages").can_release_pages(connection))


def remove_words(connection: Connection, positions: Sequence[int]) -> None:
    """Remove the contracts at those positions, which still exist, from the full-text index, in the caller's transaction."""
    module_for(connection.location, "fulltext_removal").remove_words(connection, positions)


def damages(connection: Connection) -> list[str]:
    """What is wrong with the ledger's files, in the database's words; empty if nothing is."""
    return cast("list[str]", module_for(connection.location, "integrity").damages(connection))


def schema_differences(connection: Connection) -> Iterator[tuple[str, str]]:
    """The tables, indexes, triggers and views that a ledger of this revision has, and this one lacks or has differently: the name
    and the problem.
    """
    found = module_for(connection.location, "integrity").schema_differences(connection)
    return cast("Iterator[tuple[str, str]]", found)


def miscounted(connection: Connection) -> str | None:
    """How the number of contracts that the counters give differs from the number of rows."""
    return cast("str | None", module_for(connection.location, "integrity").miscounted(connection))


def wrong_in_session_index(connection: Connection) -> list[int]:
    """The positions that the session index lacks, or has wrongly."""
    return cast("list[int]", module_for(connection.location, "integrity").wrong_in_session_index(connection))


def sessions_with_wrong_turns(connection: Connection) -> list[str]:
    """The sessions of which the index of turns lacks a queued REQUEST, or has a turn without one."""
    return cast("list[str]", module_for(connection.location, "integrity").sessions_with_wrong_turns(connection))


def wrong_in_full_text(connection: Connection) -> list[int]:
    """The positions that the full-text index lacks although it has later ones, or has without a contract."""
    return cast("list[int]", module_for(connection.location, "integrity").wrong_in_full_text(connection))


def rebuild(connection: Connection) -> None:
    """Create counters and indexes anew from the contracts, in the caller's transaction."""
    module_for(connection.location, "integrity").rebuild(connection)


class Vacuumed(NamedTuple):
    """The size of the file before and after, in bytes. `is_final`: the write-ahead log is empty; otherwise a process still reads
    the old pages, and the file shrinks when it has finished.
    """

    bytes_before: int
    bytes: int
    is_final: bool


def vacuum(path: LedgerLocation) -> Vacuumed:
    """Rewrite the ledger's file without free pages, and its full-text index without the words of deleted contracts.

    Locks the ledger meanwhile. From then on, a prune returns free pages to the disk. Raises NotFound and LedgerError.
    """
    require(path)
    before = _file_bytes(path)
    with Database(path) as database:
        module_for(path, "fulltext_removal").optimize(database)
    is_final = rewrite(path)
    return Vacuumed(before, _file_bytes(path), is_final)


def _file_bytes(path: LedgerLocation) -> int:
    with Database(path).peek() as connection:
        return sizes_of(connection, tables=False).file_bytes


def require(path: LedgerLocation) -> None:
    """Raise NotFound if there is no ledger at `path`."""
    if not Database(path).exists():
        raise NotFound(f"ledger not found: {path}", "Run a task first, or choose another file with --ledger.")


def info(path: LedgerLocation) -> dict[str, Any]:
    """What the ledger at `path` holds and takes, as it is: it is neither upgraded nor written.

    `path`, `contracts`, `oldest_at`, `newest_at` (RFC 3339 or null), `last_position`, and the fields of FileSizes. Raises
    NotFound and LedgerError.
    """
    require(path)
    with Database(path).peek() as connection:
        sizes = sizes_of(connection)
        if sizes.revision is None:
            raise LedgerInvalid(f"{path} is not a ledger yet: the file is empty", "Run a task first.")
        (contracts,) = connection.execute(statements.CONTRACT_TOTAL).fetchone()
        oldest = connection.execute(statements.OLDEST_CONTRACT).fetchone() or (None, 0)
        newest = connection.execute(statements.NEWEST_CONTRACT).fetchone() or (None, 0)
    return {
        "path": str(path),
        "contracts": contracts,
        "oldest_at": oldest[0],
        "newest_at": newest[0],
        "last_position": newest[1],
        **sizes._asdict(),
    }
