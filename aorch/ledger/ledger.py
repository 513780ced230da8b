"""The Ledger: a store of contracts in one SQLite file or PostgreSQL database.

Writing: every method returns when its rows are durable (committed with `synchronous=FULL`, or `synchronous_commit=on`).
Opening: each REQUEST that a dead process left open gets an `interrupted` RESPONSE; nothing is run again.
"""

from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, LedgerBusy
from aorch.ledger import task_queue
from aorch.ledger.attempt import Attempt
from aorch.ledger.changes import Changes
from aorch.ledger.database import (
    Connection,
    ConstraintError,
    Database,
    DatabaseError,
    ProcessLock,
    as_ledger_error,
    is_taken_key,
    package_of,
    statements,
)
from aorch.ledger.lost_requests import answer_lost, dead_processes, recover_open
from aorch.ledger.own_claims import answer_open, still_claims, unclaimed
from aorch.ledger.queue_entry import Entry
from aorch.ledger.record import Record, new_request_values, response_values, root_request_values, root_result_values
from aorch.ledger.required_labels import Waiting, labels_in
from aorch.ledger.task_keys import TaskKey
from aorch.ledger.tried_steps import TriedStep, tried_steps
from aorch.ledger.writer import Statement, Writer
from aorch.process.forking import forget_in_child
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.ledger.agent_rows import WritableAgentRows
    from aorch.ledger.rate_buckets import RateBuckets
    from aorch.ledger.work_queue import WorkQueue

REMEMBERED = 256
"""Number of REQUESTs whose ancestors are cached."""


class DueWebhook(NamedTuple):
    """A webhook that is due; `attempts` is the number of failed attempts so far."""

    request_id: str
    url: str
    attempts: int


