"""The Ledger: a store of contracts on one SQLite file.

Writing: every method returns when its rows are durable (committed with `synchronous=FULL`).
Starting: what a dead process left open is answered by an `interrupted` RESPONSE; nothing is run again.
"""

import os
from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.clock import now
from aorch.errors import Conflict, LedgerError, LedgerGone
from aorch.ledger import statements, task_queue
from aorch.ledger.changes import Changes
from aorch.ledger.database import (
    Connection,
    ConstraintError,
    Database,
    ProcessLock,
    as_ledger_error,
    dead_owner,
    is_alive,
    is_taken_key,
    owner_ids,
    transaction,
    translated,
)
from aorch.ledger.record import Record, new_request_values, response_values, root_request_values, root_result_values
from aorch.ledger.task_keys import TaskKey
from aorch.ledger.writer import Statement, Writer
from aorch.process.forking import forget_in_child

REMEMBERED = 256
"""REQUESTs whose ancestors are kept in memory."""


class DueWebhook(NamedTuple):
    """A webhook that is to be sent now, after so many attempts."""

    request_id: str
    url: str
    attempts: int


class Entry(NamedTuple):
    """A pending REQUEST for the queue, which may be claimed from `due_at` on (RFC 3339), else at once; `webhook` is the URL
    that is to hear of its end.
    """

    request: Record
    priority: int
    due_at: str | None = None
    expires_at: str | None = None
    webhook: str | None = None

    def statements(self) -> list[Statement]:
        """What puts it there."""
        entry: list[Statement] = [
            (statements.ENQUEUE, (*self.request, self.priority, self.due_at, self.expires_at)),
        ]
        if self.webhook is not None:
            entry.append((statements.INSERT_WEBHOOK, (self.request.contract_id, self.webhook)))
        return entry


