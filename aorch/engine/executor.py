"""The executor of tasks: route → commit the REQUEST → call the agent → commit the RESPONSE → answer."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from aorch import jsonio
from aorch.agents.parameters import ParameterCheck
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.agents.slots import Slots
from aorch.clock import now
from aorch.config.settings import Config
from aorch.engine.agent_log import StartWarnings
from aorch.engine.attempts import RETRIED, Attempts, Postponed
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
from aorch.engine.loop_state import LoopState
from aorch.engine.responding import CANCELLED_PATIENCE_S, respond, respond_last, retried, saved_at_last
from aorch.engine.response_saver import PATIENCE_S, ResponseSaver
from aorch.engine.routing import check_and_choose, choose
from aorch.engine.task import Answer, Outcome, Redaction, Task, outcome_of
from aorch.errors import (
    AgentBusy,
    AgentCancelled,
    AgentNotStarted,
    AorchError,
    Conflict,
    LedgerError,
    LedgerOutcomeUnknown,
    NoAgent,
    NoAgentAvailable,
)
from aorch.ledger.contract_metadata import requested_agent
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import PENDING, Record
from aorch.ledger.task_keys import TaskKey
from aorch.process.per_loop import PerLoop
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.engine.redaction import Redactor
    from aorch.engine.registrations import Registrations

_log = logging.getLogger("aorch")

CLOSING = "the closing of its orchestrator"
"""The `by` of tasks that are cancelled because the orchestrator closes."""
START_AGAIN_S = 0.2
"""Pause between attempts to start a program while descriptors, processes or memory run out."""


class TaskExecutor:
    """Executes tasks with the agents of `registry`, and records each exchange in `ledger`. `parent_id` is the parent of all
    tasks if a program agent started this process.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        ledger: Ledger,
        registrations: "Callable[[], Registrations]",
        parent_id: str | None = None,
    ) -> None:
        self.registry, self.ledger, self.parent_id = registry, ledger, parent_id
        self.timeout_s, self.max_depth = config.timeout_s, config.max_depth
        self.threads = Slots(MAX_THREADS)
        """The threads in which agents with a plain `def execute` run."""
        self.registrations = registrations
        """Returns the registered agents of the ledger."""
        self.start_warnings = StartWarnings()
        self.redact_config = config.redact
        self.redactor: Redactor | None = None
        """Finds secrets by patterns; None if none are configured. Secret parameters are redacted all the same."""
        if config.redact.presets or config.redact.patterns:
            from aorch.engine import redaction  # noqa: PLC0415  only if it is configured

            self.redactor = redaction.Redactor(config.redact)
        self._closed_by: list[str] = []
        self._reported: set[str] = set()
        self._loops = PerLoop(partial(LoopState, ledger, self._closed_by, self._reported, registrations))

    def enter_loop(self) -> None:
        """Prepare for tasks in the running event loop, if none ran there yet."""
        self._loops[asyncio.get_running_loop()]

    @property
    def watcher(self) -> CancellationWatcher:
        """The watcher of this event loop."""
        return self._loops[asyncio.get_running_loop()].watcher

    @property
    def saver(self) -> ResponseSaver:
        """The saver of this event loop."""
        return self._loops[asyncio.get_running_loop()].saver

    def note_progress(self, request_id: str, progress: object, redaction: Redaction | None = None) -> None:
        """Let other processes know what the agent of that REQUEST reported, in the event loop that runs it."""
        self._loops[asyncio.get_running_loop()].progress.note(request_id, progress, redaction)

    def stored_payload(self, task: Task) -> str:
        """The payload of a REQUEST for `task` from the running code, as JSON text: its secrets are redacted."""
        self.redact(task, current_invocation.get())
        return request_of(task, None, None, None, None, None).payload

    def _check(self, task: Task, registered: Registered, outer: Invocation | None) -> None:
        """Raise ParametersInvalid if the parameters do not match the agent's schema. Prepares the redaction of the task."""
        if (
            self.redactor is not None
            or (
                self.registry.secret
                and (task.capability in self.registry.secret or registered.agent.kind == "pipeline")
            )
            or (outer is not None and outer.redaction is not None)
        ):
            task.redaction = None  # of an earlier attempt, perhaps with other agents
            self.redact(task, outer)
        check = registered.checks.get(task.capability)
        if check is None:
            check = registered.checks[task.capability] = ParameterCheck(registered.capabilities[task.capability])
        check(task.parameters)

    def redact(self, task: Task, outer: Invocation | None, refusal: AorchError | None = None) -> None:
        """Prepare the redaction of `task` for all agents that could get it, if it needs one, and redact its `refusal`.

        Raises ConfigInvalid if the key of redacted values cannot be used.
        """
        above = outer.redaction if outer is not None else None
        if task.redaction is None and (self.registry.secret or self.redactor is not None or above is not None):
            from aorch.engine.redaction import Redactor, redaction_of  # noqa: PLC0415  most tasks need none
            from aorch.engine.secret_inputs import secret_schemas  # noqa: PLC0415

            declared = secret_schemas(self.registry, task.capability) if self.registry.secret else []
            if declared or self.redactor is not None or above is not None:
                task.redaction = redaction_of(self.redactor or Redactor(self.redact_config), task, declared, above)
                task.idempotency = task.redaction.key(task.idempotency)
        if refusal is not None and task.redaction is not None:
            task.redaction.error(refusal)

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
        state = self._loops[asyncio.get_running_loop()]
        if self._reported:
            state.progress.close()
        if self.ledger.has_agents:
            await self.registrations().finish_writing()
        if in_this_thread and not (state.saver.unsaved or state.watcher.watched):
            self._closed_by.append(CLOSING)
            return self.ledger.close()
        self.cancel_all(CLOSING)
        if lost := await state.saver.close(partial(in_thread, self.ledger.close)):
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
        outer = current_invocation.get()
        parent_id = task.parent_id or (self.parent_id if outer is None else outer.request_id)
        from_agent, registered, routing, outcome, owner_id = None, None, None, None, self.ledger.owner_id
        try:
            if parent_id is not None:
                from_agent = calling_agent(self.ledger, task, parent_id, self.max_depth, outer)
            registered, routing = choose(self.registry, task) or await check_and_choose(self.registry, task)
            self._check(task, registered, outer)
            if (parent_id is not None or len(registered.line) >= max_line) and registered.is_full():
                reject_wait(self.ledger, registered, task.capability, parent_id, max_line)
        except AorchError as refusal:
            self.redact(task, outer, refusal)
            chosen = registered.agent.agent_id if registered else task.agent_id
            request = request_of(task, chosen, from_agent, parent_id, routing, owner_id)
            return await self.refuse(request, refusal, task.idempotency if task.refusal_uses_key else None)
        agent, state, started = registered.agent, self._loops[asyncio.get_running_loop()], time.perf_counter()
        request = request_of(task, agent.agent_id, from_agent, parent_id, routing, owner_id)
        invocation = Invocation(self, agent, request.contract_id, outer, task.redaction, on_progress, parent_id)
        try:
            outcome = await self._run(task, request, registered, invocation, state.watcher, in_line=in_line)
            if outcome.failure in RETRIED:
                failed, outcome = outcome, None
                registered, outcome = await self._retry(task, request, registered, invocation, failed)
            patience_s = PATIENCE_S if outer is None else math.inf
            return await respond(state.saver, request, registered, outcome, started, patience_s)
        except asyncio.CancelledError:
            if outcome is None:
                outcome = invocation.latest().cut_off("cancelled by the caller", AgentCancelled)
                registered = self.registry.find(invocation.latest().agent.agent_id) or registered
                await respond_last(state.saver, request, registered, outcome, started)
            if on_cut_off is not None:
                on_cut_off(outcome)
            raise
        except Exception as error:  # a bug in aorch, or in the agent's attributes, must not leave the REQUEST open
            if isinstance(error, LedgerError | Conflict) and not isinstance(error, LedgerOutcomeUnknown):
                raise  # the REQUEST is not in the ledger, or its RESPONSE will be soon
            outcome = invocation.redacted(outcome_of_fault(error, delivered=invocation.latest().is_delivered()))
            await respond_last(state.saver, request, registered, outcome, started)
            raise

    async def _retry(
        self, task: Task, request: Record, registered: Registered, invocation: Invocation, failed: Outcome
    ) -> tuple[Registered, Outcome]:
        """Make further attempts at a task whose first one has `failed`. Returns the last agent, and its outcome."""
        attempts = Attempts(task, request, registered, invocation)
        outcome = await attempts.proceed(failed, self.registry, self.ledger, self.watcher)
        return attempts.registered, outcome

    async def refuse(self, request: Record, refusal: AorchError, key: TaskKey | None = None) -> Answer:
        """Commit `request` and a RESPONSE that states why no agent was called, and return the answer."""
        ended, response, outcome = refused_exchange(request, refusal)
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
        return invocation.redacted(outcome_of(lack, delivered=False))

    async def execute_claimed(self, task: Task, request: Record, earlier: int = 0) -> Record:
        """Execute `task`, whose REQUEST was claimed from the queue after `earlier` attempts. Returns its RESPONSE, for
        `save_response`.

        If the caller is cancelled, the REQUEST is queued again if that is safe, otherwise answered as `interrupted`. Raises
        NoAgent, after it was queued again, if its agent is gone or cannot do it now, and Postponed if its agent is busy.
        """
        started, registered = time.perf_counter(), None
        try:
            registered, _ = choose(self.registry, task) or await check_and_choose(self.registry, task)
            self._check(task, registered, None)
            registered, outcome = await self._run_claimed(task, request, registered, earlier)
        except NoAgent as lack:
            due_at = lack.due_at if isinstance(lack, Postponed) else None
            await retried(lambda: self.ledger.give_back(request.contract_id, called=False, due_at=due_at))
            raise
        except AorchError as refusal:
            self.redact(task, None, refusal)
            return response_of(request, None, outcome_of(refusal, delivered=False), started)
        return response_of(request, registered, outcome, started)

    async def save_response(self, response: Record, report: Callable[[AorchError], None], *, webhook: bool) -> bool:
        """Commit the RESPONSE to a claimed task (responding.py). With `webhook`, the webhook of the task (if any) is due then."""
        return await saved_at_last(self.saver, response, report, webhook=webhook)

    async def _run_claimed(
        self, task: Task, request: Record, registered: Registered, earlier: int
    ) -> tuple[Registered, Outcome]:
        request_id, watcher = request.contract_id, self.watcher
        limit_s = task.timeout_s or registered.agent.timeout_s or self.timeout_s
        invocation = Invocation(self, registered.agent, request_id, None, task.redaction, None, request.parent_id)
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
                agent_id = requested_agent(jsonio.decode(request.metadata), request.to_agent)
                asked = msgspec.structs.replace(task, agent_id=agent_id)
                attempts = Attempts(asked, request, registered, invocation, earlier=earlier, started_at=started_at)
                outcome = await attempts.proceed(outcome, self.registry, self.ledger, watcher)
                if (due_at := await attempts.postponed_until(outcome, self.ledger)) is not None:
                    raise Postponed(due_at)
                return attempts.registered, outcome
            return registered, outcome
        except asyncio.CancelledError:
            # if the ledger does not accept it now, the next process that opens it does the same
            called = not invocation.latest().may_rerun()
            giving_back = asyncio.ensure_future(self.ledger.give_back(request_id, called=called))
            giving_back.add_done_callback(lambda given_back: given_back.cancelled() or given_back.exception())
            await asyncio.wait((giving_back,), timeout=CANCELLED_PATIENCE_S)
            raise
