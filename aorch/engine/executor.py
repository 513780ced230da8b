"""The executor of tasks: route → commit the REQUEST → call the agent → commit the RESPONSE → answer."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.agents.slots import Slots
from aorch.clock import now
from aorch.engine.agent_log import StartWarnings
from aorch.engine.attempts import RETRIED, Attempts
from aorch.engine.cancellation import CancellationWatcher
from aorch.engine.delegation import calling_agent, reject_wait
from aorch.engine.exchange import (
    answer_of,
    cancelled_before_call,
    document_of,
    outcome_of_fault,
    refused_exchange,
    request_of,
    response_of,
)
from aorch.engine.invocation import MAX_THREADS, Invocation, current_invocation, invoke
from aorch.engine.progress_log import ProgressLog
from aorch.engine.response_saver import PATIENCE_S, ResponseSaver, Unsaved
from aorch.engine.routing import check_and_choose, choose
from aorch.engine.task import Answer, Outcome, Task, outcome_of
from aorch.errors import (
    AgentBusy,
    AgentCancelled,
    AgentNotStarted,
    AorchError,
    Conflict,
    LedgerError,
    NoAgentAvailable,
)
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import PENDING, Record
from aorch.ledger.task_keys import TaskKey
from aorch.process.per_loop import PerLoop
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.engine.registrations import Registrations

_log = logging.getLogger("aorch")

CLOSING = "the closing of its orchestrator"
"""The `by` of tasks that are cancelled because the orchestrator closes."""
REQUEUE_PAUSE_S = 1.0
"""Pause between attempts to return a task to the queue while the ledger does not accept writes."""
CANCELLED_PATIENCE_S = 0.3
"""How long a cancelled caller waits for the ledger to accept the RESPONSE."""
START_AGAIN_S = 0.2
"""Pause between attempts to start a program while descriptors, processes or memory run out."""


class Postponed(NoAgentAvailable):
    """The agent of a queued task is busy. The task is queued again, for `due_at` (RFC 3339)."""

    def __init__(self, due_at: str) -> None:
        super().__init__(f"its agent is busy until {due_at}")
        self.due_at = due_at


class _LoopState(NamedTuple):
    """What the executor keeps for each event loop."""

    watcher: CancellationWatcher
    saver: ResponseSaver
    progress: ProgressLog


class TaskExecutor:
    """Executes tasks with the agents of `registry`, and records each exchange in `ledger`.

    `timeout_s` (seconds) is the default timeout, `max_depth` the longest chain of delegation, and `parent_id` the parent of
    all tasks if a program agent started this process.
    """

    def __init__(
        self, registry: Registry, ledger: Ledger, timeout_s: float, max_depth: int, parent_id: str | None = None
    ) -> None:
        self.registry = registry
        self.ledger = ledger
        self.timeout_s = timeout_s
        self.max_depth = max_depth
        self.parent_id = parent_id
        self.threads = Slots(MAX_THREADS)
        """The threads in which agents with a plain `def execute` run."""
        self.registrations: Registrations | None = None
        """The registered agents; None if there are none."""
        self.start_warnings = StartWarnings()
        self._closed_by: list[str] = []
        self._loops = PerLoop(partial(_state_of_loop, ledger, self._closed_by, set()))

    @property
    def watcher(self) -> CancellationWatcher:
        """The watcher of this event loop."""
        return self._loops[asyncio.get_running_loop()].watcher

    @property
    def saver(self) -> ResponseSaver:
        """The saver of this event loop."""
        return self._loops[asyncio.get_running_loop()].saver

    def note_progress(self, request_id: str, progress: object) -> None:
        """Let other processes know what the agent of that REQUEST reported, in the event loop that runs it."""
        self._loops[asyncio.get_running_loop()].progress.note(request_id, progress)

    def cancel_all(self, by: str) -> None:
        """Cancel all running tasks in any loop and all that start later. Their RESPONSEs and answers are `cancelled`."""
        self._closed_by.append(by)
        for loop, state in list(self._loops.items()):
            if state.watcher.watched:
                with contextlib.suppress(RuntimeError):  # that loop is closed
                    loop.call_soon_threadsafe(state.watcher.cancel_all)

    async def close(self, *, in_this_thread: bool = False) -> None:
        """Cancel running tasks, write unsaved RESPONSEs one last time, and close the ledger.

        Closing may wait for a lock: it does so in another thread, or `in_this_thread` if nothing is left to run in its loop.
        """
        watcher, saver, progress = self._loops[asyncio.get_running_loop()]
        progress.close()
        if in_this_thread and not (saver.unsaved or watcher.watched):
            return self.ledger.close()
        self.cancel_all(CLOSING)
        if lost := await saver.close(partial(in_thread, self.ledger.close)):
            _log.error("the ledger did not accept %d RESPONSEs; their REQUESTs will be answered as interrupted", lost)

    async def perform(
        self,
        task: Task,
        on_cut_off: Callable[[Outcome], None] | None = None,
        *,
        in_line: bool = False,
        max_line: float = math.inf,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Answer:
        """Execute `task`. Both contracts are durable when this returns, regardless of the outcome.

        If an agent is unreachable, busy or lost, another attempt is made if that is safe (see attempts.py). `on_progress`
        gets what the agent reports while it works. The task's timeout includes the wait for a slot of the agent, except with
        `in_line`, for callers that start more tasks than the agent can run at once. If it would have to wait and `max_line`
        tasks wait already, it is rejected with AgentBusy.

        Raises Unsaved if the ledger does not accept the RESPONSE within PATIENCE_S (delegated tasks wait without limit);
        LedgerError if it does not accept the REQUEST; Conflict if the idempotency key was used; CancelledError once the
        RESPONSE of a cancelled task is written. That RESPONSE is `cancelled`, or has the answer that the agent had given by
        then; `on_cut_off` gets this outcome.
        """
        started, outer = time.perf_counter(), current_invocation.get()
        parent_id = task.parent_id or (self.parent_id if outer is None else outer.request_id)
        from_agent, registered, routing, owner_id = None, None, None, self.ledger.owner_id
        try:
            if parent_id is not None:
                from_agent = calling_agent(self.ledger, task, parent_id, self.max_depth, outer)
            registered, routing = choose(self.registry, task) or await check_and_choose(self.registry, task)
            registered.check(task.capability, task.parameters)
            if (parent_id is not None or len(registered.line) >= max_line) and registered.is_full():
                reject_wait(self.ledger, registered, task.capability, parent_id, max_line)
        except AorchError as refusal:
            agent_id = registered.agent.agent_id if registered else task.agent_id
            request = request_of(task, agent_id, from_agent, parent_id, routing, owner_id)
            return await self.refuse(request, refusal, started, task.idempotency if task.refusal_uses_key else None)
        agent, state = registered.agent, self._loops[asyncio.get_running_loop()]
        request = request_of(task, agent.agent_id, from_agent, parent_id, routing, owner_id)
        invocation, outcome = Invocation(self, agent, request.contract_id, outer, on_progress=on_progress), None
        try:
            outcome = await self._run(task, request, registered, invocation, state.watcher, in_line=in_line)
            if outcome.failure in RETRIED:
                failed, outcome = outcome, None
                registered, outcome = await self._retry(task, request, registered, invocation, failed)
            patience_s = PATIENCE_S if outer is None else math.inf
            return await _respond(state.saver, request, registered, outcome, started, patience_s)
        except asyncio.CancelledError:
            if outcome is None:
                outcome = invocation.cut_off("cancelled by the caller", AgentCancelled)
                registered = self.registry.find(invocation.agent.agent_id) or registered
                await _respond_last(state.saver, request, registered, outcome, started)
            if on_cut_off is not None:
                on_cut_off(outcome)
            raise
        except (LedgerError, Conflict):  # the REQUEST is not in the ledger, or its RESPONSE will be soon
            raise
        except Exception as error:  # a bug in aorch, or in the agent's attributes, must not leave the REQUEST open
            outcome = outcome_of_fault(error, delivered=invocation.delivered)
            await _respond_last(state.saver, request, registered, outcome, started)
            raise

    async def _retry(
        self, task: Task, request: Record, registered: Registered, invocation: Invocation, failed: Outcome
    ) -> tuple[Registered, Outcome]:
        """Make further attempts at a task whose first one has `failed`. Returns the last agent, and its outcome."""
        attempts = Attempts(task, request, registered, invocation)
        outcome = await attempts.proceed(failed, self.registry, self.ledger, self.watcher)
        return attempts.registered, outcome

    async def refuse(self, request: Record, refusal: AorchError, started: float, key: TaskKey | None = None) -> Answer:
        """Commit `request` and a RESPONSE that states why no agent was called, and return the answer."""
        ended, response, outcome = refused_exchange(request, refusal, started)
        await self.ledger.write_refused(ended, response, key)
        return answer_of(response, request.to_agent, outcome)

    async def _run(
        self,
        task: Task,
        request: Record,
        registered: Registered,
        invocation: Invocation,
        watcher: CancellationWatcher,
        *,
        in_line: bool,
    ) -> Outcome:
        """Commit the REQUEST and call the agent. While all slots of the agent are taken, the REQUEST is `pending`."""
        limit_s, ends_at = task.timeout_s or registered.agent.timeout_s or self.timeout_s, None
        waited, unlimited = False, registered.slots is None
        if unlimited:
            registered.holders.add(request.contract_id)
        elif waited := not registered.try_acquire(request.contract_id):
            if task.timeout_s and not in_line:
                ends_at = asyncio.get_running_loop().time() + limit_s
            wait_s = math.inf if in_line else limit_s
            if (outcome := await self._wait_in_line(task, request, registered, watcher, wait_s)) is not None:
                return outcome
        try:
            if waited:
                try:
                    await self.ledger.write_start(request.contract_id)
                except LedgerError as error:  # the REQUEST is in the ledger, so it gets a RESPONSE
                    return outcome_of(error, delivered=False)
            else:
                await self.ledger.write_request(request, task.idempotency)
            document = document_of(task, request)
            try:
                return await invoke(invocation, document, limit_s, watcher, ends_at)
            except AgentNotStarted as lack:
                return await self._retry_start(invocation, document, limit_s, watcher, ends_at, lack)
        finally:
            if unlimited and invocation.thread is None and (invocation.task is None or invocation.task.done()):
                registered.holders.discard(request.contract_id)
            else:
                invocation.when_done(registered.release)

    async def _wait_in_line(
        self, task: Task, request: Record, registered: Registered, watcher: CancellationWatcher, wait_s: float
    ) -> Outcome | None:
        """Commit the REQUEST and wait for a slot of its agent. Returns the outcome of the task if it gets none."""
        registered.enter_line(request.contract_id)
        try:
            await self.ledger.write_request(request._replace(status=PENDING), task.idempotency)
            try:
                cancelled_by = await watcher.take_slot(request.contract_id, registered, wait_s, task.capability)
            except (AgentBusy, LedgerError) as error:  # the REQUEST is in the ledger, so it gets a RESPONSE
                return outcome_of(error, delivered=False)
            return None if cancelled_by is None else cancelled_before_call(cancelled_by)
        finally:
            registered.line.pop(request.contract_id, None)

    async def _retry_start(
        self,
        invocation: Invocation,
        document: dict[str, object],
        limit_s: float,
        watcher: CancellationWatcher,
        ends_at: float | None,
        lack: AgentNotStarted,
    ) -> Outcome:
        """Keep trying to call an agent whose program could not be started, until the task's timeout."""
        loop = asyncio.get_running_loop()
        ends_at = ends_at or loop.time() + limit_s
        self.start_warnings.warn(lack)
        while loop.time() < ends_at:
            if (cancelled_by := await watcher.pause(invocation.request_id, START_AGAIN_S)) is not None:
                return cancelled_before_call(cancelled_by)
            try:
                return await invoke(invocation, document, limit_s, watcher, ends_at)
            except AgentNotStarted as error:
                lack = error
        return outcome_of(lack, delivered=False)

    async def execute_claimed(self, task: Task, request: Record, earlier: int = 0) -> Record:
        """Execute `task`, whose REQUEST was claimed from the queue after `earlier` attempts. Returns its RESPONSE, for
        `save_response`.

        If the caller is cancelled, the REQUEST is queued again if that is safe, otherwise answered as `interrupted`. Raises
        NoAgentAvailable, after it was queued again, if its agent no longer works, and Postponed if its agent is busy.
        """
        started, registered = time.perf_counter(), None
        try:
            registered, _ = choose(self.registry, task) or await check_and_choose(self.registry, task)
            registered.check(task.capability, task.parameters)
            registered, outcome = await self._run_claimed(task, request, registered, earlier)
        except NoAgentAvailable as lack:
            due_at = lack.due_at if isinstance(lack, Postponed) else None
            await _retried(lambda: self.ledger.give_back(request.contract_id, called=False, due_at=due_at))
            raise
        except AorchError as refusal:
            return response_of(request, None, outcome_of(refusal, delivered=False), started)
        return response_of(request, registered, outcome, started)

    async def save_response(self, response: Record, report: Callable[[AorchError], None], *, webhook: bool) -> None:
        """Commit the RESPONSE to a claimed task. `report` gets the error if the ledger does not accept it within PATIENCE_S.

        With `webhook`, the webhook of the task (if any) becomes due.
        """
        with contextlib.suppress(Conflict):  # another process has answered it: the first answer is kept
            try:
                await self.saver.save(response, webhook=webhook)
            except Unsaved as unsaved:
                report(unsaved)
                await asyncio.shield(unsaved.saving)

    async def _run_claimed(
        self, task: Task, request: Record, registered: Registered, earlier: int
    ) -> tuple[Registered, Outcome]:
        request_id, watcher = request.contract_id, self.watcher
        limit_s = task.timeout_s or registered.agent.timeout_s or self.timeout_s
        invocation = Invocation(self, registered.agent, request_id)
        started_at = now()
        try:
            try:
                cancelled_by = await watcher.take_slot(request_id, registered, limit_s, task.capability)
            except AgentBusy as late:  # it can wait in the queue instead
                raise NoAgentAvailable(str(late), late.hint) from late
            if cancelled_by is not None:
                return registered, cancelled_before_call(cancelled_by)
            try:
                outcome = await invoke(invocation, document_of(task, request), limit_s, watcher)
            finally:
                invocation.when_done(registered.release)
            if outcome.failure in RETRIED or earlier:
                attempts = Attempts(task, request, registered, invocation, earlier=earlier, started_at=started_at)
                outcome = await attempts.proceed(outcome, self.registry, self.ledger, watcher)
                if (due_at := await attempts.postponed_until(outcome, self.ledger)) is not None:
                    raise Postponed(due_at)
                return attempts.registered, outcome
            return registered, outcome
        except asyncio.CancelledError:
            # if the ledger does not accept it now, the next process that opens it does the same
            called = invocation.delivered and not invocation.retry_safe
            giving_back = asyncio.ensure_future(self.ledger.give_back(request_id, called=called))
            giving_back.add_done_callback(lambda given_back: given_back.cancelled() or given_back.exception())
            await asyncio.wait((giving_back,), timeout=CANCELLED_PATIENCE_S)
            raise


