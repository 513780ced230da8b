"""A registered agent: its capabilities, state, slots, and task counts in this process."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aorch.agents.agent_checks import capabilities_of
from aorch.agents.base import Agent, AgentCapability, AgentState, AgentStatus
from aorch.agents.parameters import ParameterCheck
from aorch.agents.refreshable import RefreshableAgent
from aorch.agents.shared_slots import Limits, SharedSlots
from aorch.agents.slots import Slots
from aorch.agents.watched_agent import WatchedAgent
from aorch.clock import rfc3339
from aorch.errors import ConfigInvalid

SMOOTHING = 5.0
"""The divisor of an exponentially weighted moving average: the last task counts a fifth."""


class Lease(NamedTuple):
    """The registration of an agent over HTTP: by the token with the id `owner` (empty: none), until `ends_at` (None: no end),
    since `registered_at` (RFC 3339).
    """

    owner: str
    ends_at: str | None
    registered_at: str


class Registered(WatchedAgent):
    """An agent, and what this process knows about it. `lease` is None unless it was registered over HTTP.

    `slots` is None if the agent takes any number of tasks at once. `holders` are the REQUESTs whose tasks it executes now,
    including those whose code is still running after their time limit; `line` are those that wait for a slot, in order.
    """

    def __init__(
        self,
        agent: Agent,
        capabilities: dict[str, AgentCapability],
        *,
        declared: bool,
        limits: Limits | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """`limits` are those that it shares with other processes. `on_change` is called after the capabilities of an agent that
        `discovers` them have changed.
        """
        super().__init__(agent)
        self.lease: Lease | None = None
        self.capabilities, self.declared, self._on_change = capabilities, declared, on_change
        self.registered_at, self.answered_at = datetime.now(UTC), ""
        self.holders: set[str] = set()
        self.line: dict[str, None] = {}
        self.completed = self.failed = 0
        self.checks: dict[str, ParameterCheck] = {}
        self.turns: dict[str, float] = {}
        """By capability, how many tasks it was given, divided by its weight. Counted only for the policy round-robin."""
        self.latency_ms: dict[str, float] = {}
        """By capability, the moving average of how long a task takes, measured if `is_timed`."""
        self.is_timed = False
        if isinstance(agent, RefreshableAgent):
            agent.on_capabilities = self.probed
        self.shared = None if limits is None else SharedSlots(limits)
        self.slots = self.shared or (None if agent.concurrency is None else Slots(agent.concurrency))

    def locked(self) -> bool:
        """Whether all its slots are taken, so that `acquire` would wait."""
        return self.slots is not None and self.slots.locked()

    def available(self, most: int) -> int:
        """The number of free slots; for an agent without a limit, `most`."""
        if self.shared is not None:
            return min(most, self.shared.look())
        return most if self.agent.concurrency is None else max(0, self.agent.concurrency - self.running)

    def is_full(self) -> bool:
        """Like `locked`, but looks at the slots that other processes use. Reads a file if the agent shares its limits."""
        return self.locked() if self.shared is None else not self.shared.look()

    def limits(self) -> str:
        """The limits on its tasks, for messages about a task that could not start."""
        most, rate = self.agent.concurrency, self.agent.rate_per_min
        reasons = [f"it is running its maximum number of tasks ({most})"] if most is not None else []
        if rate is not None:
            reasons.append(f"it is called at most {rate:g} times a minute (rate_per_min)")
        return " or ".join(reasons)

    def retry_after_s(self, capability: str) -> float:
        """An estimate of when another task could start, after those in line; at least 1 (seconds)."""
        most, rate, ahead = self.agent.concurrency, self.agent.rate_per_min, len(self.line) + 1
        by_rate = 60 * ahead / rate if rate else 0.0
        by_slots = self.latency_ms.get(capability, 0.0) / 1000 * ahead / most if most else 0.0
        return max(1.0, by_rate, by_slots)

    @property
    def running(self) -> int:
        """The number of tasks that it executes now."""
        return len(self.holders)

    def try_acquire(self, request_id: str) -> bool:
        """Take a slot for the task of that REQUEST if one is free."""
        if self.slots is not None and not self.slots.try_acquire():
            return False
        self.holders.add(request_id)
        return True

    async def acquire(self, request_id: str) -> None:
        """Take a slot for the task of that REQUEST, or wait for one."""
        if self.slots is not None:
            self.enter_line(request_id)
            try:
                await self.slots.acquire()
            finally:
                self.line.pop(request_id, None)
        self.holders.add(request_id)

    def enter_line(self, request_id: str) -> None:
        """Let that REQUEST wait for a slot. From now on the durations of tasks are measured, for `retry_after_s`."""
        self.line[request_id], self.is_timed = None, True

    def release(self, request_id: str) -> None:
        """Free the slot of that REQUEST. Any thread may call this."""
        self.holders.discard(request_id)
        if self.slots is not None:
            self.slots.release()

    def probed(self) -> None:
        """Read the capabilities of an agent that `discovers` them, or whose capabilities can change."""
        if self.agent.discovers or isinstance(self.agent, RefreshableAgent):
            found = {each.name: each for each in capabilities_of(self.agent)}
            if found != self.capabilities:
                self.capabilities, self.checks = found, {}
                if self._on_change is not None:
                    self._on_change()

    def has_labels(self, required: Mapping[str, str]) -> bool:
        """Whether its labels (and `version`) have all these values."""
        labels = self.labels()
        return all(labels.get(name) == value for name, value in required.items())

    def labels(self) -> dict[str, str]:
        """Its labels, of which `version` is one."""
        return {**self.agent.labels, "version": self.agent.version}

    def observe(self, capability: str, duration_ms: float) -> None:
        """Include the duration of a task in `latency_ms`; the latest ten or so count most."""
        before = self.latency_ms.get(capability, duration_ms)
        self.latency_ms[capability] = before + (duration_ms - before) / SMOOTHING

    def check(self, capability: str, parameters: dict[str, Any]) -> None:
        """Raise ParametersInvalid if `parameters` do not match the schema of the capability."""
        check = self.checks.get(capability)
        if check is None:
            check = self.checks[capability] = ParameterCheck(self.capabilities[capability])
        check(parameters)

    def has_secrets(self, capability: str) -> bool:
        """Whether the schema of the capability may mark parameters as secret."""
        return capability in self.capabilities and "writeOnly" in repr(self.capabilities[capability].parameters)

    def check_all(self) -> str | None:
        """Why this agent cannot execute tasks, including invalid schemas of its capabilities, or None."""
        try:
            for name in self.capabilities:
                self.checks[name] = ParameterCheck(self.capabilities[name])
        except ConfigInvalid as error:
            return str(error)
        return self.problem()

    def as_dict(self) -> dict[str, Any]:
        """The agent's JSON form in a list of agents; an available agent is `busy` if all its slots are taken."""
        problem = self.problem()
        state = self.state or AgentState()
        busy = state.status == AgentStatus.AVAILABLE and self.is_full()
        blocked = not self.able and self.breaker is not None and self.breaker.blocks()
        registered_at = rfc3339(self.registered_at) if self.lease is None else self.lease.registered_at
        return {
            "agent_id": self.agent.agent_id,
            "name": self.agent.name,
            "description": self.agent.description,
            "kind": self.agent.kind,
            "version": self.agent.version,
            "endpoint": self.agent.endpoint,
            "labels": dict(self.agent.labels),
            "concurrency": self.agent.concurrency,
            "rate_per_min": self.agent.rate_per_min,
            "env": self.agent.variables(),
            "status": "busy" if busy else "error" if blocked else str(state.status),
            "problem": problem,
            "changes": self.agent.changes(),
            "since": (self.breaker.since if blocked and self.breaker else None) or state.since or registered_at,
            "capabilities": [capability.as_dict() for capability in self.capabilities.values()],
            "tasks_completed": self.completed,
            "tasks_failed": self.failed,
            "registered_at": registered_at,
            "last_heartbeat": self.answered_at or registered_at,
            "owner": None if self.lease is None else self.lease.owner,
            "lease_ends_at": None if self.lease is None else self.lease.ends_at,
            "breaker": None if self.breaker is None else self.breaker.as_dict(),
        }
