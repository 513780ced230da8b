"""One exchange: route → REQUEST durable → agent executes → RESPONSE durable → answer."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from aorch import json
from aorch.agents.registry import Registered, Registry
from aorch.core.execution import Call, Outcome, Running, current_call, execute
from aorch.core.routing import capability_for, choose
from aorch.core.task import Answer, Task, Wish
from aorch.errors import (
    AgentCancelled,
    AgentNotStarted,
    AorchError,
    Conflict,
    DelegationRefused,
    LedgerError,
    NoAgentAvailable,
)
from aorch.ledger.row import CANCELLED, COMPLETED, FAILED, IN_PROGRESS, PENDING, REQUEST, RESPONSE, Row, new_id
from aorch.ledger.store import Entry, Ledger
from aorch.moments import now

ORCHESTRATOR = "orchestrator"
WRITE_AGAIN_S = 1.0
"""How soon a RESPONSE is written again that the ledger did not take."""
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
    _running: dict[asyncio.AbstractEventLoop, Running] = field(init=False, default_factory=dict)
    _ended_by: list[str] = field(init=False, default_factory=list)

    @property
    def running(self) -> Running:
        """What runs in this event loop."""
        loop = asyncio.get_running_loop()
        running = self._running.get(loop)
        if running is None:
            for known in list(self._running):  # at once: another thread may add its own
                if known.is_closed():
                    self._running.pop(known, None)
            running = self._running[loop] = Running(self.ledger, loop, self._ended_by)
        return running

    def cancel_all(self, by: str) -> None:
        """Cancel what runs in any loop, and what begins from now on: its RESPONSE and its answer say so."""
        self._ended_by.append(by)
        for loop, running in list(self._running.items()):
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(running.release_all)

    async def perform(self, task: Task, cut_off: Callable[[Outcome], None] | None = None) -> Answer:
        """Do `task`. Both contracts are durable when this returns, whatever came of it.

        Raises LedgerError where the ledger could not keep them; Conflict where the task's idempotency key has been used;
        CancelledError, after a RESPONSE that says so, or what its agent had answered by then: `cut_off` hears which.
        """
        started = time.perf_counter()
        parent_id = task.parent_id or self._caller()
        asker, registered, reason = None, None, None
        try:
            if parent_id is not None:
                asker = self._asker(task, parent_id)
            registered, reason = choose(self.registry, task)
            registered.check(task.capability, task.parameters)
        except AorchError as refusal:
            key = task.idempotency if task.refusal_uses_key else None
            return await self._refuse(self._request(task, parent_id, asker, registered, reason), refusal, started, key)
        request = self._request(task, parent_id, asker, registered, reason)
        call, outcome = Call(self, request.contract_id), None
        try:
            outcome = await self._called(task, request, registered, call)
            return await self._respond(request, registered, outcome, started, call.about)
        except asyncio.CancelledError:
            if outcome is None:
                outcome = Outcome(error="cancelled by the caller", failure=AgentCancelled, called=call.begun)
                await asyncio.shield(self._respond(request, registered, outcome, started, call.about, last=True))
            if cut_off is not None:
                cut_off(outcome)
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
                refused.append(_refused(request, refusal, started)[:2])
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
        task.queue = wish.as_dict(idempotent=capability.idempotent, timeout_s=task.timeout_s)
        return self._request(task, parent_id, asker, None, None, waits=True), None

    async def _called(self, task: Task, request: Row, registered: Registered, call: Call) -> Outcome:
        """Write the REQUEST, `pending` until one of the agent's places is free, and call the agent in that."""
        waits = registered.full()
        if waits:
            pending = request._replace(status=PENDING)
            await self.ledger.write_request(pending, task.idempotency)
            if (cancelled_by := await self.running.take_place(request.contract_id, registered)) is not None:
                return _cancelled(cancelled_by)
        else:
            await registered.take_place()
        try:
            if waits:
                await self.ledger.write_start(request.contract_id)
            else:
                await self.ledger.write_request(request, task.idempotency)
            return await self._execute_once_started(task, request, registered, call)
        finally:
            registered.leave_place()

    async def _execute_once_started(self, task: Task, request: Row, registered: Registered, call: Call) -> Outcome:
        """Call the agent; while its program cannot be started, wait and try again, within the task's limit in time."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._timeout_s(task, registered)
        while True:
            try:
                return await self._execute(task, request, registered, call)
            except AgentNotStarted as lack:
                if loop.time() > ends_at:
                    return Outcome(error=str(lack), failure=AgentNotStarted, hint=lack.hint, called=False)
            if (cancelled_by := await self.running.pause(request.contract_id, START_AGAIN_S)) is not None:
                return _cancelled(cancelled_by)

    def _timeout_s(self, task: Task, registered: Registered) -> float:
        return task.timeout_s or registered.agent.timeout_s or self.timeout_s

    def _execute(self, task: Task, request: Row, registered: Registered, call: Call) -> Coroutine[Any, Any, Outcome]:
        return execute(registered.agent, _document(task, request), self._timeout_s(task, registered), call)

    async def take_up(self, task: Task, request: Row) -> Row:
        """Do `task`, whose REQUEST was claimed from the queue; its RESPONSE, which `keep` is to commit.

        A cancelled caller gives it back: it waits again where that is safe, and is `interrupted` where it is not. Raises
        NoAgentAvailable, after it was given back, where its agent cannot work any more.
        """
        started = time.perf_counter()
        call = Call(self, request.contract_id)
        try:
            registered, _ = choose(self.registry, task)
            registered.check(task.capability, task.parameters)
            outcome = await self._taken_up(task, request, registered, call)
            return _counted(request, registered, outcome, started, call.about)
        except NoAgentAvailable:
            await _until_kept(lambda: self.ledger.give_back(request.contract_id, called=False))
            raise
        except AorchError as refusal:
            outcome = Outcome(error=str(refusal), failure=type(refusal), called=False)
            return _response(request, None, outcome, started, call.about)

    async def keep(self, task: Task, response: Row) -> None:
        """Commit the RESPONSE to a task that was taken up; where the ledger fails, once it can be."""
        webhook = "webhook" in task.queue
        with contextlib.suppress(Conflict):  # it was answered meanwhile, and the first answer stands
            await _until_kept(lambda: self.ledger.write_response(response, response.status, webhook=webhook))

    async def _taken_up(self, task: Task, request: Row, registered: Registered, call: Call) -> Outcome:
        try:
            if (cancelled_by := await self.running.take_place(request.contract_id, registered)) is not None:
                return _cancelled(cancelled_by)
            try:
                return await self._execute(task, request, registered, call)
            finally:
                registered.leave_place()
        except asyncio.CancelledError:
            await asyncio.shield(self.ledger.give_back(request.contract_id, called=call.begun))
            raise

    async def _respond(
        self,
        request: Row,
        registered: Registered,
        outcome: Outcome,
        started: float,
        about: dict[str, Any],
        *,
        last: bool = False,
    ) -> Answer:
        response, agent_id = _counted(request, registered, outcome, started, about), registered.agent.agent_id
        try:
            await self.ledger.write_response(response, response.status, last=last)
        except Conflict as conflict:
            return _answer(response, agent_id, Outcome(error=str(conflict), failure=Conflict), started)
        return _answer(response, agent_id, outcome, started, outcome.hint, about)

    async def _refuse(
        self, request: Row, refusal: AorchError, started: float, key: tuple[str, str, str] | None = None
    ) -> Answer:
        ended, response, outcome = _refused(request, refusal, started)
        await self.ledger.write_refused(ended, response, key)
        return _answer(response, request.to_agent, outcome, started, refusal.hint)

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
            json.encode(task.parameters),
            PENDING if waits else IN_PROGRESS,
            now(),
            metadata=_request_metadata(task, reason),
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
                f"parent {parent_id} is not in the ledger", "Hand on the task_id of the task itself."
            )
        if len(above) >= self.max_depth:
            raise DelegationRefused(
                f"delegated {len(above)} deep, and {self.max_depth} is the limit (max_depth)",
                "See the chain with `aorch contracts show` and end it, or raise max_depth in aorch.toml.",
            )
        for contract_id, _, capability in above:
            if capability == task.capability and self.ledger.payload(contract_id) == json.encode(task.parameters):
                raise DelegationRefused(
                    f"a circle: {contract_id} further up asks for {capability} with the same parameters",
                    "See the chain with `aorch contracts show`.",
                )
        return above[0][1]


def _refused(request: Row, refusal: AorchError, started: float) -> tuple[Row, Row, Outcome]:
    """Both contracts of a task that no agent was called for, and the outcome that they tell of."""
    outcome = Outcome(error=str(refusal), failure=type(refusal), called=False)
    response = _response(request, None, outcome, started, {})
    ended = request._replace(status=FAILED, completed_at=response.created_at, claimed_by=None)
    return ended, response, outcome


async def _until_kept(write: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await write()
        except LedgerError:
            await asyncio.sleep(WRITE_AGAIN_S)


def _cancelled(by: str) -> Outcome:
    """Somebody cancelled it before an agent was called."""
    return Outcome(error=f"cancelled by {by}", failure=AgentCancelled, called=False)


def _document(task: Task, request: Row) -> dict[str, Any]:
    return {
        "task_id": request.contract_id,
        "session_id": request.session_id,
        "capability": task.capability,
        "parameters": task.parameters,
        "context": task.context,
        **({"metadata": task.metadata} if task.metadata else {}),
    }


def _request_metadata(task: Task, reason: dict[str, Any] | None) -> str:
    about = dict(task.metadata)
    if task.context:
        about["context"] = task.context
    if task.queue:
        about["queue"] = task.queue
    if reason is not None:
        about["routing"] = reason
    return json.encode(about)


def _counted(request: Row, registered: Registered, outcome: Outcome, started: float, besides: dict[str, Any]) -> Row:
    """The RESPONSE of an agent, which remembers that it gave one."""
    response = _response(request, registered.agent.agent_id, outcome, started, besides)
    registered.count(response.created_at, success=outcome.failure is None)
    return response


def _response(request: Row, agent_id: str | None, outcome: Outcome, started: float, besides: dict[str, Any]) -> Row:
    moment = now()
    about: dict[str, Any] = {"duration_ms": _elapsed_ms(started), **besides}
    if outcome.failure is not None:
        about["code"] = outcome.failure.code
    if not outcome.called:
        about["called"] = False
    return Row(
        new_id(),
        request.session_id,
        RESPONSE,
        agent_id or ORCHESTRATOR,
        request.from_agent,
        request.capability,
        "{}",
        _request_status(outcome),
        moment,
        moment,
        outcome.result_text,
        outcome.error,
        json.encode(about),
        request.contract_id,
        request.parent_id,
    )


def _request_status(outcome: Outcome) -> str:
    if outcome.failure is None:
        return COMPLETED
    return CANCELLED if outcome.failure is AgentCancelled else FAILED


def _answer(
    response: Row,
    agent_id: str | None,
    outcome: Outcome,
    started: float,
    hint: str = "",
    about: dict[str, Any] | None = None,
) -> Answer:
    about = about or {}
    return Answer(
        success=outcome.failure is None,
        data=outcome.result,
        error=outcome.error,
        contract_id=response.request_id or "",
        agent_id=agent_id,
        session_id=response.session_id,
        timestamp=response.created_at,
        duration_ms=_elapsed_ms(started),
        failure=outcome.failure,
        hint=hint,
        reused=about.get("reused"),
        exit_code=about.get("exit_code"),
        stderr=about.get("stderr"),
    )


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