def _state_of_loop(
    ledger: Ledger, closed_by: list[str], reported: set[str], loop: asyncio.AbstractEventLoop
) -> _LoopState:
    watcher = CancellationWatcher(ledger, loop, closed_by)
    return _LoopState(watcher, ResponseSaver(ledger, loop), ProgressLog(ledger, loop, watcher.watched, reported))


async def _respond(
    saver: ResponseSaver,
    request: Record,
    registered: Registered,
    outcome: Outcome,
    started: float,
    patience_s: float,
    *,
    last: bool = False,
) -> Answer:
    """Commit the RESPONSE and return the answer."""
    response = response_of(request, registered, outcome, started)
    answer = answer_of(response, response.from_agent, outcome)
    try:
        await saver.save(response, last=last, patience_s=patience_s)
    except Unsaved as unsaved:
        unsaved.answer = answer
        raise
    except Conflict as conflict:
        return answer_of(response, response.from_agent, Outcome(error=str(conflict), failure=Conflict))
    return answer


async def _respond_last(
    saver: ResponseSaver, request: Record, registered: Registered, outcome: Outcome, started: float
) -> None:
    """Like `_respond`, but no caller waits for the answer, and the REQUEST may not be written yet."""
    response = _respond(saver, request, registered, outcome, started, CANCELLED_PATIENCE_S, last=True)
    with contextlib.suppress(Unsaved):
        await asyncio.shield(response)


async def _retried(write: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await write()
        except LedgerError:
            await asyncio.sleep(REQUEUE_PAUSE_S)
