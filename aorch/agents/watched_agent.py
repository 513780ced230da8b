"""The state of an agent: whether it can take tasks, since when, and why not.

Routing reads only this state. It is checked off the event loop: before the agent's first task, after a failed task,
and when `refresh` finds it older than RETRY_S (agents that cannot take tasks) or REFRESH_S (agents that can).
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aorch import logs
from aorch.agents.base import Agent, AgentState, AgentStatus
from aorch.agents.failure import described
from aorch.agents.secret_mask import masked, secrets_in
from aorch.clock import now
from aorch.errors import AgentUnreachable, AorchError
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.agents.circuit_breaker import CircuitBreaker

RETRY_S = 0.5
"""Age after which the state of an agent that cannot take tasks is checked again."""
REFRESH_S = 5.0
"""Age after which the state of an agent that can take tasks is checked again."""
CHECK_S = 5.0
"""How long a check may take."""
_TAKES_TASKS = frozenset({AgentStatus.AVAILABLE, AgentStatus.BUSY})
_LOGGER = logs.ROOT.getChild("agents")


class WatchedAgent:
    """An agent with its state, which is None before the first check. `able`: the state allows it to take tasks.

    `constant`: the agent has no checks of its own, so it is always available. `is_watched`: its state comes from the ledger,
    after the first check, and tasks change it. `on_state` is called after a task has changed it. `held`: the state that no check
    changes, because the agent drains or its registration has ended. `breaker`: the circuit breaker of an endpoint.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._is_local = type(agent).probe is Agent.probe and type(agent).open is Agent.open
        self.constant = self._is_local and type(agent).problem is Agent.problem
        self._checking: asyncio.Task[None] | None = None
        self._is_open = False
        self._logged = ""
        self.is_watched = False
        self.held: AgentState | None = None
        self.on_state: Callable[[], None] | None = None
        self.breaker: CircuitBreaker | None = getattr(agent, "breaker", None)
        self.reset()

    def reset(self) -> None:
        """Forget the state, as after the last task: the agent is checked before its next one, unless it is constant."""
        self.state = AgentState() if self.constant else None
        self.able, self._checked_at = self.constant, -math.inf

    def is_due(self, moment: float, max_age_s: float | None = None) -> bool:
        """Whether the state is older than `max_age_s` at that moment (of time.monotonic)."""
        if self.constant or self.state is None:
            return not self.constant
        if self.held is not None or self.is_watched:
            return False
        return moment - self._checked_at >= (
            max_age_s if max_age_s is not None else REFRESH_S if self.able else RETRY_S
        )

    def adopt(self, state: AgentState, *, held: bool = False) -> None:
        """Take over a state that is in the ledger. Such an agent is a remote one, which needs no `open`."""
        self._is_open = True
        self.state, self.held, self._checked_at = state, state if held else None, -math.inf
        self.able = self.takes_tasks()

    def hear_circuit(self, until: str | None, since: str | None) -> None:
        """Take over the circuit breaker of another process."""
        if self.breaker is not None:
            self.breaker.hear(until, since)
            self.able = self.takes_tasks()

    def takes_tasks(self) -> bool:
        """Whether its state, and its circuit breaker, allow it to take tasks."""
        if self.state is None or self.state.status not in _TAKES_TASKS:
            return False
        return self.breaker is None or not self.breaker.blocks()

    def is_offline(self) -> bool:
        """Whether it was not reached when it was last checked or called, or its circuit breaker is open."""
        if self.breaker is not None and self.breaker.blocks():
            return True
        return self.state is not None and self.state.status == AgentStatus.OFFLINE

    def witness(self, failure: type[AorchError] | None, error: str | None) -> None:
        """Take the end of a task (`failure` is None after success) as evidence of the agent's state."""
        if failure is None:
            if self.is_watched and self.held is None and self.state is not None:
                self._note(AgentState())
            self.able = self.takes_tasks()
        elif not self.constant:
            may_change = (
                self.is_watched and self.held is None and not (self.breaker is not None and self.breaker.blocks())
            )
            if failure is AgentUnreachable and may_change:
                self._note(AgentState(AgentStatus.OFFLINE, error))
            self.able = self.able and self.takes_tasks()
            self.refresh_soon()

    def _note(self, state: AgentState) -> None:
        before = self.state
        self._set(state)
        if self.state is not before and self.on_state is not None:
            self.on_state()

    def problem(self) -> str | None:
        """Why this agent cannot take a task, or None. An agent that was never checked is checked now, in this thread."""
        if self.state is None:
            self.look()
        if self.state is None or self.able:
            return None
        if self.breaker is not None and self.breaker.blocks():
            return self.breaker.reason()
        return self.state.reason or str(self.state.status)

    def look(self) -> None:
        """Check the agent by its `problem`, in this thread. That is not enough for an agent with a `probe` of its own: unless
        there is a problem, its state stays None until it is opened.
        """
        self._checked_at = time.monotonic()
        try:
            reason = self.agent.problem()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  SystemExit, CancelledError: it is an agent's own code
            self._failed("problem", error)
        else:
            if reason:
                self._set(AgentState(AgentStatus.ERROR, reason))
            elif self._is_open or self._is_local:
                self._set(AgentState())

    def refresh_soon(self) -> None:
        """Check the agent in the background, unless its last check is less than RETRY_S ago."""
        if self.held is not None or (self.is_watched and self.state is not None):
            self.able = self.takes_tasks()  # the circuit may let a task through now
            return
        if not self.able and self.breaker is not None:
            self.able = self.takes_tasks()
        if not self.constant and time.monotonic() - self._checked_at >= RETRY_S:
            with contextlib.suppress(RuntimeError):  # no event loop runs here
                self.checking(asyncio.get_running_loop())

    def checking(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[None]":
        """The check in progress in that loop; starts one if there is none."""
        if self._checking is None or self._checking.done() or self._checking.get_loop() is not loop:
            self._checked_at = time.monotonic()
            self._checking = loop.create_task(_look_at([self]) if self._is_local else self._check())
        return self._checking

    def shares_thread(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this agent can be checked without network access, and no check is in progress in that loop."""
        checking = self._checking
        return self._is_local and (checking is None or checking.done() or checking.get_loop() is not loop)

    def share(self, checking: "asyncio.Task[None]") -> None:
        """Record `checking`, which checks this agent and others, as the check in progress."""
        self._checking, self._checked_at = checking, time.monotonic()

    def probed(self) -> None:
        """Called after each `probe` of the agent that ended."""

    async def close(self) -> None:
        """Close the agent if it is open. An exception is logged."""
        if self._is_open:
            self._is_open = False
            try:
                async with asyncio.timeout(CHECK_S):
                    await self.agent.close()
            except Exception as error:  # noqa: BLE001  an agent's own code
                self._log(f"its close() raised {described(error)}", error)
        self.reset()

    async def _check(self) -> None:
        self._checked_at = time.monotonic()
        step, limit_s = "open", self.agent.check_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                if not self._is_open:
                    await self.agent.open()
                    self._is_open = True
                step = "probe"
                if type(self.agent).probe is Agent.probe:
                    await in_thread(self.look)
                else:
                    self._set(await self.agent.probe())
                    self.probed()
        except TimeoutError as error:
            if step == "open":
                self._failed(step, error)
            else:
                self._set(AgentState(AgentStatus.OFFLINE, f"it did not answer within {limit_s:g} s"))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._failed(step, error)
        except Exception as error:  # noqa: BLE001  an agent's own code
            self._failed(step, error)

    def _failed(self, method: str, error: BaseException) -> None:
        reason = f"its {method}() raised {described(error)}"
        self._set(AgentState(AgentStatus.ERROR, reason))
        self._log(reason, error)

    def _log(self, reason: str, error: BaseException) -> None:
        if reason != self._logged:
            self._logged = reason
            _LOGGER.error("agent %s: %s", self.agent.agent_id, reason, exc_info=error)

    def _set(self, state: AgentState) -> None:
        if state.reason and self.agent.secret_env:
            state = state._replace(reason=masked(state.reason, secrets_in(self.agent.secret_env)))
        before, state = self.state, self.held or state
        if before is None or (before.status, before.reason) != (state.status, state.reason):
            self.state = state._replace(since=now())
        self.able = self.takes_tasks()


async def refresh_all(agents: Iterable[WatchedAgent]) -> None:
    """Check these agents at the same time; checks without network access share one thread."""
    loop = asyncio.get_running_loop()
    local = [each for each in agents if each.shares_thread(loop)]
    if local:
        looking = loop.create_task(_look_at(local))
        for each in local:
            each.share(looking)
    for checking in dict.fromkeys(each.checking(loop) for each in agents):
        await asyncio.shield(checking)


async def _look_at(agents: list[WatchedAgent]) -> None:
    def look() -> None:
        for each in agents:
            each.look()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CHECK_S):
            await in_thread(look)
