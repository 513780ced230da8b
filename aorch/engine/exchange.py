"""One exchange: route → REQUEST durable → agent executes → RESPONSE durable → answer."""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aorch import jsonio
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.agents.slots import Slots
from aorch.clock import now
from aorch.engine import exchange_records
from aorch.engine.agent_log import Waits
from aorch.engine.invocation import MOST_THREADS, Call, Outcome, Running, current_call, execute
from aorch.engine.response_saver import PATIENCE_S, Saver, Unsaved
from aorch.engine.routing import capability_for, choose
from aorch.engine.task import Answer, Task, Wish
from aorch.errors import (
    AgentCancelled,
    AgentNotStarted,
    AgentTimedOut,
    AorchError,
    Conflict,
    DelegationRefused,
    LedgerError,
    NoAgentAvailable,
)
from aorch.ids import new_id
from aorch.ledger.ledger import Entry, Ledger
from aorch.ledger.record import IN_PROGRESS, ORCHESTRATOR, PENDING, REQUEST, Row
from aorch.ledger.task_keys import TaskKey

WRITE_AGAIN_S = 1.0
"""How soon a task is given back to the queue again when the ledger did not take that."""
CANCELLED_PATIENCE_S = 0.3
"""How long a cancelled caller waits for the ledger to take the RESPONSE that says so."""
START_AGAIN_S = 0.2
"""How soon a program is started again that could not be started for lack of descriptors, processes or memory."""


