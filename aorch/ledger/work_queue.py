"""The leases of workers over HTTP, as a server uses them. The rules are in work_leases.py."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aorch.errors import Conflict, ParametersInvalid
from aorch.ledger import task_queue, work_leases, work_steps
from aorch.ledger.attempt import Attempt
from aorch.ledger.database import Connection, ConstraintError, Database, is_taken_key, statements
from aorch.ledger.record import Record
from aorch.ledger.tried_steps import TriedStep
from aorch.ledger.work_leases import Delivery, LeaseRow, WaitingClaim
from aorch.ledger.work_offers import WorkOffers
from aorch.ledger.writer import Writer


class WorkQueue:
    """The leases on the ledger that `database` opens and `writer` writes. Changes are durable when their method returns.

    `owner` is the id of the caller's token (empty without one). Every method raises LedgerError, and those with a lease raise
    LeaseLost if it has ended, and Forbidden if another token has opened it.
    """

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database, self._writer = database, writer
        self.offers = WorkOffers(database)
        """The agents that the workers offer."""

    async def open_lease(self, owner: str, worker: str, lease_s: float, offer: Sequence[Mapping[str, Any]]) -> LeaseRow:
        """Open a lease for a worker that offers these agents."""
        return await self._writer.work(
            lambda connection: work_leases.open_lease(connection, owner, worker, lease_s, offer)
        )

    def find(self, lease_id: str, owner: str) -> LeaseRow:
        """That lease."""
        with self._database.read() as connection:
            return work_leases.find(connection, lease_id, owner)

    def check_offered(self, lease_id: str, agent_ids: Iterable[str]) -> None:
        """Raise ParametersInvalid if the worker of that lease, unless it has ended, does not offer these agents."""
        with self._database.read() as connection:
            found = connection.execute(statements.WORK_LEASE, (lease_id,)).fetchone()
        if found is None:
            return
        if others := set(agent_ids) - self.offers.agents(LeaseRow(*found).offer_id):
            raise ParametersInvalid(
                f"the lease does not offer the agent {min(others)!r}",
                "Open a lease with all agents of the worker: POST /v1/work/leases.",
            )

    def leases(self) -> list[LeaseRow]:
        """All leases, the oldest first."""
        with self._database.read() as connection:
            return [LeaseRow(*row) for row in connection.execute(statements.WORK_LEASES)]

    async def renew(self, lease_id: str, owner: str, delivery_id: str | None) -> tuple[str, bool]:
        """Renew a lease and confirm a delivery. Returns the end of the lease (RFC 3339), and whether it is confirmed."""
        return await self._writer.work(lambda connection: work_leases.renew(connection, lease_id, owner, delivery_id))

    async def deliver(self, claims: Sequence[WaitingClaim], wanted: Callable[[], bool]) -> dict[str, Delivery | None]:
        """Claim REQUESTs for these workers. Returns the deliveries by lease (None: the lease has ended). Writes nothing if there
        is nothing to deliver, and claims nothing if `wanted` returns False while this waits for the write lock.
        """
        if not self._has_work(claims):
            return {}
        found = await self._writer.work_while(wanted, lambda connection: work_leases.deliver(connection, claims))
        return found or {}

    def _has_work(self, claims: Sequence[WaitingClaim]) -> bool:
        shapes = {each.shape: each.capacities for each in claims if each.shape}
        with self._database.read() as connection:
            return any(not work_leases.is_settled(connection, each.lease_id) for each in claims if each.is_new) or any(
                task_queue.has_work(connection, capacities) for capacities in shapes.values()
            )

    def cancelled(self) -> dict[str, dict[str, str]]:
        """The cancelled REQUESTs that workers still run: by lease, the REQUEST's id with who cancelled it."""
        found: dict[str, dict[str, str]] = {}
        with self._database.read() as connection:
            for owner_id, request_id, by in connection.execute(statements.ALL_CANCELLED_CLAIMS):
                if task_queue.is_lease(owner_id):
                    found.setdefault(owner_id, {})[request_id] = by
        return found

    def state_of(self, lease_id: str, running: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """The cancelled REQUESTs of that lease with who cancelled each, and those of `running` that it does not have."""
        with self._database.read() as connection:
            cancelled = dict(connection.execute(statements.CANCELLED_CLAIMS, (lease_id,)).fetchall())
            claimed = {request_id for (request_id,) in connection.execute(statements.CLAIMED_BY_OWNER, (lease_id,))}
        return cancelled, [request_id for request_id in running if request_id not in claimed]

    async def answer(self, lease_id: str, owner: str, response: Record) -> str:
        """Write the RESPONSE that a worker reports, unless it is written already, and return the status of the REQUEST."""
        return await self._writer.work(lambda connection: work_leases.answer(connection, lease_id, owner, response))

    async def give_back(
        self, lease_id: str, owner: str, request_id: str, *, called: bool, due_at: str | None = None
    ) -> None:
        """Queue a claimed REQUEST again if that is safe, otherwise answer it with `interrupted`. See `Ledger.give_back`."""
        await self._writer.work(
            lambda connection: work_leases.give_back(
                connection, lease_id, owner, request_id, called=called, due_at=due_at
            )
        )

    async def write_step(self, lease_id: str, owner: str, request: Record, response: Record | None = None) -> str:
        """Write the REQUEST of a step of a claimed pipeline, or that it runs now, and return its status (see work_steps.py).

        Raises Conflict also if the earlier step that it resumes has been resumed already.
        """
        try:
            return await self._writer.work(
                lambda connection: work_steps.write_step(connection, lease_id, owner, request, response)
            )
        except ConstraintError as error:
            if not is_taken_key(error):
                raise
            raise Conflict(f"the step that {request.contract_id} resumes has been retried already") from error

    def tried(self, lease_id: str, owner: str, contract_id: str, from_agent: str) -> list[TriedStep]:
        """The steps of earlier tries of a claimed pipeline."""
        with self._database.read() as connection:
            return work_steps.tried(connection, lease_id, owner, contract_id, from_agent)

    def step_result(self, lease_id: str, owner: str, contract_id: str, step_id: str) -> tuple[str, str | None]:
        """The capability of a step of a claimed pipeline, and its result as JSON text."""
        with self._database.read() as connection:
            return work_steps.step_result(connection, lease_id, owner, contract_id, step_id)

    async def note(
        self,
        lease_id: str,
        owner: str,
        progress: Iterable[tuple[str, str, str]],
        attempts: Iterable[Attempt],
    ) -> None:
        """Write the progress (the REQUEST's id, a time, JSON text) and the attempts of tasks that the lease claims."""
        await self._writer.work(lambda connection: work_leases.note(connection, lease_id, owner, progress, attempts))

    async def end(self, lease_id: str, owner: str) -> None:
        """End a lease. Unless it was ended before, its tasks are queued again if that is safe, or end as `interrupted`."""

        def work(connection: Any) -> None:
            work_leases.find(connection, lease_id, owner)
            work_leases.end_leases(connection, [lease_id])

        await self._writer.work(work)

    def overdue(self) -> tuple[str, list[tuple[str, float]]]:
        """The time of the ledger (RFC 3339), and the leases that were not renewed in time, with their `lease_s`; also those whose
        rows another program has deleted.
        """
        with self._database.read() as connection:
            moment = work_leases.ledger_time(connection)
            orphans = [(lease_id, 0.0) for lease_id in work_leases.orphans(connection)]
            return moment, [*work_leases.ended(connection, moment), *orphans]

    def unconfirmed(self) -> list[tuple[str, str]]:
        """The deliveries that workers have not confirmed: lease and delivery."""
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(statements.UNCONFIRMED_WORK)]

    async def take_back(self, deliveries: Iterable[tuple[str, str]]) -> None:
        """Queue the REQUESTs of these deliveries again, unless they are confirmed meanwhile."""

        def work(connection: Connection) -> None:
            for lease_id, delivery_id in deliveries:
                work_leases.take_back(connection, lease_id, delivery_id)

        await self._writer.work(work)

    async def end_overdue(self, lease_ids: Sequence[str], moment: str) -> None:
        """End these leases, unless they were renewed since `moment`."""
        await self._writer.work(lambda connection: work_leases.end_leases(connection, lease_ids, moment))