class Ledger:
    """The ledger at `path`, open for writing by this process until `close`.

    Opening makes or upgrades the file and answers what dead processes left open. Raises LedgerError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path)
        self.changes = Changes(self._database)
        """Calls those who wait in an event loop after commits."""
        connection = self._database.connect()
        with ExitStack() as opened, translated(path):
            opened.callback(connection.close)
            self._owner = ProcessLock(path)
            opened.callback(self._owner.close)
            _recover(connection, path)
            opened.pop_all()
        self._file: tuple[int, int] | None = None
        with suppress(OSError):  # if it is gone already, `check_file` says so
            self._file = (found := path.stat()).st_dev, found.st_ino
        self.owner_id = self._owner.owner_id
        """`claimed_by` of the REQUESTs that this process executes."""
        self._writer = Writer(connection, self.check_file, partial(as_ledger_error, path))
        self._forked = False
        forget_in_child(self)
        self._ancestors: dict[str, list[tuple[str, str]]] = {}

    def check_file(self) -> None:
        """Raise LedgerGone if the file at `path` is not the one that is open here, to which writes would be lost."""
        try:
            found = os.stat(self.path)  # noqa: PTH116  each transaction does it, and Path.stat takes three times as long
            is_same = (found.st_dev, found.st_ino) == self._file
        except OSError:
            is_same = False
        if not is_same:
            raise LedgerGone(
                f"the ledger {self.path} was removed, or another file was put in its place",
                "Put the file back, or start this process anew.",
            )

    # Writing

    def write_request(self, request: Record, key: TaskKey | None = None) -> Awaitable[None]:
        """Commit a REQUEST that is about to be executed, or waits for its agent (status `pending`).

        `key` is committed with it. Raises Conflict if the key has been used: then neither is in the ledger.
        """
        insert = (statements.INSERT_ROOT_REQUEST, root_request_values(request))
        if request.parent_id is not None:
            insert = (statements.INSERT_REQUEST, new_request_values(request))
        if key is None:
            return self._writer.submit([insert]).waiter
        return self._write_once(request, key, [insert])

    async def write_generation(self, name: str, generation: str) -> None:
        """Commit that the batch with that name starts from the beginning, as that `generation`."""
        await self._writer.commit((statements.START_BATCH, (name, generation)))

    async def write_refused(self, request: Record, response: Record, key: TaskKey | None = None) -> None:
        """Commit a REQUEST together with the RESPONSE that says why no agent was called; `key` as with `write_request`."""
        rows: list[Statement] = [(statements.INSERT_CONTRACT, request), (statements.INSERT_CONTRACT, response)]
        if key is None:
            await self._writer.commit(*rows)
        else:
            await self._write_once(request, key, rows)

    async def enqueue(self, entry: Entry, key: TaskKey | None = None) -> None:
        """Commit a REQUEST that whoever works on the queue may claim; `key` as with `write_request`."""
        if key is None:
            await self._writer.commit(*entry.statements())
        else:
            await self._write_once(entry.request, key, entry.statements())

    async def enqueue_all(self, entries: Iterable[Entry], refused: Iterable[tuple[Record, Record]]) -> None:
        """Commit these together, in their order, and REQUESTs that were refused, each with its RESPONSE."""
        rows = [statement for entry in entries for statement in entry.statements()]
        await self._writer.commit(*rows, *((statements.INSERT_CONTRACT, row) for pair in refused for row in pair))

    async def claim(
        self, capacities: Sequence[task_queue.Capacity], most: int, wanted: Callable[[], bool] = lambda: True
    ) -> list[Record]:
        """Claim for this process what comes first of the queue (queue.py says how), and commit that.

        Up to `most`, for which there are `capacities`. Writes nothing where there is nothing to claim, and nothing whose time
        has come. Claims nothing if `wanted` answers False while this waits for the write lock.
        """
        with self._database.read() as connection:
            if not task_queue.has_work(connection, capacities):
                return []
        claimed = await self._writer.work_while(
            wanted, lambda connection: task_queue.claim(connection, self.owner_id, capacities, most)
        )
        return claimed or []

    async def cancel(self, request_id: str, by: str) -> str:
        """Cancel a REQUEST, whoever runs it, and return its status: `in_progress` where its owner has yet to hear of it.

        Raises NotFound, for a RESPONSE too; Conflict for one that was imported while it was open.
        """
        return await self._writer.work(lambda connection: task_queue.cancel(connection, request_id, by))

    async def give_back(self, request_id: str, *, called: bool) -> None:
        """Let a claimed REQUEST wait again where that is safe, and answer it with `interrupted` where it is not.

        It is where its agent was not `called`, and where its capability is idempotent.
        """
        await self._writer.work(
            lambda connection: task_queue.release_or_interrupt(connection, request_id, called=called)
        )

    async def recover_lost(self) -> None:
        """Take care of what processes that died since left open. Writes nothing where none did."""
        claimed = [owner_id for (owner_id,) in self._read(statements.CLAIM_OWNERS)]
        if dead := [owner_id for owner_id in claimed if not is_alive(self.path, owner_id)]:
            await self._writer.work(lambda connection: _answer_lost(connection, self.path, dead))

    async def webhook_sent(self, request_id: str) -> None:
        """Commit that its webhook was taken."""
        await self._writer.commit((statements.DELETE_WEBHOOK, (request_id,)))

    async def webhook_failed(self, request_id: str, attempts: int, again_at: str | None, error: str) -> None:
        """Commit that its webhook was not taken, why, and when to try again (None: no more)."""
        await self._writer.commit((statements.FAIL_WEBHOOK, (attempts, again_at, error, request_id)))

    async def webhooks_gone(self, url: str, error: str) -> None:
        """Commit that no webhook that waits for `url` is to be sent, and why."""
        await self._writer.commit((statements.GIVE_UP_URL, (error, url)))

    def write_start(self, request_id: str) -> Awaitable[None]:
        """Commit that a pending REQUEST is now in progress."""
        return self._writer.commit((statements.START_REQUEST, (request_id,)))

    def write_response(
        self, response: Record, request_status: str, *, webhook: bool = False, last: bool = False
    ) -> Future[None]:
        """Commit a RESPONSE, whose payload is empty, and its REQUEST's end; where it has a `webhook`, that it is due.

        `last` is for where nobody waited for the REQUEST to be durable: what was to be written before goes first, and
        nothing is written where the REQUEST was not. Raises Conflict where the REQUEST has been answered already: the
        first answer stands.
        """
        insert = (statements.INSERT_ROOT_RESULT, root_result_values(response))
        if response.parent_id is not None or response.error is not None:
            insert = (statements.INSERT_RESPONSE, response_values(response))
        finish = (statements.FINISH_REQUEST, (request_status, response.created_at, response.request_id))
        rows: list[Statement] = [insert, finish]
        if webhook:
            rows.append((statements.WEBHOOK_IS_DUE, (response.created_at, response.request_id)))
        request_id = response.request_id
        if last:
            return self._writer.submit((), partial(_answer_if_asked, request_id, rows), request_id).waiter
        return self._writer.submit(rows, None, request_id).waiter

    async def _write_once(self, request: Record, key: TaskKey, rows: list[Statement]) -> None:
        """A used key goes before a cancellation: there is no REQUEST then to be answered."""
        try:
            await self._writer.commit_or_refuse(key.insert(request.contract_id), *rows)
        except ConstraintError as error:
            if not is_taken_key(error):  # a contract has none that could be taken
                raise
            raise Conflict(key.conflict) from error

    # Reading what writing depends on

    def ancestors(self, contract_id: str) -> list[tuple[str, str]]:
        """From that REQUEST to the root of its delegation: contract_id, capability. Nothing for a RESPONSE.

        Remembered for the last ones asked for, since they never change: a fan-out asks for the same ten thousand times.
        """
        above = self._ancestors.pop(contract_id, None)
        if above is None:
            above = [(found, capability) for found, _, capability in self._read(statements.ANCESTORS, contract_id)]
        if above:
            self._ancestors[contract_id] = above
            if len(self._ancestors) > REMEMBERED:
                del self._ancestors[next(iter(self._ancestors))]
        return above

    def agent_of(self, contract_id: str) -> str | None:
        """The agent that does that REQUEST; None where it is queued for any, or not there. A claim changes it."""
        found = self._read(statements.AGENT_OF_REQUEST, contract_id)
        return found[0][0] if found else None

    def payload(self, contract_id: str) -> str | None:
        """What that REQUEST asks, JSON text; None where it is not there."""
        found = self._read(statements.PAYLOAD_OF_REQUEST, contract_id)
        return str(found[0][0]) if found else None

    def tried(self, contract_id: str, from_agent: str) -> Iterator[tuple[str, str | None, str, str, str, int, str]]:
        """What `from_agent` asked for on behalf of that REQUEST, and of those that it resumes (`metadata.resumes`).

        Oldest first: contract_id, to_agent, capability, payload (JSON text), status, 1 if it waits or runs here now,
        metadata (JSON text).
        """
        with self._database.read() as connection:
            yield from connection.execute(statements.STEPS_OF_TRIES, (contract_id, from_agent))

    def response_id(self, request_id: str) -> str | None:
        """The contract id of the RESPONSE to that REQUEST; None where there is none."""
        found = self._read(statements.RESPONSE_TO, request_id)
        return str(found[0][0]) if found else None

    def result(self, request_id: str) -> Any:
        """The data of the RESPONSE to that REQUEST; None where there is none."""
        found = self._read(statements.RESULT_OF_REQUEST, request_id)
        return jsonio.decode(found[0][0]) if found and found[0][0] is not None else None

    def _read(self, sql: str, *parameters: object) -> list[Any]:
        with self._database.read() as connection:
            return connection.execute(sql, parameters).fetchall()

    def due_webhooks(self, moment: str, most: int, hosts: Collection[str], urls: Collection[str]) -> list[DueWebhook]:
        """Up to `most` webhooks that are due at that moment (RFC 3339), the longest due first; none to these `hosts`
        (`addresses.host_of`) and `urls`.
        """
        given = (moment, jsonio.encode(list(hosts)), jsonio.encode(list(urls)), most)
        return [DueWebhook(*row) for row in self._read(statements.DUE_WEBHOOKS, *given)]

    def next_webhook_at(self) -> str | None:
        """When the next webhook is due, or was (RFC 3339); None if none is."""
        found: str | None = self._read(statements.NEXT_WEBHOOK_AT)[0][0]
        return found

    def next_moment(self) -> str | None:
        """When something in the queue will be due, or expire (RFC 3339)."""
        with self._database.read() as connection:
            return task_queue.next_time(connection)

    def cancelled(self) -> dict[str, str]:
        """What this process runs and somebody has cancelled: contract_id, and by whom."""
        return dict(self._read(statements.CANCELLED_CLAIMS, self.owner_id))

    def queue_length(self) -> int:
        """How many REQUESTs wait for a worker or for their time. Reads two indexes from end to end."""
        return int(self._read(statements.QUEUE_LENGTH)[0][0])

    def waiting(self) -> list[tuple[str, str | None, int]]:
        """What could be begun now: a capability, the agent that is insisted on or None, how many. Reads one index."""
        return self._read(statements.QUEUED_COUNTS)

    def close(self) -> None:
        """Commit what is queued and let go of the file."""
        if self._forked:
            return
        self._writer.close()
        self._database.close()
        self._owner.close()

    def forget(self) -> None:
        """In a forked child: every method raises LedgerError from now on, and `close` leaves the parent's files alone."""
        self._forked = True
        self._database.forget()
        self._writer.forget()


