"""Backups of a ledger in a PostgreSQL database, by PostgreSQL's own programs pg_dump and pg_restore.

A backup is a file in their custom format. Both programs get the URL of the ledger, which contains no password, and find the
password as libpq does.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import Conflict, LedgerError, LedgerInvalid, LedgerTooNew, NotFound, UsageError
from aorch.ledger.postgres import statements
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.failures import translated
from aorch.ledger.postgres.opening import connect, connect_peeking
from aorch.ledger.postgres.server_checks import revision
from aorch.ledger.postgres.sizes import table_bytes
from aorch.ledger.upkeep_reports import Copied, Progress, Restored

PRIVATE = 0o600
_DUMP = ("pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--no-password")
_RESTORE = (
    "pg_restore",
    *("--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-password"),
)


def back_up(ledger: PostgresUrl, target: Path, *, replace: bool = False, progress: Progress | None = None) -> Copied:
    """Copy the ledger to the file `target` as it is at one moment, while other processes read and write it.

    The file appears under its name once it is complete and on disk, and pg_restore can read it; its mode is 0600. Raises Conflict
    if `target` exists, unless it is to `replace` it, and LedgerError, also if pg_dump is not installed.
    """
    del progress  # pg_dump reports none
    if target.exists() and not replace:
        raise Conflict(f"{target} exists already", "Choose another file, or replace it with --force.")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is not a regular file", "Choose another file.")
    if not target.parent.is_dir():
        raise UsageError(
            f"cannot write {target}: there is no directory {target.parent}", "Create it, or choose another file."
        )
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE))
        with translated(ledger), closing(connect_peeking(ledger)) as connection:
            if revision(connection) is None:
                raise LedgerInvalid(f"{ledger} is not a ledger: it is empty", "Choose another database.")
            snapshot = _exported_snapshot(connection)
            copied = _described(connection)
            _run([*_DUMP, f"--snapshot={snapshot}", f"--file={partial}", f"--dbname={ledger}"])
        _run(["pg_restore", "--list", str(partial)])
        with partial.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        partial.replace(target)
    except OSError as error:
        raise LedgerError(f"cannot write {target}: {error.strerror}", "Choose another file.") from error
    finally:
        partial.unlink(missing_ok=True)
    return copied._replace(bytes=size)


def restore(backup: Path, ledger: PostgresUrl, progress: Progress | None = None) -> Restored:
    """Restore the file `backup` into an empty database, all of it or nothing, and upgrade the ledger.

    Contracts up to the last one may have been delivered to Trace since the backup: they are looked up there before they are sent.
    Raises NotFound without a backup, Conflict if the database is not empty, LedgerTooNew, and LedgerError.
    """
    del progress  # pg_restore reports none
    if not backup.is_file():
        raise NotFound(f"there is no file {backup}", "Name a file that `aorch ledger backup` wrote.")
    with translated(ledger), closing(connection_to(ledger)) as connection:
        if table_bytes(connection):
            raise Conflict(
                f"the database {ledger} is not empty",
                "Create a new database with `createdb`, restore the backup there, and name it with --ledger.",
            )
    before = _revision_in(backup)
    if before > statements.REVISION:
        raise LedgerTooNew(
            f"{backup} has revision {before} of a newer aorch; this aorch supports {statements.REVISION}",
            "Upgrade aorch.",
        )
    _run([*_RESTORE, f"--dbname={ledger}", str(backup)])
    with closing(connect(ledger)) as connection, translated(ledger):
        queued, webhooks = _prepare(connection)
        return Restored(_described(connection), before, None, queued, webhooks)


def _revision_in(backup: Path) -> str:
    """The revision of the ledger in a backup. Raises LedgerInvalid if there is none."""
    script = _run(["pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(backup)])
    found = re.search(r"^COPY .*alembic_version.*\n(\S+)$", script, re.MULTILINE)
    if found is None or found[1] == "\\.":
        raise LedgerInvalid(f"{backup} is not a backup of a ledger", "Name a file that `aorch ledger backup` wrote.")
    return found[1]


def kept_aside(ledger: PostgresUrl) -> list[Path]:
    """None: `restore` replaces no ledger."""
    del ledger
    return []


def _prepare(connection: Connection) -> tuple[int, int]:
    """Let deliveries to Trace count as perhaps sent. Returns the numbers of queued tasks and of due webhooks."""
    with connection.transaction():
        position, reach = connection.execute(statements.OUTBOX_POSITION, ("trace",)).fetchone() or (0, 0)
        (last,) = connection.one(statements.LAST_POSITION)
        if reach:
            connection.execute(statements.ADVANCE_OUTBOX, ("trace", position, max(reach, last)))
    (queued,), (webhooks,) = connection.one(statements.QUEUE_LENGTH), connection.one(statements.DUE_WEBHOOK_COUNT)
    return queued, webhooks


def _exported_snapshot(connection: Connection) -> str:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return str(connection.one("SELECT pg_export_snapshot()")[0])


def _described(connection: Connection) -> Copied:
    (contracts,) = connection.one(statements.CONTRACT_TOTAL)
    newest_at, position = connection.execute(statements.NEWEST_CONTRACT).fetchone() or (None, 0)
    size = sum(table_bytes(connection).values())
    return Copied(size, contracts, position, newest_at, revision(connection) or "")


def _run(command: Sequence[str]) -> str:
    """What a program prints. Raises LedgerError if it fails."""
    program = shutil.which(command[0])
    if program is None:
        raise LedgerError(
            f"{command[0]} is not installed, or not on PATH",
            f"Install PostgreSQL's client programs, or run on another machine: {shlex.join(command)}",
        )
    done = subprocess.run(
        [program, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-500:]
        raise LedgerError(f"{command[0]} failed: {said or f'exit code {done.returncode}'}")
    return done.stdout