@dataclass(frozen=True, slots=True)
class Exchanges:
    """What an exchange needs: the agents, the ledger, and the limits (`timeout_s` in seconds, `max_depth` in contracts).

    `parent_id` is the REQUEST on whose behalf this whole process was started, if it was by a command agent.
    """

    registry: Registry
    ledger: Ledger
    timeout_s: float
    max_depth: int
    parent_id: str | None = None
    _loops: dict[asyncio.AbstractEventLoop, tuple[Running, Saver]] = field(init=False, default_factory=dict)
    threads: Slots = field(init=False, default_factory=lambda: Slots(MOST_THREADS))
    """Those in which agents with a plain `def execute` run."""
    waits: Waits = field(init=False, default_factory=Waits)
    _ended_by: list[str] = field(init=False, default_factory=list)

    @property
    def running(self) -> Running:
        """What runs in this event loop."""
        return (self._loops.get(asyncio.get_running_loop()) or self._here())[0]

    @property
    def saver(self) -> Saver:
        """What commits the RESPONSEs of this event loop."""
        return (self._loops.get(asyncio.get_running_loop()) or self._here())[1]

    def _here(self) -> tuple[Running, Saver]:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            for known in list(self._loops):  # at once: another thread may add its own
                if known.is_closed():
                    self._loops.pop(known, None)
            here = self._loops[loop] = Running(self.ledger, loop, self._ended_by), Saver(self.ledger, loop)
        return here

    def cancel_all(self, by: str) -> None:
        """Cancel what runs in any loop, and what begins from now on: its RESPONSE and its answer say so."""
        self._ended_by.append(by)
        for loop, (running, _) in list(self._loops.items()):
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(running.release_all)

    async def perform(
        self, task: Task, cut_off: Callable[[Outcome], None] | None = None, *, in_line: bool = False
    ) -> Answer:
        """Do `task`. Both contracts are durable when this returns, whatever came of it.

        Its limit in time holds for the wait for one of the agent's places as well, unless it stands `in_line`: its caller
        asks for more at a time than the agent takes, and will wait.

        Raises Unsaved where the ledger does not take the RESPONSE for PATIENCE_S; LedgerError where it does not take the
        REQUEST; Conflict where the task's idempotency key has been used; CancelledError, after a RESPONSE that says so, or
        what its agent had answered by then: `cut_off` hears which. What another task of this process asks for waits for its
        RESPONSE as long as that one may take.
        """
        started = time.perf_counter()
        parent_id = task.parent_id or self._caller()
        asker, registered, reason = None, None, None
        try:
            if parent_id is not None:
                asker = self._asker(task, parent_id)
            registered, reason = choose(self.registry, task)
            registered.check(task.capability, task.parameters)
            if parent_id is not None and registered.locked():
                self._refuse_deadlock(registered, parent_id)
        except AorchError as refusal:
            key = task.idempotency if task.refusal_uses_key else None
            return await self._refuse(self._request(task, parent_id, asker, registered, reason), refusal, started, key)
        request = self._request(task, parent_id, asker, registered, reason)
        call, outcome = Call(self, request.contract_id, registered.agent.agent_id, current_call.get()), None
        try:
            outcome = await self._called(task, request, registered, call, in_line=in_line)
            patience_s = PATIENCE_S if call.outer is None else math.inf
            return await self._respond(request, registered, outcome, started, call, patience_s)
        except asyncio.CancelledError:
            if outcome is None:
                outcome = Outcome(*call.kept, "cancelled by the caller", AgentCancelled, called=call.begun)
                await self._respond_at_last(request, registered, outcome, started, call)
            if cut_off is not None:
                cut_off(outcome)
            raise
        except (LedgerError, Conflict):  # the REQUEST is not in the ledger, or its RESPONSE soon will be
            raise
        except Exception as error:  # a fault of aorch, or of the agent's attributes, must not leave the REQUEST open
            await self._respond_at_last(
                request, registered, exchange_records.outcome_of_fault(error, call.begun), started, call
            )
            raise

    async def enqueue(self, task: Task, wish: Wish) -> Row | Answer:
        """Commit the REQUEST of `task`, which whoever works on the queue does later, and return it.

        An Answer is a refusal: no agent can do it. Both contracts are in the ledger then. Raises Conflict for a used
        idempotency key, and LedgerError.
        """
        started = time.perf_counter()
        request, refusal = self._entry(task, wish)
        if refusal is not None:
            return await self._refuse(request, refusal, started)
        await self.ledger.enqueue(Entry(request, *wish), task.idempotency)
        return request

    async def enqueue_all(self, asked: Iterable[tuple[Task, Wish]]) -> list[Row]:
        """Commit the REQUESTs of all these in one transaction, and return them, in that order; their keys are not looked at.

        One that no agent can do is answered in the same transaction. Raises LedgerError.
        """
        started = time.perf_counter()
        requests, entries, refused = [], [], []
        for task, wish in asked:
            request, refusal = self._entry(task, wish)
            if refusal is None:
                entries.append(Entry(request, *wish))
            else:
                refused.append(exchange_records.refused_exchange(request, refusal, started)[:2])
            requests.append(request)
        await self.ledger.enqueue_all(entries, refused)
        return requests

    def _entry(self, task: Task, wish: Wish) -> tuple[Row, AorchError | None]:
        """The REQUEST of `task`, and why it cannot be put into the queue."""
        parent_id = task.parent_id or self._caller()
        asker = None
        try:
            if parent_id is not None:
                asker = self._asker(task, parent_id)
            capability = capability_for(self.registry, task)
        except AorchError as refusal:
            return self._request(task, parent_id, asker, None, None), refusal
        said = wish.as_dict(idempotent=capability.idempotent, timeout_s=task.timeout_s)
        task.queue = {**said, "agent_id": task.agent_id}  # `to_agent` will be the agent that claims it
        return self._request(task, parent_id, asker, None, None, waits=True), None

    async def _called(self, task: Task, request: Row, registered: Registered, call: Call, *, in_line: bool) -> Outcome:
        """Write the REQUEST, `pending` until one of the agent's places is free, and call the agent in that."""
        request_id, limit_s = request.contract_id, self._timeout_s(task, registered)
        waits, ends_at = registered.locked(), None
        if waits:
            if task.timeout_s and not in_line:
                ends_at = asyncio.get_running_loop().time() + limit_s
            pending = request._replace(status=PENDING)
            await self.ledger.write_request(pending, task.idempotency)
            try:
                cancelled_by = await self.running.take_place(request_id, registered, math.inf if in_line else limit_s)
            except AgentTimedOut as late:
                return _not_called(late)
            if cancelled_by is not None:
                return exchange_records.cancelled_before(cancelled_by)
        else:
            await registered.acquire(request_id)
        try:
            if waits:
                try:
                    await self.ledger.write_start(request_id)
                except LedgerError as error:  # the REQUEST is in the ledger, so it gets a RESPONSE
                    return _not_called(error)
            else:
                await self.ledger.write_request(request, task.idempotency)
            try:
                return await execute(
                    registered.agent, exchange_records.document_of(task, request), limit_s, call, ends_at
                )
            except AgentNotStarted as lack:
                return await self._execute_once_started(task, request, registered, call, lack, ends_at)
        finally:
            call.when_over(registered.release)

    async def _execute_once_started(
        self,
        task: Task,
        request: Row,
        registered: Registered,
        call: Call,
        lack: AgentNotStarted,
        ends_at: float | None,
    ) -> Outcome:
        """Call an agent whose program could not be started: wait and try again, for as long as the limit in time."""
        loop, limit_s = asyncio.get_running_loop(), self._timeout_s(task, registered)
        ends_at = ends_at or loop.time() + limit_s
        self.waits.because(lack)
        while loop.time() < ends_at:
            if (cancelled_by := await self.running.pause(request.contract_id, START_AGAIN_S)) is not None:
                return exchange_records.cancelled_before(cancelled_by)
            try:
                return await execute(
                    registered.agent, exchange_records.document_of(task, request), limit_s, call, ends_at
                )
            except AgentNotStarted as error:
                lack = error
        return _not_called(lack)

    def _timeout_s(self, task: Task, registered: Registered) -> float:
        return task.timeout_s or registered.agent.timeout_s or self.timeout_s

    async def take_up(self, task: Task, request: Row) -> Row:
        """Do `task`, whose REQUEST was claimed from the queue; its RESPONSE, which `keep` is to commit.

        A cancelled caller gives it back: it waits again where that is safe, and is `interrupted` where it is not. Raises
        NoAgentAvailable, after it was given back, where its agent cannot work any more.
        """
        started = time.perf_counter()
        call = Call(self, request.contract_id, request.to_agent)
        try:
            registered, _ = choose(self.registry, task)
            registered.check(task.capability, task.parameters)
            outcome = await self._taken_up(task, request, registered, call)
            return exchange_records.response_of_agent(request, registered, outcome, started, call.about)
        except NoAgentAvailable:
            await _until_kept(lambda: self.ledger.give_back(request.contract_id, called=False))
            raise
        except AorchError as refusal:
            outcome = Outcome(error=str(refusal), failure=type(refusal), called=False)
            return exchange_records.response_to(request, None, outcome, started, call.about)

    async def keep(self, response: Row, trouble: Callable[[AorchError], None], *, webhook: bool) -> None:
        """Commit the RESPONSE to a task that was taken up; `trouble` is told if the ledger does not take it for PATIENCE_S.

        With `webhook`, that one is due then, if there is one.
        """
        with contextlib.suppress(Conflict):  # it was answered meanwhile, and the first answer stands
            try:
                await self.saver.save(response, webhook=webhook)
            except Unsaved as unsaved:
                trouble(unsaved)
                await asyncio.shield(unsaved.saving)

    async def _taken_up(self, task: Task, request: Row, registered: Registered, call: Call) -> Outcome:
        request_id, limit_s = request.contract_id, self._timeout_s(task, registered)
        try:
            if (cancelled_by := await self._place_for_queued(request_id, registered, limit_s)) is not None:
                return exchange_records.cancelled_before(cancelled_by)
            try:
                return await execute(registered.agent, exchange_records.document_of(task, request), limit_s, call)
            finally:
                call.when_over(registered.release)
        except asyncio.CancelledError:
            # if the ledger does not take it now, the next process that opens it does the same
            giving_back = asyncio.ensure_future(self.ledger.give_back(request_id, called=call.begun))
            giving_back.add_done_callback(lambda given_back: given_back.cancelled() or given_back.exception())
            await asyncio.wait((giving_back,), timeout=CANCELLED_PATIENCE_S)
            raise

    async def _place_for_queued(self, request_id: str, registered: Registered, limit_s: float) -> str | None:
        """As `Running.take_place`. Raises NoAgentAvailable after `limit_s`: it waits in the queue as well as here."""
        try:
            return await self.running.take_place(request_id, registered, limit_s)
        except AgentTimedOut as late:
            raise NoAgentAvailable(str(late), late.hint) from late

    async def _respond(
        self,
        request: Row,
        registered: Registered,
        outcome: Outcome,
        started: float,
        call: Call,
        patience_s: float,
        *,
        last: bool = False,
    ) -> Answer:
        agent_id, about = registered.agent.agent_id, call.about
        response = exchange_records.response_of_agent(request, registered, outcome, started, about)
        try:
            await self.saver.save(response, last=last, patience_s=patience_s)
        except Unsaved as unsaved:
            unsaved.answer = exchange_records.answer_of(response, agent_id, outcome, started, outcome.hint, about)
            raise
        except Conflict as conflict:
            return exchange_records.answer_of(
                response, agent_id, Outcome(error=str(conflict), failure=Conflict), started
            )
        return exchange_records.answer_of(response, agent_id, outcome, started, outcome.hint, about)

    async def _respond_at_last(
        self, request: Row, registered: Registered, outcome: Outcome, started: float, call: Call
    ) -> None:
        """As `_respond`, where nobody waits for the answer, and the REQUEST may not be durable, or not even written."""
        response = self._respond(request, registered, outcome, started, call, CANCELLED_PATIENCE_S, last=True)
        with contextlib.suppress(Unsaved):
            await asyncio.shield(response)

    async def _refuse(self, request: Row, refusal: AorchError, started: float, key: TaskKey | None = None) -> Answer:
        ended, response, outcome = exchange_records.refused_exchange(request, refusal, started)
        await self.ledger.write_refused(ended, response, key)
        return exchange_records.answer_of(response, request.to_agent, outcome, started, refusal.hint)

    def _request(
        self,
        task: Task,
        parent_id: str | None,
        asker: str | None,
        registered: Registered | None,
        reason: Any,
        *,
        waits: bool = False,
    ) -> Row:
        return Row(
            new_id(),
            task.session_id,
            REQUEST,
            task.from_agent or asker or ORCHESTRATOR,
            registered.agent.agent_id if registered else task.agent_id,
            task.capability,
            jsonio.encode(task.parameters),
            PENDING if waits else IN_PROGRESS,
            now(),
            metadata=exchange_records.request_metadata(task, reason),
            parent_id=parent_id,
            claimed_by=None if waits else self.ledger.owner_id,
        )

    def _caller(self) -> str | None:
        """The REQUEST whose agent asks now."""
        call = current_call.get()
        return self.parent_id if call is None else call.request_id

    def _asker(self, task: Task, parent_id: str) -> str | None:
        """The agent on whose behalf this is asked. Raises DelegationRefused: too deep, or a circle."""
        above = self.ledger.ancestors(parent_id)
        if not above:
            raise DelegationRefused(
                f"parent {parent_id} is no REQUEST of the ledger", "Hand on the task_id of the task itself."
            )
        if len(above) >= self.max_depth:
            raise DelegationRefused(
                f"delegated {len(above)} deep, and {self.max_depth} is the limit (max_depth)",
                "See the chain with `aorch contracts show` and end it, or raise max_depth in aorch.toml.",
            )
        for contract_id, capability in above:
            if capability == task.capability and self.ledger.payload(contract_id) == jsonio.encode(task.parameters):
                raise DelegationRefused(
                    f"a circle: {contract_id} further up asks for {capability} with the same parameters",
                    "See the chain with `aorch contracts show`.",
                )
        call = current_call.get()
        known = call.agent_id if call is not None and call.exchanges is self and call.request_id == parent_id else None
        return known or self.ledger.agent_of(parent_id)

    def _refuse_deadlock(self, registered: Registered, parent_id: str) -> None:
        """Raise DelegationRefused where each place of the agent is held by a task that waits for this one."""
        above = {contract_id for contract_id, _ in self.ledger.ancestors(parent_id)}
        agent_id, most = registered.agent.agent_id, registered.agent.concurrency
        if len(registered.holders & above) == most:
            raise DelegationRefused(
                f"{agent_id} calls back into itself and takes {most} at a time: it would wait for its own end",
                "Raise its concurrency, or let another agent do this part.",
            )


def _not_called(reason: AorchError) -> Outcome:
    return Outcome(error=str(reason), failure=type(reason), hint=reason.hint, called=False)


async def _until_kept(write: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await write()
        except LedgerError:
            await asyncio.sleep(WRITE_AGAIN_S)
