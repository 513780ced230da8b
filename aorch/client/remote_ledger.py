"""The ledger as a worker without access to it sees it: claims and reports go to a server."""

import asyncio
import contextlib
from asyncio import Future
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.client.bell import Bell
from aorch.client.problem_errors import RefusedInFront, RequestTooLarge
from aorch.client.remote_steps import MOST_REFUSALS, PERMANENT, RemoteSteps
from aorch.client.work_forms import request_of, result_of, size_of, too_large
from aorch.client.work_session import POLL_WAIT_S, WorkSession
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.supervision import Turned
from aorch.errors import (
    AorchError,
    Conflict,
    LeaseLost,
    LedgerError,
    LedgerTooNew,
)
from aorch.ledger.attempt import Attempt
from aorch.ledger.changes import Changes
from aorch.ledger.record import Record
from aorch.ledger.required_labels import Waiting
from aorch.ledger.task_queue import Capacity

SERVER = "the server"
"""Who cancels the tasks of a lease that has ended."""


class Delivered(NamedTuple):
    """A task that was confirmed under a lease, after `attempts` calls of agents."""

    request: Record
    lease_id: str
    attempts: int


class Offer:
    """What the worker can start now. `differs` from the one with which the server is asked: then it must be asked anew."""

    def __init__(self, capacities: Sequence[Capacity], limit: int) -> None:
        self.capacities, self.limit = capacities if limit else (), limit

    def differs(self, asked: "Offer") -> bool:
        """Whether it has other agents, or fewer free slots."""
        mine, others = ({each.capability: each.of_agents for each in offer.capacities} for offer in (self, asked))
        return mine.keys() != others.keys() or any(
            mine[name].keys() != others[name].keys()
            or any(mine[name][agent] < free for agent, free in others[name].items())
            for name in mine
        )


