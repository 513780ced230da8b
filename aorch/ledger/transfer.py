"""Exports the ledger to a file, and imports such files."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import AorchError, NotFound, UsageError
from aorch.ledger import contract_files
from aorch.ledger.database import Database
from aorch.ledger.importing import ImportCounts, import_batches
from aorch.ledger.reader import EVERYTHING, Filter
from aorch.ledger.record import FIELDS, Record
from aorch.ledger.search import Progress

STDIN = Path("-")


class ContractSource(Protocol):
    """A Reader, or what reads the contracts of a server, whose `path` is None."""

    @property
    def path(self) -> LedgerLocation | None:
        """Where the ledger is."""
        ...

    def stream(self, which: Filter = EVERYTHING, progress: Progress | None = None) -> Iterator[Record]:
        """Every contract that matches, oldest first."""
        ...


def export_contracts(
    source: ContractSource,
    which: Filter,
    form: str,
    output: Path | BinaryIO,
    progress: Progress | None = None,
    fields: Sequence[str] = FIELDS,
) -> None:
    """Write these fields of the contracts that match `which`, oldest first, as `jsonl`, `csv` or `tsv`.

    JSONL with `since` also contains older REQUESTs that are open or have ended since, so that it brings a copy up to date.
    Uses constant memory. A file is created or replaced only when it is complete. Raises UsageError if it cannot be written,
    and LedgerError. `progress` is called with the position that was reached and the last one.
    """
    if form == "jsonl":
        which = replace(which, since=None, changed_since=which.since)
    with open_output(output, source.path) as out:
        contract_files.WRITERS[form](source.stream(which, progress), fields, out)
        out.flush()


def import_contracts(ledger: LedgerLocation, file: Path, progress: Progress | None = None) -> ImportCounts:
    """Import the contracts of `file` (`-` is standard input): JSONL, or a session file of the older JSON store.

    A contract that the ledger has already is skipped, and an open REQUEST that has progressed in the file is updated. The
    import stops at the first contract that it cannot import. Everything before it is committed, and the hint of the error
    contains the number of these contracts, so the file can be fixed and imported again. Raises NotFound, InvalidJSON, UsageError,
    Conflict or LedgerError. `progress` is called with bytes read and the size of the file, if that is known.
    """
    counts = ImportCounts()
    try:
        with _open_input(file) as stream, Database(ledger).transactions() as connection:
            size = os.fstat(stream.fileno()).st_size
            contracts = contract_files.read_contracts(stream, "standard input" if file == STDIN else str(file))
            for _ in import_batches(connection, ledger, contracts, counts):
                if progress is not None and size:
                    progress(min(stream.tell(), size), size)
    except AorchError as error:
        if counts != ImportCounts():
            updated = f", {counts.updated} updated" if counts.updated else ""
            before = f"Contracts before it: {counts.new} imported{updated}, {counts.present} skipped."
            error.hint = f"{error.hint} {before}".strip()
        raise
    return counts


@contextmanager
def _open_input(file: Path) -> Iterator[BinaryIO]:
    if file == STDIN and sys.stdin is None:
        raise UsageError("standard input is closed", "Give it a pipe or a file: … < FILE.")
    try:
        with nullcontext(sys.stdin.buffer) if file == STDIN else file.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise NotFound(f"file not found: {file}", "Check the path.") from error
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", "Check the path.") from error


@contextmanager
def open_output(output: Path | BinaryIO, ledger: LedgerLocation | None) -> Iterator[BinaryIO]:
    if not isinstance(output, Path):
        yield output
        return
    try:
        if ledger is not None and Database(ledger).is_stored_in(output):
            raise UsageError(f"{output} is the ledger itself", "Give another file with --output.")
        with _replacing(output) as out:
            yield out
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}", "Choose another file with --output.") from error


@contextmanager
def _replacing(output: Path) -> Iterator[BinaryIO]:
    if output.exists() and not output.is_file():  # a pipe or a device
        with output.open("wb") as out:
            yield out
        return
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as out:
            yield out
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