class Ledger:
    """The ledger at `path`, open for writing by this process until `close`.

    Opening creates or upgrades the file and answers the REQUESTs that dead processes left open. Raises LedgerError, of which
    LedgerBusy while the ledger is copied (copying.py): the copy would lack the writes of this process.
    """

    def __init__(self, path: LedgerLocation) -> None:
        self.path = path
        package = package_of(path)
        self._database: Database = package.Database(path)
        try:
            with ExitStack() as opened:
                connection: Connection = opened.enter_context(closing(package.connect(path)))
                self._owner: ProcessLock = opened.enter_context(closing(package.ProcessLock(path)))
                if self._owner.is_copied:
                    raise LedgerBusy(f"the ledger {path} is being copied", "Try again when the copy is complete.")
                recover_open(connection, path, self._owner.others)
                self.has_agents = connection.execute(statements.ANY_REGISTERED_AGENT).fetchone() is not None
                """Whether there were registered agents when this was opened."""
                opened.pop_all()
        except DatabaseError as error:
            raise as_ledger_error(path, error) from error
        self.check_file = connection.check_file
        """Raises LedgerGone if another ledger is at `path` than when this was opened."""
        self.owner_id = self._owner.owner_id
        """`claimed_by` of the REQUESTs that this process executes."""
        self._writer = Writer(connection, partial(as_ledger_error, path))
        self._forked = False
        forget_in_child(self)
        self._ancestors: dict[str, list[tuple[str, str]]] = {}

    @cached_property
    def changes(self) -> Changes:
        """Notifies watchers in event loops after commits."""
        return Changes(self._database)

    @cached_property
    def agents(self) -> "WritableAgentRows":
        """The registered agents, and the states of agents."""
        from aorch.ledger.agent_rows import WritableAgentRows  # noqa: PLC0415  `aorch run` does not need it

        return WritableAgentRows(self._database, self._writer)

    @cached_property
    def work(self) -> "WorkQueue":
        """The leases of workers over HTTP."""
        from aorch.ledger.work_queue import WorkQueue  # noqa: PLC0415  only servers have such workers

        return WorkQueue(self._database, self._writer)

    @cached_property
    def rates(self) -> "RateBuckets":
        """The rates of callers."""
        from aorch.ledger.rate_buckets import RateBuckets  # noqa: PLC0415  only servers with a limit use them

        return RateBuckets(self._writer)

    def commits(self) -> tuple[list[int], float]:
        """The number of commits by this process in each of COMMIT_BUCKETS_S (writer.py) and above, and the sum of their durations
        (seconds).
        """
        return self._writer.commit_counts.copy(), self._writer.commits_took_s

    def has_registered_agents(self) -> bool:
        """Whether there are registered agents now. Reads one row."""
        return bool(self._read(statements.ANY_REGISTERED_AGENT))

    # Writing

    def write_request(self, request: Record, key: TaskKey | None = None) -> Awaitable[None]:
        """Commit a REQUEST that is about to be executed, or waits for its agent (status `pending`).

        `key` is committed with it. Raises Conflict if the key was used before; then nothing is written.
        """
        insert = (statements.INSERT_ROOT_REQUEST, root_request_values(request))
        if request.parent_id is not None:
            insert = (statements.INSERT_REQUEST, new_request_values(request))
        if key is None:
            return self._writer.submit([insert]).waiter
        return self._write_once(request, key, [insert])

    async def write_generation(self, name: str, generation: str) -> None:
        """Commit that a run of the batch `name` starts from the beginning, with this `generation`."""
        await self._writer.commit((statements.START_BATCH, (name, generation)))

    async def write_refused(self, request: Record, response: Record, key: TaskKey | None = None) -> None:
        """Commit a REQUEST and the RESPONSE that states why no agent was called; `key` as in `write_request`."""
        rows: list[Statement] = [(statements.INSERT_CONTRACT, request), (statements.INSERT_CONTRACT, response)]
        if key is None:
            await self._writer.commit(*rows)
        else:
            await self._write_once(request, key, rows)

    async def enqueue(self, entry: Entry, key: TaskKey | None = None) -> None:
        """Commit a REQUEST to the queue, where any worker may claim it; `key` as in `write_request`."""
        if key is None:
            await self._writer.commit(*entry.statements())
        else:
            await self._write_once(entry.request, key, entry.statements())

    async def enqueue_all(self, entries: Iterable[Entry], refused: Iterable[tuple[Record, Record]]) -> None:
        """Commit these entries in order, and the rejected REQUESTs with their RESPONSEs, in one transaction."""
        rows = [statement for entry in entries for statement in entry.statements()]
        await self._writer.commit(*rows, *((statements.INSERT_CONTRACT, row) for pair in refused for row in pair))

    async def claim(
        self, capacities: Sequence[task_queue.Capacity], most: int, wanted: Callable[[], bool] = lambda: True
    ) -> list[Record]:
        """Claim up to `most` REQUESTs for this process, in the order of the queue (task_queue.py), and commit the claims.

        Claims only REQUESTs for which `capacities` has room. Writes nothing if there is nothing to claim and no REQUEST
        is due or expired. Claims nothing if `wanted` returns False while this waits for the write lock.
        """
        self._owner.check()
        with self._database.read() as connection:
            if not task_queue.has_work(connection, capacities):
                return []
        claimed = await self._writer.work_while(
            wanted, lambda connection: task_queue.claim(connection, self.owner_id, capacities, most)
        )
        return claimed or []

    async def cancel(self, request_id: str, by: str) -> str:
        """Cancel a REQUEST of any process and return its status: `in_progress` until its owner notices the
        cancellation.

        Raises NotFound (also for a RESPONSE), and Conflict for a REQUEST that was imported while it was open.
        """
        return await self._writer.work(lambda connection: task_queue.cancel(connection, request_id, by))

    async def give_back(self, request_id: str, *, called: bool, due_at: str | None = None) -> None:
        """Queue a REQUEST that this process still claims again if that is safe; otherwise answer it with `interrupted`.

        It is safe if its agent was not `called`, or if its capability is idempotent. With `due_at` it waits until then.
        """

        def release(connection: Connection) -> None:
            if still_claims(connection, self.owner_id, request_id):
                task_queue.release_or_interrupt(connection, request_id, called=called, due_at=due_at)

        await self._writer.work(release)

    async def release_unstarted(self, running: Collection[str]) -> None:
        """Queue the REQUESTs again that this process has claimed but does not run: it was unknown whether it had claimed them."""
        await self._writer.work(lambda connection: task_queue.release_unstarted(connection, self.owner_id, running))

    async def recover_lost(self) -> None:
        """Answer the REQUESTs of processes that have died since. Writes nothing if there are none.

        Raises LedgerError, also while the other processes cannot see that this one is alive.
        """
        self._owner.check()
        claimed = [owner_id for (owner_id,) in self._read(statements.CLAIM_OWNERS) if owner_id != self.owner_id]
        if claimed and (dead := await in_thread(dead_processes, self.path, claimed)):
            await self._writer.work(lambda connection: answer_lost(connection, self.path, dead))

    async def webhook_sent(self, request_id: str) -> None:
        """Commit that the receiver accepted the webhook of this REQUEST."""
        await self._writer.commit((statements.DELETE_WEBHOOK, (request_id,)))

    async def webhook_failed(self, request_id: str, attempts: int, again_at: str | None, error: str) -> None:
        """Commit why an attempt to send the webhook failed, and when to retry (None: never)."""
        await self._writer.commit((statements.FAIL_WEBHOOK, (attempts, again_at, error, request_id)))

    async def webhooks_gone(self, url: str, error: str) -> None:
        """Give up all webhooks for `url`, and commit the reason."""
        await self._writer.commit((statements.GIVE_UP_URL, (error, url)))

    def write_start(self, request_id: str) -> Awaitable[None]:
        """Commit that a pending REQUEST is now in progress."""
        return self._writer.commit((statements.START_REQUEST, (request_id,)))

    def write_attempts(self, *attempts: Attempt) -> Awaitable[None]:
        """Commit these attempts of a REQUEST, or how they ended."""
        return self._writer.commit(*((statements.PUT_ATTEMPT, attempt) for attempt in attempts))

    def write_progress(self, reported: Iterable[tuple[str, str, str]], ended: Iterable[str]) -> Future[None]:
        """Commit the progress of running tasks (REQUEST, time, JSON text), and delete that of ended ones."""
        rows: list[Statement] = [(statements.PUT_PROGRESS, row) for row in reported]
        return self._writer.commit(*rows, *((statements.DELETE_PROGRESS, (each,)) for each in ended))

    def write_response(
        self, response: Record, request_status: str, *, webhook: bool = False, last: bool = False
    ) -> Future[None]:
        """Commit a RESPONSE (with an empty payload) and the end of its REQUEST. With `webhook`, its webhook is due
        then.

        With `last`, the REQUEST may not be durable yet: earlier writes go first, and the RESPONSE is written only if the
        REQUEST was written. Raises Conflict if the REQUEST has been answered already; the first answer is kept. Raises ClaimLost.
        """
        insert = (statements.INSERT_ROOT_RESULT, root_result_values(response))
        if response.parent_id is not None or response.error is not None:
            insert = (statements.INSERT_RESPONSE, response_values(response))
        finish = (statements.FINISH_REQUEST, (request_status, response.created_at, response.request_id))
        rows: list[Statement] = [insert, finish]
        if webhook:
            rows.append((statements.WEBHOOK_IS_DUE, (response.created_at, response.request_id)))
        request_id = response.request_id
        if last or not self._owner.is_undisputed:
            claimed_by = None if self._owner.is_undisputed else self.owner_id
            return self._writer.submit((), partial(answer_open, request_id, claimed_by, rows), request_id).waiter
        return self._writer.submit(rows, None, request_id).waiter

    async def _write_once(self, request: Record, key: TaskKey, rows: list[Statement]) -> None:
        """Write `rows` with the key.

        Raises Conflict for a used key even if cancelled: then there is no REQUEST to answer.
        """
        try:
            await self._writer.commit_or_refuse(*key.inserts(request.contract_id), *rows)
        except ConstraintError as error:
            if not is_taken_key(error):  # contracts have no key that could be taken
                raise
            raise Conflict(key.conflict) from error

    # Reads that writing depends on

    def attempts(self, *request_ids: str) -> list[Attempt]:
        """The attempts of these REQUESTs, each in order. None for one that needed only one."""
        return [Attempt(*row) for row in self._read(statements.ATTEMPTS_OF, jsonio.encode(request_ids))]

    def ancestors(self, contract_id: str) -> list[tuple[str, str]]:
        """(contract_id, capability) of that REQUEST and its ancestors, up to the root. Empty for a RESPONSE.

        The latest results are cached, since they never change: a fan-out reads the same ones ten thousand times.
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
        """The agent that runs that REQUEST; None if it is queued for any agent or does not exist.

        A claim changes it.
        """
        found = self._read(statements.AGENT_OF_REQUEST, contract_id)
        return found[0][0] if found else None

    def metadata(self, request_id: str) -> str:
        """The metadata of that REQUEST as JSON text; that of one that does not exist is empty."""
        found = self._read(statements.PARENT_OF, request_id)
        return found[0][1] if found else "{}"

    def payload(self, contract_id: str) -> str | None:
        """The payload of that REQUEST as JSON text; None if there is no such REQUEST."""
        found = self._read(statements.PAYLOAD_OF_REQUEST, contract_id)
        return str(found[0][0]) if found else None

    async def tried(self, contract_id: str, from_agent: str) -> list[TriedStep]:
        """The REQUESTs of `from_agent` below that REQUEST and its other tries, the oldest first."""
        with self._database.read() as connection:
            return tried_steps(connection, contract_id, from_agent)

    def response_id(self, request_id: str) -> str | None:
        """The contract id of the RESPONSE to that REQUEST; None if there is none."""
        found = self._read(statements.RESPONSE_TO, request_id)
        return str(found[0][0]) if found else None

    async def step_result(self, contract_id: str, step_id: str) -> Any:
        """The data of the RESPONSE to `step_id`, which `tried` of that REQUEST has returned; None if there is none."""
        found = self._read(statements.RESULT_OF_REQUEST, step_id)
        return jsonio.decode(found[0][0]) if found and found[0][0] is not None else None

    def _read(self, sql: str, *parameters: object) -> list[Any]:
        with self._database.read() as connection:
            return connection.execute(sql, parameters).fetchall()

    def due_webhooks(self, moment: str, most: int, hosts: Collection[str], urls: Collection[str]) -> list[DueWebhook]:
        """Up to `most` webhooks that are due at that moment (RFC 3339), the longest due first. Leaves out webhooks to
        these `hosts` (`addresses.host_of`) and `urls`.
        """
        given = (moment, jsonio.encode(list(hosts)), jsonio.encode(list(urls)), most)
        return [DueWebhook(*row) for row in self._read(statements.DUE_WEBHOOKS, *given)]

    def next_webhook_at(self) -> str | None:
        """When the next webhook is due or has been due (RFC 3339); None if there is none."""
        found: str | None = self._read(statements.NEXT_WEBHOOK_AT)[0][0]
        return found

    def next_moment(self) -> str | None:
        """When the next queued REQUEST is due or expires (RFC 3339)."""
        with self._database.read() as connection:
            return task_queue.next_time(connection)

    def cancelled(self) -> dict[str, str]:
        """The cancelled REQUESTs that this process runs: by contract_id, who cancelled it."""
        return dict(self._read(statements.CANCELLED_CLAIMS, self.owner_id))

    @property
    def losses(self) -> int:
        """How often other processes may have taken this one for dead (own_claims.py)."""
        return self._owner.losses

    def unclaimed(self, running: Iterable[str]) -> set[str]:
        """Those of `running`, the REQUESTs that this process runs, that it does not claim any more."""
        with self._database.read() as connection:
            return unclaimed(connection, self.owner_id, running)

    async def taken_over(self, running: Collection[str]) -> set[str]:
        """Like `unclaimed`, after the end of a transaction by which another process takes over some of them."""
        return await self._writer.work(lambda connection: unclaimed(connection, self.owner_id, running))

    def queue_length(self) -> int:
        """The number of REQUESTs that wait for a worker or for their start time. Scans two indexes."""
        return int(self._read(statements.QUEUE_LENGTH)[0][0])

    def has_queued(self) -> bool:
        """Whether any REQUEST waits for a worker or for its start time. Takes as long as a single look into two indexes."""
        return bool(self._read(statements.ANY_QUEUED)[0][0])

    def waiting(self) -> list[Waiting]:
        """The REQUESTs that could start now. Reads one index."""
        return [
            Waiting(name, agent_id, labels_in(text), count)
            for name, agent_id, text, count in self._read(statements.QUEUED_COUNTS)
        ]

    def close(self) -> None:
        """Commit the waiting writes and close the file."""
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
