"""Checks that everything in a ledger agrees: its file, its contracts with each other, and what follows from them."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import Connection, Database, statements, transaction
from aorch.ledger.upkeep import (
    damages,
    miscounted,
    rebuild,
    require,
    schema_differences,
    sessions_with_wrong_turns,
    sizes_of,
    wrong_in_full_text,
    wrong_in_session_index,
)

MOST = 20
"""Maximum number of ids that a finding names."""

_IMPORT = "Import an export that contains it with `aorch contracts import`, or restore a backup."
_BACKUP = "Another program changed it: restore a backup with `aorch ledger restore FILE`."
_FIX = "`aorch ledger check --fix` creates it anew from the contracts."
_HARMLESS = "Another program deleted the contracts: restore a backup that has them, if you need them."
_CONTRADICTIONS = (
    ("responses", statements.RESPONSES_WITHOUT_REQUEST, "a RESPONSE without its REQUEST", _IMPORT),
    ("requests", statements.ENDED_WITHOUT_RESPONSE, "a REQUEST that ended without a RESPONSE", _IMPORT),
    ("states", statements.OPEN_WITH_RESPONSE, "an open REQUEST that has a RESPONSE", _BACKUP),
    ("states", statements.OTHER_STATUS_THAN_RESPONSE, "a REQUEST with another status than its RESPONSE", _BACKUP),
    ("states", statements.UNKNOWN_STATUS, "an unknown status", _BACKUP),
    ("queue", statements.ENDED_BUT_QUEUED, "a REQUEST that is in the queue although it has started or ended", _BACKUP),
    ("queue", statements.ENDED_BUT_CLAIMED, "a REQUEST that a process claims although it has ended", _BACKUP),
    ("attempts", statements.ATTEMPTS_WITHOUT_REQUEST, "attempts of a REQUEST that does not exist", _HARMLESS),
    ("keys", statements.KEYS_WITHOUT_REQUEST, "an idempotency key of a REQUEST that does not exist", _HARMLESS),
    ("batches", statements.LINES_WITHOUT_REQUEST, "a line of a batch whose REQUEST does not exist", _HARMLESS),
    ("retries", statements.RETRIES_WITHOUT_REQUEST, "a retry that does not exist", _HARMLESS),
    ("webhooks", statements.WEBHOOKS_WITHOUT_REQUEST, "a webhook of a REQUEST that does not exist", _HARMLESS),
)


class Finding(NamedTuple):
    """Something that does not agree: in which `check`, what, how many `times` (None: it cannot be counted), the first MOST ids
    or positions, and the next step.
    """

    check: str
    problem: str
    times: int | None
    subjects: list[str]
    next_step: str


Progress = Callable[[str], None]
"""Called with the name of each check before it starts."""


def check(path: LedgerLocation, *, fix: bool = False, progress: Progress = lambda _: None) -> list[Finding]:
    """Check the ledger at `path` as it is; nothing is written, unless it is to `fix` what follows from the contracts.

    In a damaged file, and in one of another revision, only the file itself is checked. Raises NotFound and LedgerError.
    """
    require(path)
    with Database(path).peek() as connection:
        if findings := list(_file_findings(connection, progress)):
            return findings
        sizes = sizes_of(connection, tables=False)
        if sizes.revision != sizes.newest_revision:
            return findings
    if fix:
        with Database(path) as database, database.transactions() as connection:
            if any(_derived_findings(connection, progress)):
                with transaction(connection):
                    rebuild(connection)
    with Database(path).peek() as connection:
        connection.execute("BEGIN")  # so that all checks see one moment, while others write
        findings += _derived_findings(connection, progress)
        findings += _contradictions(connection, progress)
        connection.execute("COMMIT")
    return findings


def _file_findings(connection: Connection, progress: Progress) -> Iterator[Finding]:
    progress("file")
    for damage in damages(connection):
        yield Finding(
            "file", f"the file is damaged: {damage}", None, [], "Restore a backup with `aorch ledger restore FILE`."
        )
        break
    else:
        if sizes_of(connection, tables=False).revision is None:
            yield Finding("file", "the file is empty", None, [], "Run a task, or restore a backup.")


def _derived_findings(connection: Connection, progress: Progress) -> Iterator[Finding]:
    progress("schema")
    for name, problem in schema_differences(connection):
        next_step = "Restore a backup, or import an export of this ledger into a new one with `aorch contracts import`."
        yield Finding("schema", f"the {name} {problem}", 1, [name], next_step)
    progress("counts")
    if (difference := miscounted(connection)) is not None:
        yield Finding("counts", f"the number of contracts is wrong: {difference}", 1, [], _FIX)
    for name, label, find in (
        ("sessions", "the session index", wrong_in_session_index),
        ("turns", "the index of turns", sessions_with_wrong_turns),
        ("full text", "the full-text index", wrong_in_full_text),
    ):
        progress(name)
        if wrong := find(connection):
            problem = f"{label} does not match the contracts"
            yield Finding(name, problem, len(wrong), [str(each) for each in wrong[:MOST]], _FIX)


def _contradictions(connection: Connection, progress: Progress) -> Iterator[Finding]:
    for name, statement, problem, next_step in _CONTRADICTIONS:
        progress(name)
        rows = connection.execute(statement)
        subjects = [str(each) for (each,) in islice(rows, MOST)]
        if subjects:
            yield Finding(name, problem, len(subjects) + sum(1 for _ in rows), subjects, next_step)
