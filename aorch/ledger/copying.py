"""Copies a whole ledger into a new one, from either database to either: all rows of all tables, with their positions.

The copy is one transaction, so a copy that fails or is killed leaves no rows, and the same command can be run again. Until then
the target is marked, and no process opens it (copy_mark.py). Before the copy is committed, each table is read back and compared
with the rows that were read, by number and checksum.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Table

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, LedgerBusy, LedgerError, UsageError
from aorch.ledger import copy_mark
from aorch.ledger.database import (
    Connection,
    Database,
    check_exclusive,
    connect,
    dead_owners,
    exclusive,
    module_for,
    owner_ids,
    statements,
    transaction,
    translated,
)
from aorch.ledger.lost_requests import recover
from aorch.ledger.schema import metadata
from aorch.ledger.upkeep import rebuild, require
from aorch.ledger.upkeep_reports import STOP_PROCESSES

BATCH = 1000
"""Number of rows to write at a time."""
OWN = {"contract_ages", "counters", "session_index", "session_turns"}
"""Tables that follow from the contracts, or that each database keeps for itself."""
SEEDED = {"queue_clock"}
"""Tables in which a new ledger has rows."""

COPY = "copy"
"""The work under whose lock a ledger is copied; Ledger looks for it."""

Row = Sequence[Any]

Progress = Callable[[str, int], None]
"""Called from time to time with the name of a table and the number of its rows that are copied."""


class LedgerCopy(NamedTuple):
    """A verified copy: the number of rows of each table, and one checksum (SHA-256, hex) over all of them."""

    rows: dict[str, int]
    checksum: str
    last_position: int
    replaced: int = 0
    """The number of rows with U+0000, which PostgreSQL cannot store: the copy has U+FFFD instead."""


def copy_ledger(source: LedgerLocation, target: LedgerLocation, progress: Progress = lambda *_: None) -> LedgerCopy:
    """Copy the ledger at `source` to `target`, which is created and must have no rows.

    What a dead process left open at `source` is answered first. The full-text index is not copied: the first search creates it.
    While it runs, no process can open `source` for writing. Raises UsageError if both are the same, NotFound, LedgerBusy while a
    process or a lease uses `source`, Conflict if `target` is not empty, and LedgerError. After an error during the copy, `target`
    is refused until a copy to it succeeds.
    """
    if source == target:
        raise UsageError("both ledgers are the same", "Name another ledger to copy to.")
    require(source)
    recover(source)
    with (
        exclusive(source, COPY) as alone,
        Database(source) as database,
        database.read() as reading,
    ):
        if not alone:
            raise LedgerBusy(f"another process copies the ledger {source}", "Try again when it has finished.")
        _check_unused(source, reading)
        with _marked_target(target) as writing:
            _begin_reading(reading)
            with transaction(writing):
                _check_empty(writing, target)
                done = _copy_all(reading, writing, progress)
                _continue_positions(reading, writing)
                rebuild(writing)
                writing.execute(copy_mark.CLEAR)
                check_exclusive(source, COPY)
            reading.execute("COMMIT")
    return done


@contextmanager
def _marked_target(target: LedgerLocation) -> Iterator[Connection]:
    """A connection to the ledger at `target`, which is created if necessary, has no rows, and is marked as an incomplete copy.

    Raises Conflict if it has rows. Then it is not marked, also if another process has written them since.
    """
    with translated(target):
        module_for(target, "bulk").reopen_incomplete(target)
        with closing(connect(target)) as writing:
            with transaction(writing):
                _check_empty(writing, target)
                writing.execute(copy_mark.SET)
            try:
                yield writing
            except Conflict:
                writing.execute(copy_mark.CLEAR)
                raise


def _check_unused(source: LedgerLocation, reading: Connection) -> None:
    """Raise LedgerBusy if a process has the ledger open, or a worker over HTTP may still report. None can open it any more."""
    owners = owner_ids(source)
    if alive := len(owners) - len(dead_owners(source, owners)):
        raise LedgerBusy(
            f"{alive} process{' uses' if alive == 1 else 'es use'} the ledger {source}",
            f"{STOP_PROCESSES} What it writes later would be missing in the copy.",
        )
    (moment,) = reading.execute(statements.LEDGER_TIME).fetchall()[0]
    ends = [ends_at for (ends_at,) in reading.execute("SELECT ends_at FROM work_leases") if ends_at > moment]
    if ends:
        holders = "1 worker holds a lease" if len(ends) == 1 else f"{len(ends)} workers hold leases"
        raise LedgerBusy(
            f"{holders} of the ledger {source} until {max(ends)}",
            "Stop the workers with --server. A worker that was killed holds its lease until then.",
        )


def _tables() -> list[Table]:
    return [table for table in metadata.sorted_tables if table.name not in OWN]


def _check_empty(writing: Connection, target: LedgerLocation) -> None:
    for table in _tables():
        if table.name not in SEEDED and writing.execute(f"SELECT 1 FROM {table.name} LIMIT 1").fetchone():  # noqa: S608
            raise Conflict(
                f"the ledger {target} is not empty: it has rows in {table.name}",
                "Copy to a new file or a new database.",
            )


def _copy_all(reading: Connection, writing: Connection, progress: Progress) -> LedgerCopy:
    counts, whole, last, replaced = dict[str, int](), sha256(), 0, 0
    storable = module_for(writing.location, "bulk").storable
    for table in _tables():
        if table.name in SEEDED:
            writing.execute(f"DELETE FROM {table.name}")  # noqa: S608  a name of schema.py
        insert, read = _insert(table, writing), _Checked(reading, table, storable)
        rows = iter(read)
        while batch := list(islice(rows, BATCH)):
            writing.insert(insert, batch)
            progress(table.name, read.count)
        written = _Checked(writing, table)
        for _ in written:
            pass
        if (read.count, read.checksum) != (written.count, written.checksum):
            raise LedgerError(
                f"the copy of {table.name} differs: {read.count:,} rows were read, {written.count:,} are in the copy",
                "Nothing was copied. Check the source with `aorch ledger check`.",
            )
        counts[table.name] = read.count
        whole.update(read.checksum.encode())
        replaced += read.replaced
        last = read.last_position if table.name == "contracts" else last
    return LedgerCopy(counts, whole.hexdigest(), last, replaced)


class _Checked:
    """The rows of a table in the order of its primary key, as the target stores them, counted and hashed while they are read."""

    def __init__(self, connection: Connection, table: Table, storable: Callable[[Row], Row] = lambda row: row) -> None:
        key = ", ".join(column.name for column in table.primary_key.columns)
        names = ", ".join(column.name for column in table.columns)
        self._sql = f"SELECT {names} FROM {table.name} ORDER BY {key}"  # noqa: S608  names of schema.py
        self._connection, self._storable, self._hash = connection, storable, sha256()
        self.count = self.last_position = self.replaced = 0

    def __iter__(self) -> Iterator[Sequence[Any]]:
        connection = self._connection
        with (
            translated(connection.location),
            closing(connection.stream(self._sql)) as rows,
        ):  # each names its own ledger
            for found in rows:
                row = self._storable(found)
                self.count += 1
                self.replaced += row is not found
                self._hash.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
                if isinstance(row[0], int):
                    self.last_position = row[0]
                yield row

    @property
    def checksum(self) -> str:
        """The checksum of the rows that were read (SHA-256, hex)."""
        return self._hash.hexdigest()


def _insert(table: Table, writing: Connection) -> str:
    mark = module_for(writing.location, "bulk").MARK
    names = ", ".join(column.name for column in table.columns)
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join([mark] * len(table.columns))})"  # noqa: S608


def _begin_reading(reading: Connection) -> None:
    """Begin a transaction that sees one moment."""
    reading.execute(module_for(reading.location, "bulk").BEGIN_READING)


def _continue_positions(reading: Connection, writing: Connection) -> None:
    """Let the next contract of the copy get a position after all that the source has ever given."""
    last = module_for(reading.location, "bulk").last_given_position(reading)
    module_for(writing.location, "bulk").give_positions_after(writing, last)
