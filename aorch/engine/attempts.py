"""Further attempts at a task whose agent was not reached, was busy, or was lost. Only what is safe is tried again."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from aorch.agents.base import AgentCapability
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.backoff import Backoff
from aorch.clock import now, rfc3339
from aorch.engine.cancellation import CancellationWatcher
from aorch.engine.delegation import reject_deadlock
from aorch.engine.exchange import cancelled_before_call, document_of
from aorch.engine.invocation import Invocation, combined, invoke
from aorch.engine.routing import check_and_choose, choose_other
from aorch.engine.task import Outcome, Task, outcome_of
from aorch.errors import (
    AgentBusy,
    AgentCancelled,
    AgentLost,
    AgentNotStarted,
    AgentUnreachable,
    AorchError,
    LedgerError,
    NoAgent,
    NoAgentAvailable,
)
from aorch.ledger.attempt import Attempt
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import Record, text_in

RETRIED = frozenset[type[AorchError]]((AgentUnreachable, AgentBusy, AgentLost))
"""The failures after which another attempt may be safe."""
LONGEST_PAUSE_S = 60.0
"""Maximum pause between attempts, if the agent does not ask for a longer one."""
JITTER = (0.8, 1.2)
LONGEST_WAIT_S = 30 * 86400.0
"""A queued task is not queued again if its agent is busy for longer."""
MOST_ATTEMPTS = 100
"""Maximum number of attempts at a queued task, after which it is not queued again."""
MOST_SHOWN = 8
"""Maximum number of attempts in the metadata of a RESPONSE; the table `attempts` has all of them."""


class Postponed(NoAgentAvailable):
    """The agent of a queued task is busy. The task is queued again, for `due_at` (RFC 3339)."""

    def __init__(self, due_at: str) -> None:
        super().__init__(f"its agent is busy until {due_at}")
        self.due_at = due_at


class Attempts:
    """The attempts at `task`, of which the one by `registered` has failed: that attribute is the agent of the latest one.

    `invocation` is the latest attempt. All attempts share the time of the task. `earlier` is the number of attempts before a
    queued task was queued again, and `started_at` the start of the one that has failed.
    """

    def __init__(
        self,
        task: Task,
        request: Record,
        registered: Registered,
        invocation: Invocation,
        *,
        earlier: int = 0,
        started_at: str = "",
    ) -> None:
        self.registered, self.invocation = registered, invocation
        self._task, self._request, self._ends_at = task, request, invocation.ends_at
        self._ended: list[Attempt] = []
        self._earlier, self._started_at = earlier, started_at or request.created_at

    async def proceed(
        self, outcome: Outcome, registry: Registry, ledger: Ledger, watcher: CancellationWatcher
    ) -> Outcome:
        """Make attempts until one succeeds, none is safe, or time or their number has run out. Returns the last outcome.

        Each attempt is in the ledger before the next agent is called. If the ledger does not accept it, there is none.
        """
        delivered, cancelled = outcome.delivered, None
        while self._may_retry(outcome):
            self.invocation.delivered, self.invocation.retry_safe = outcome.delivered, True
            try:
                chosen = await self._choose(outcome, registry, ledger, watcher)
            except asyncio.CancelledError:
                if self._ended or self._earlier:
                    self._close_latest(outcome, ledger)
                raise
            cancelled = chosen if isinstance(chosen, Outcome) else None
            if cancelled is not None:
                cancelled.delivered, cancelled.retry_safe = delivered, True
            if not isinstance(chosen, Registered) or not await self._begin(outcome, chosen, ledger):
                break
            try:
                outcome = await self._call(watcher)
            except asyncio.CancelledError:
                self._close_latest(Outcome(error="cancelled by the caller", failure=AgentCancelled), ledger)
                raise
            if outcome.delivered is False and outcome.retry_safe is None:
                outcome.retry_safe = True  # so were the earlier attempts, or this one would not have been made
            outcome.delivered = delivered = combined(delivered, outcome.delivered)
        if not (self._ended or self._earlier):
            return cancelled or outcome
        ended = self._attempt(outcome)
        with contextlib.suppress(LedgerError):  # the RESPONSE contains the same
            await ledger.write_attempts(ended)
        last = cancelled or outcome
        last.details = {**last.details, **self._summary(ended)}
        return last

    def _close_latest(self, outcome: Outcome, ledger: Ledger) -> None:
        """Commit that the latest attempt has ended with `outcome`, without waiting for it: the caller is cancelled."""
        ended = self._attempt(outcome)
        self.invocation.details = {**self.invocation.details, **self._summary(ended)}
        with contextlib.suppress(LedgerError):  # the RESPONSE contains the same
            writing = asyncio.ensure_future(ledger.write_attempts(ended))
            writing.add_done_callback(lambda written: written.cancelled() or written.exception())

    def _summary(self, latest: Attempt) -> dict[str, object]:
        """The attempts, for the metadata of the RESPONSE."""
        ended = [*self._ended, latest]
        shown = [{"agent_id": each.agent_id, "code": each.code} for each in ended[-MOST_SHOWN:]]
        return {"attempts": self.count, "tried": shown}

    @property
    def count(self) -> int:
        """The number of attempts in all."""
        return self._earlier + len(self._ended) + 1

    async def postponed_until(self, outcome: Outcome, ledger: Ledger) -> str | None:
        """When a queued task whose agent is busy can be tried again (RFC 3339), and record the last attempt. None: never, because
        its time or MOST_ATTEMPTS ends before, or it must not be tried again after `outcome`.
        """
        if (
            outcome.failure is not AgentBusy
            or AgentBusy.code in self._capability.retry.never
            or self.count >= MOST_ATTEMPTS
        ):
            return None
        backoff = Backoff(max(1.0, self._capability.retry.backoff_s), LONGEST_PAUSE_S, JITTER)
        pause_s = backoff.pause_s(self.count) if outcome.retry_after_s is None else max(1.0, outcome.retry_after_s)
        if pause_s > LONGEST_WAIT_S:
            return None
        due_at = rfc3339(datetime.now(UTC) + timedelta(seconds=pause_s))
        expires_at = text_in(self._task.queue, "expires_at")
        if expires_at is not None and due_at >= expires_at:
            return None
        with contextlib.suppress(LedgerError):  # it is tried again all the same
            await ledger.write_attempts(self._attempt(outcome))
        return due_at

    @property
    def _capability(self) -> AgentCapability:
        return self.registered.capabilities[self._task.capability]

    def _may_retry(self, outcome: Outcome) -> bool:
        failure, retry = outcome.failure, self._capability.retry
        if failure not in RETRIED or len(self._ended) + 1 >= retry.attempts or failure.code in retry.never:
            return False
        return outcome.delivered is False or outcome.retry_safe is True or self._capability.idempotent

    async def _choose(
        self, outcome: Outcome, registry: Registry, ledger: Ledger, watcher: CancellationWatcher
    ) -> Registered | Outcome | None:
        """The agent for the next attempt: another one at once, otherwise any after a pause.

        None: there is none, or no time for it. An Outcome: the task was cancelled.
        """
        retry, loop = self._capability.retry, asyncio.get_running_loop()
        if loop.time() >= self._ends_at:
            return None
        self.registered.witness(outcome.failure, outcome.error)
        tried = {each.agent_id for each in self._ended} | {self.registered.agent.agent_id}
        other = choose_other(registry, self._task, tried)
        if other is not None and self._accepts(other, ledger):
            return other
        backoff = Backoff(retry.backoff_s, LONGEST_PAUSE_S, JITTER)
        for failures in range(len(self._ended) + 1, retry.attempts):
            pause_s = backoff.pause_s(failures) if outcome.retry_after_s is None else outcome.retry_after_s
            if loop.time() + pause_s >= self._ends_at:
                return None
            self.invocation.announce_pause(pause_s, outcome.error)
            if (cancelled_by := await watcher.pause(self._request.contract_id, pause_s)) is not None:
                return cancelled_before_call(cancelled_by)
            with contextlib.suppress(NoAgent):  # none can take the task yet
                chosen, _ = await check_and_choose(registry, self._task)
                return chosen if self._accepts(chosen, ledger) else None
        return None

    def _accepts(self, registered: Registered, ledger: Ledger) -> bool:
        """Whether the task fits the agent's schema (agents may have different ones), and would not wait for itself."""
        try:
            registered.check(self._task.capability, self._task.parameters)
            if self._request.parent_id is not None and registered.is_full():
                reject_deadlock(ledger, registered, self._request.parent_id)
        except AorchError:
            return False
        return True

    async def _begin(self, failed: Outcome, registered: Registered, ledger: Ledger) -> bool:
        """Commit how the last attempt failed and that `registered` makes the next one. False: the ledger does not accept it."""
        ended, moment = self._attempt(failed), now()
        number = self.count + 1
        begun = Attempt(self._request.contract_id, number, registered.agent.agent_id, moment)
        try:
            await ledger.write_attempts(ended, begun)
        except LedgerError:
            return False
        self._ended.append(ended)
        self.registered, self._started_at = registered, moment
        self.invocation = self.invocation.again(registered.agent)
        return True

    def _attempt(self, outcome: Outcome) -> Attempt:
        """The latest attempt, which has ended with `outcome`."""
        code = outcome.failure.code if outcome.failure is not None else None
        agent_id, number = self.registered.agent.agent_id, self.count
        return Attempt(self._request.contract_id, number, agent_id, self._started_at, now(), code, outcome.error)

    async def _call(self, watcher: CancellationWatcher) -> Outcome:
        loop, registered, invocation = asyncio.get_running_loop(), self.registered, self.invocation
        request_id, left_s = self._request.contract_id, max(0.001, self._ends_at - loop.time())
        try:
            if (
                cancelled_by := await watcher.take_slot(request_id, registered, left_s, self._task.capability)
            ) is not None:
                return cancelled_before_call(cancelled_by)
        except (AgentBusy, LedgerError) as error:
            return outcome_of(error, delivered=False)
        try:
            document = document_of(self._task, self._request)
            return await invoke(invocation, document, left_s, watcher, self._ends_at)
        except AgentNotStarted as lack:
            return invocation.redacted(outcome_of(lack, delivered=False))
        finally:
            invocation.when_done(registered.release)
