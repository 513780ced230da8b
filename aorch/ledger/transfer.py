"""Export and import: a ledger carried away in a file, and taken in again."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from aorch.errors import AorchError, NotFound, UsageError
from aorch.ledger import contract_files, importing
from aorch.ledger.database import Database
from aorch.ledger.importing import Taken
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.search import Progress

STDIN = Path("-")


def export_contracts(
    ledger: Path, which: Filter, form: str, output: Path | BinaryIO, progress: Progress | None = None
) -> None:
    """Write the contracts that `which` lets pass, oldest first, as `jsonl` or `csv`.

    JSONL with `since` also has the REQUESTs before it that are open or have ended since, so that it brings a copy up to date.
    In constant memory, whatever the ledger's size. A file appears (or is replaced) only once it is whole. Raises
    UsageError where it cannot be written, and LedgerError. `progress` hears the position that was reached, of how many.
    """
    if form == "jsonl":
        which = replace(which, since=None, changed_since=which.since)
    with _opened(output, ledger) as out, Reader(ledger, progress) as reader:
        contract_files.WRITERS[form](reader.stream(which, progress), out)
        out.flush()


def import_contracts(ledger: Path, file: Path, progress: Progress | None = None) -> Taken:
    """Take in the contracts of `file` (`-` is stdin): JSONL, or a session file of the older JSON store.

    A contract that is there already and equal is skipped; a REQUEST that has come further in `file` comes as far here, and
    one that has come further here stays. At the first that cannot be taken the import stops; all before
    it are durable, and the error's hint says how many, so that a mended file can be imported again. Raises NotFound,
    InvalidJSON, UsageError, Conflict or LedgerError. `progress` hears bytes, where the file has a size.
    """
    taken = Taken()
    try:
        with _reading(file) as stream, Database(ledger).transactions() as connection:
            size = os.fstat(stream.fileno()).st_size
            contracts = contract_files.read(stream, "standard input" if file == STDIN else str(file))
            for _ in importing.take_in(connection, ledger, contracts, taken):
                if progress is not None and size:
                    progress(min(stream.tell(), size), size)
    except AorchError as error:
        if taken.new or taken.updated or taken.present:
            updated = f", {taken.updated} updated" if taken.updated else ""
            before = f"Before it, {taken.new} were taken in{updated} and {taken.present} were there already."
            error.hint = f"{error.hint} {before}".strip()
        raise
    return taken


@contextmanager
def _reading(file: Path) -> Iterator[BinaryIO]:
    if file == STDIN and sys.stdin is None:
        raise UsageError("standard input is closed", "Give it a pipe or a file: … < FILE.")
    try:
        with nullcontext(sys.stdin.buffer) if file == STDIN else file.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise NotFound(f"the file {file} is not there") from error
    except OSError as error:
        raise UsageError(f"the file {file} cannot be read: {error.strerror}") from error


@contextmanager
def _opened(output: Path | BinaryIO, ledger: Path) -> Iterator[BinaryIO]:
    if not isinstance(output, Path):
        yield output
        return
    try:
        if output.exists() and ledger.exists() and output.samefile(ledger):
            raise UsageError(f"{output} is the ledger itself", "Name another file by --output.")
        with _whole(output) as out:
            yield out
    except OSError as error:
        raise UsageError(f"the file {output} cannot be written: {error.strerror}") from error


@contextmanager
def _whole(output: Path) -> Iterator[BinaryIO]:
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
