"""The Ledger: a store of contracts on one SQLite file.

Writing: every method returns when its rows are durable (committed with `synchronous=FULL`).
Starting: what a dead process left open is answered by an `interrupted` RESPONSE; nothing is run again.
"""

import asyncio
import errno
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from aorch.errors import AorchError, Conflict, Interrupted, LedgerError, LedgerFull, LedgerReadOnly
from aorch.ledger import owners, statements
from aorch.ledger.batch import Writer
from aorch.ledger.database import connect, translated
from aorch.ledger.row import Row, new_id
from aorch.moments import now

PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, INTERRUPTED = (
    "pending",
    "in_progress",
    "completed",
    "failed",
    "cancelled",
    "interrupted",
)
REQUEST, RESPONSE = "REQUEST", "RESPONSE"


class Ledger:
    """The ledger at `path`, open for writing by this process until `close`.

    Opening makes or upgrades the file and answers what dead processes left open. Raises LedgerError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        connection = connect(path)
        with translated(path):
            try:
                self._owner = owners.Owner(path)
                _recover(connection, path)
            except BaseException as error:
                connection.close()
                if hasattr(self, "_owner"):
                    self._owner.close()
                if not isinstance(error, OSError):
                    raise
                reason = f"{error.filename} could not be written: {error.strerror}"
                raise (LedgerFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else LedgerReadOnly)(reason) from error
        self._writer = Writer(connection, self._translate)
        self._reading: sqlite3.Connection | None = None

    @property
    def owner_id(self) -> str:
        """What stands in `claimed_by` of the exchanges that this process runs."""
        return self._owner.owner_id

    # Writing

    async def write_request(self, request: Row, key: tuple[str, str, str] | None = None) -> None:
        """Commit a REQUEST that is about to be executed, or waits for its agent (status `pending`).

        `key` (caller, idempotency key, the body's fingerprint) is committed with it. Raises Conflict where that caller
        has used it already: then neither is in the ledger.
        """
        if key is None:
            await self._writer.commit((statements.INSERT, request))
        else:
            await self._write_once(request, key)

    async def write_refused(self, request: Row, response: Row) -> None:
        """Commit a REQUEST together with the RESPONSE that says why no agent was called."""
        await self._writer.commit((statements.INSERT, request), (statements.INSERT, response))

    async def write_start(self, request_id: str) -> None:
        """Commit that a pending REQUEST is now in progress."""
        await self._writer.commit((statements.START, (IN_PROGRESS, request_id, PENDING)))

    async def write_response(self, response: Row, request_status: str) -> None:
        """Commit a RESPONSE and its REQUEST's end.

        Raises Conflict where the REQUEST has been answered already: the first answer stands.
        """
        end = (request_status, response.created_at, None, response.request_id)
        try:
            await self._writer.commit((statements.INSERT, response), (statements.COMPLETE, end))
        except sqlite3.IntegrityError as error:
            raise Conflict(f"request {response.request_id} has been answered already") from error

    async def _write_once(self, request: Row, key: tuple[str, str, str]) -> None:
        commit = asyncio.ensure_future(
            self._writer.commit((statements.INSERT_KEY, (*key, request.contract_id)), (statements.INSERT, request))
        )
        try:
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                await commit  # a used key goes before the cancellation: there is no REQUEST then to be answered
                raise
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname != "SQLITE_CONSTRAINT_PRIMARYKEY":  # a contract has none that could be taken
                raise
            raise Conflict(f"the idempotency key {key[1]!r} has been used already") from error

    # Reading what writing depends on

    def ancestors(self, contract_id: str) -> list[tuple[str, str, str, str]]:
        """From that contract to the root of its delegation: contract_id, to_agent, capability, payload (JSON text)."""
        with translated(self.path):
            if self._reading is None:
                self._reading = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            return self._reading.execute(statements.ANCESTORS, (contract_id,)).fetchall()

    def close(self) -> None:
        """Commit what is queued and let go of the file."""
        self._writer.close()
        if self._reading is not None:
            self._reading.close()
        self._owner.close()

    def _translate(self, error: sqlite3.Error) -> AorchError:
        try:
            with translated(self.path):
                raise error
        except AorchError as translation:
            return translation


def recover(path: Path) -> None:
    """Answer what dead processes left open in the ledger at `path`, so that a reader sees how it ended.

    Writes only where there is such a thing; a ledger that is not there or may not be written stays as it is.
    """
    if not _orphaned(path):
        return
    with suppress(LedgerError), closing(connect(path)) as connection, translated(path):
        _recover(connection, path)


def _orphaned(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            claimed = connection.execute(statements.CLAIMED).fetchall()
    except sqlite3.Error:
        return False
    return any(not owners.lives(path, owner_id) for (owner_id,) in claimed)


def _recover(connection: sqlite3.Connection, path: Path) -> None:
    claimed = [owner_id for (owner_id,) in connection.execute(statements.CLAIMED)]
    for owner_id in dict.fromkeys([*claimed, *owners.left_behind(path)]):
        with owners.if_dead(path, owner_id) as dead:
            if dead:
                _answer_orphans(connection, owner_id)


def _answer_orphans(connection: sqlite3.Connection, owner_id: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for request_id, session_id, from_agent, to_agent, capability, parent_id in connection.execute(
            statements.ORPHANS, (owner_id,)
        ).fetchall():
            moment = now()
            response = Row(
                contract_id=new_id(),
                session_id=session_id,
                contract_type=RESPONSE,
                from_agent="orchestrator",
                to_agent=from_agent,
                capability=capability,
                payload="{}",
                status=INTERRUPTED,
                created_at=moment,
                completed_at=moment,
                error=f"interrupted: the process that ran this ended before {to_agent} answered",
                metadata=f'{{"code":"{Interrupted.code}"}}',
                request_id=request_id,
                parent_id=parent_id,
            )
            connection.execute(statements.INSERT, response)
            connection.execute(statements.COMPLETE, (FAILED, moment, None, request_id))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