def _answer_if_asked(request_id: str | None, rows: list[Statement], connection: Connection) -> None:
    if connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone() is not None:
        for sql, parameters in rows:
            connection.execute(sql, parameters)


def recover(path: Path) -> None:
    """Answer what dead processes left open in the ledger at `path`, and what expired, so that a reader sees how it ended.

    Writes only where there is such a thing. Raises LedgerError where it cannot be written, and OSError.
    """
    if not _overdue(path):
        return
    with Database(path).transactions() as connection:
        _recover(connection, path)


def _overdue(path: Path) -> bool:
    try:
        with Database(path).peek() as connection:
            if connection.execute(statements.EXPIRED_REQUESTS, (now(), 1)).fetchone():
                return True
            claimed = connection.execute(statements.CLAIM_OWNERS).fetchall()
    except LedgerError:
        return False
    return any(not is_alive(path, owner_id) for (owner_id,) in claimed)


def _recover(connection: Connection, path: Path) -> None:
    if connection.execute(statements.EXPIRED_REQUESTS, (now(), 1)).fetchone():
        with transaction(connection):
            task_queue.expire(connection)
    claimed = [owner_id for (owner_id,) in connection.execute(statements.CLAIM_OWNERS)]
    dead = [each for each in dict.fromkeys([*claimed, *owner_ids(path)]) if not is_alive(path, each)]
    if dead:
        with transaction(connection):
            _answer_lost(connection, path, dead)


def _answer_lost(connection: Connection, path: Path, owner_ids: Iterable[str]) -> None:
    """Answer what those owners left open, as far as they are dead; in a transaction of the caller."""
    for owner_id in owner_ids:
        with dead_owner(path, owner_id) as dead:
            if dead:
                task_queue.release_or_interrupt_all(connection, owner_id)