class RemoteLedger(RemoteSteps):
    """The part of a Ledger that a QueueWorker and its executor use, at the server of `session`.

    `run` waits for tasks at the server; `claim` only takes what has arrived, except with `drain`. `report` gets the errors that
    say that the server refused a result. `allowed` are the capabilities that the token allows (None: any). Writes raise
    LedgerError while the server cannot be reached, so that they are tried again, and Conflict for a task that the lease does not
    have any more.
    """

    def __init__(
        self,
        session: WorkSession,
        path: LedgerLocation,
        report: Callable[[AorchError], None],
        allowed: set[str] | None = None,
        *,
        drain: bool,
    ) -> None:
        super().__init__(session, path)
        self._report, self._allowed, self._drain = report, allowed, drain
        self._bell = Bell()
        self._inbox: list[Record] = []
        self._earlier: dict[str, int] = {}
        self._held: dict[str, Delivered] = {}
        """Tasks that came back after their lease was lost, while the run under the old lease has not ended here."""
        self._reported_under: dict[str, str] = {}
        """The leases of RESPONSEs that the server has not accepted. A repeated report has the lease of its own run."""
        self._cancelled: dict[str, str] = {}
        self._refusals: Counter[str] = Counter()
        self._offer: Offer | None = None
        self._asked: Offer | None = None
        self._offered, self._taking = asyncio.Event(), False
        session.on_lost, session.on_cancelled = self._lost, self._note_cancelled

    @cached_property
    def changes(self) -> Changes:
        """Notifies when tasks or cancellations have arrived."""
        return Changes(self._bell)  # type: ignore[arg-type]  # the part of a Database that it uses

    async def run(self, turned: Turned) -> None:
        """Wait at the server for tasks and cancellations. A loop for supervision.py."""
        while True:
            while self._offer is None or self._inbox:
                self._offered.clear()
                await self._offered.wait()
            self._offered.clear()
            asking = asyncio.ensure_future(self._ask(self._offer, POLL_WAIT_S))
            changed = asyncio.ensure_future(self._offered.wait())
            try:
                await asyncio.wait((asking, changed), return_when=asyncio.FIRST_COMPLETED)
                if self._taking:
                    await asyncio.wait((asking,))
            finally:
                changed.cancel()
                asking.cancel()
            if asking.done():
                with contextlib.suppress(LeaseLost):  # the next question opens a new one
                    asking.result()
            turned()

    async def _ask(self, offer: Offer, wait_s: float) -> None:
        """Ask the server for tasks. If this is cancelled, the server delivers them again with the next question."""
        self._asked = offer
        try:
            lease_id, delivery_id, tasks = await self._session.claim(
                offer.capacities, offer.limit, wait_s, self._cancelled
            )
            if tasks:
                self._offer, self._taking = None, True
                await self._future(self._take(lease_id, delivery_id, tasks))
        finally:
            self._asked = None

    async def _take(self, lease_id: str, delivery_id: str, tasks: list[dict[str, Any]]) -> None:
        """Confirm a delivery, and put its tasks into the inbox. Not to be cancelled: the server may know of the confirmation."""
        try:
            if await self._session.confirm(lease_id, delivery_id) and self._session.lease_id == lease_id:
                for each in tasks:
                    request = request_of(each["request"])
                    self._held[request.contract_id] = Delivered(request, lease_id, each["attempts"])
                    self._session.running.add(request.contract_id)
                    if request.contract_id not in self._lease_of:
                        self._admit(request.contract_id)
        finally:
            self._taking = False
        self._bell.ring()

    def _admit(self, request_id: str) -> None:
        """Put a delivered task of which no run exists here into the inbox."""
        delivered = self._held.pop(request_id)
        self._earlier[request_id], self._lease_of[request_id] = delivered.attempts, delivered.lease_id
        self._claimed[request_id] = delivered.request
        self._inbox.append(delivered.request)

    # What a QueueWorker uses

    async def claim(
        self, capacities: Sequence[Capacity], most: int, wanted: Callable[[], bool] = lambda: True
    ) -> list[Record]:
        """The tasks that have arrived. If there are none, the server is asked for these."""
        able = [each for each in capacities if self._allowed is None or each.capability in self._allowed]
        offer = Offer(able, most)
        if self._drain and able and most and not self._inbox and wanted():
            await self._ask(offer, 0)
        if self._inbox:
            claimed, self._inbox = self._inbox, []
            return claimed
        self._offer = offer
        if self._asked is None or offer.differs(self._asked):
            self._offered.set()
        return []

    async def release_unstarted(self, running: Collection[str]) -> None:
        """Nothing: the server delivers tasks again that were not confirmed."""

    def attempts(self, *request_ids: str) -> list[Attempt]:
        """The earlier attempts of tasks that were queued again; only their numbers are known."""
        numbers = ((each, number) for each in request_ids for number in range(self._earlier.get(each, 0)))
        return [Attempt(request_id, number + 1, "", "") for request_id, number in numbers]

    def has_queued(self) -> bool:
        """Whether tasks have arrived."""
        return bool(self._inbox)

    def next_moment(self) -> str | None:
        """None: the server knows when tasks are due."""
        return None

    def waiting(self) -> list[Waiting]:
        """Nothing: the server knows what waits."""
        return []

    def has_registered_agents(self) -> bool:
        """False: only its own agents work here."""
        return False

    @property
    def losses(self) -> int:
        """0: the server judges its leases, and reports the lost ones."""
        return 0

    # What the executor of a claimed task uses

    def cancelled(self) -> dict[str, str]:
        """The cancelled tasks, each with who cancelled it."""
        return self._cancelled

    async def give_back(self, request_id: str, *, called: bool, due_at: str | None = None) -> None:
        """Give a task back to the server. Has no effect if the server has given it up already."""
        lease_id = self._lease(request_id)
        await self._steps_ended(request_id)
        self._end_run(request_id, lease_id)
        try:
            await self._translated(self._session.release(lease_id, request_id, called=called, due_at=due_at))
        except LeaseLost:  # `_lost` has reported it
            pass
        except PERMANENT as error:
            self._report(error)
        self._forget_task(request_id, lease_id)

    def write_response(
        self, response: Record, request_status: str, *, webhook: bool = False, last: bool = False
    ) -> Future[None]:
        """Report a result. Repeated with the same RESPONSE, it has the same effect as once."""
        return self._future(self._send_result(response, last=last))

    def write_progress(self, reported: Iterable[tuple[str, str, str]], ended: Iterable[str]) -> Future[None]:
        """Report progress; the server deletes that of ended tasks."""
        progress = [(request_id, jsonio.decode(text)) for request_id, _, text in reported]
        return self._future(self._translated(self._session.note(progress, ())))

    def write_attempts(self, *attempts: Attempt) -> Awaitable[None]:
        """Report attempts."""
        return self._translated(self._session.note((), attempts))

    def close(self) -> None:
        """Nothing: `end` closes the session."""

    def forget(self) -> None:
        """Nothing: no file is open."""

    async def end(self, wait_s: float) -> None:
        """Give back what was not started, wait up to `wait_s` seconds for reports that are being sent, and end the lease."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait_s
        while True:  # a confirmation that is under way may still put tasks into the inbox
            self._give_back_unstarted()
            if not self._sending or (left_s := ends_at - loop.time()) <= 0:
                break
            await asyncio.wait(self._sending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        await self._session.end()

    def _give_back_unstarted(self) -> None:
        inbox, self._inbox = self._inbox, []
        for each in inbox:
            self._future(self.give_back(each.contract_id, called=False)).add_done_callback(_retrieve)

    async def _send_result(self, response: Record, *, last: bool) -> None:
        request_id = response.request_id or ""
        if last and await self._is_unrecorded(request_id):
            return
        await self._steps_ended(request_id)
        lease_id = self._reported_under.setdefault(response.contract_id, self._lease(request_id))
        self._end_run(request_id, lease_id)
        try:
            await self._translated(self._send_smaller(lease_id, request_id, response))
        except LeaseLost as lost:
            if request_id not in self._steps:
                self._report(lost)
            self._forget_task(request_id, lease_id)
            raise
        except PERMANENT as error:
            self._report(error)
            with contextlib.suppress(*PERMANENT):
                await self._translated(self._session.release(lease_id, request_id, called=True, due_at=None))
            self._forget_task(request_id, lease_id)
            raise Conflict(str(error), error.hint) from error
        self._reported_under.pop(response.contract_id, None)
        self._refusals.pop(response.contract_id, None)
        self._forget_task(request_id, lease_id)

    async def _send_smaller(self, lease_id: str, request_id: str, response: Record) -> None:
        """Send a result, or the failure that it is too large. Raises Conflict if it was refused MOST_REFUSALS times."""
        result, most = result_of(response), self._session.most_bytes
        if (size := size_of(result)) > most:
            result = too_large(response, size, f"the server accepts {most:,} (serve.max_body_bytes)")
        try:
            try:
                await self._session.report(lease_id, request_id, result)
            except RequestTooLarge as error:
                await self._session.report(lease_id, request_id, too_large(response, size, str(error)))
        except AorchError as error:
            self._refusals[response.contract_id] += isinstance(error, RefusedInFront) or type(error) is AorchError
            if self._refusals[response.contract_id] >= MOST_REFUSALS:
                raise Conflict(f"the report about {request_id} was refused too often: {error}", error.hint) from error
            raise

    def _end_run(self, request_id: str, lease_id: str) -> None:
        """The run of a task under that lease has ended."""
        if self._lease_of.get(request_id) == lease_id and request_id not in self._held:
            self._session.running.discard(request_id)

    def _forget_task(self, request_id: str, lease_id: str) -> None:
        """Forget the run of a task under that lease. If the task has come back meanwhile, it can start."""
        if self._lease_of.get(request_id) != lease_id:
            return
        del self._lease_of[request_id]
        self._claimed.pop(request_id, None)
        self._end_step(request_id)
        self._earlier.pop(request_id, None)
        self._cancelled.pop(request_id, None)
        if request_id in self._held:
            self._admit(request_id)
            self._bell.ring()

    async def _translated(self, request: Awaitable[None]) -> None:
        """Raise LedgerError for errors after which the request can be repeated. (A server that is too old may be replaced.)"""
        try:
            await request
        except LedgerTooNew as error:
            raise LedgerError(str(error), error.hint) from error
        except (*PERMANENT, LedgerError):
            raise
        except AorchError as error:
            raise LedgerError(str(error), error.hint) from error

    def _lost(self, request_ids: Iterable[str], reason: str) -> None:
        lost = dict.fromkeys(request_ids, SERVER)
        for request_id in lost.keys() & self._held.keys():
            del self._held[request_id], lost[request_id]
        for each in [each for each in self._inbox if each.contract_id in lost]:
            self._inbox.remove(each)
            del lost[each.contract_id]
            self._forget_task(each.contract_id, self._lease_of[each.contract_id])
        if lost:
            number = "1 task is" if len(lost) == 1 else f"{len(lost)} tasks are"
            self._report(LeaseLost(f"{number} stopped: {reason}"))
        self._cancelled.update(lost)
        self._offered.set()
        self._bell.ring()

    def _note_cancelled(self, cancelled: Mapping[str, str]) -> None:
        new = {each: by for each, by in cancelled.items() if each in self._lease_of and each not in self._cancelled}
        if new:
            self._cancelled.update(new)
            self._bell.ring()


def _retrieve(future: Future[None]) -> None:
    if not future.cancelled():
        future.exception()  # the server queues the task again at the end of the lease
