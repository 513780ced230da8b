"""The agents of one orchestrator, found by ID and by capability."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from aorch.agents.agent_checks import capabilities_of
from aorch.agents.base import Agent
from aorch.agents.registered import Lease, Registered
from aorch.agents.shared_slots import Limits
from aorch.agents.watched_agent import refresh_all
from aorch.errors import Conflict, NotFound

Policy = Literal["least-busy", "round-robin", "fastest"]
DEFAULT_RANK = 3, 1.0
"""The priority and weight of a capability that declares none."""


class Registry:
    """Agents by ID, in the order in which they were added. `policy` decides among agents with the same capability, and
    `limits_of` returns the limits that an agent shares with other processes.
    """

    def __init__(
        self,
        agents: Iterable[Agent] = (),
        policy: Policy = "least-busy",
        limits_of: Callable[[Agent], Limits] | None = None,
    ) -> None:
        self.policy, self._limits_of = policy, limits_of
        self.ranked: set[str] = set()
        """The capabilities whose agents differ in priority or weight."""
        self.secret: set[str] = set()
        """The capabilities of which an agent may mark parameters as secret."""
        self.clocks: dict[str, float] = {}
        """By capability, the turn of the agent that was chosen last. Only for the policy round-robin."""
        self._agents: dict[str, Registered] = {}
        self.by_capability: dict[str, list[Registered]] = {}
        """The agents by their capabilities, in the order in which they were added."""
        self._removed: list[Registered] = []
        self.on_change: Callable[[], None] | None = None
        """Called in any thread after agents have come, gone or got other capabilities."""
        for agent in agents:
            if agent.agent_id in self._agents:
                raise _taken(agent)
            self._register(agent, declared=True)

    def add(self, agent: Agent, *, replace: bool = False) -> None:
        """Add `agent`. It replaces a declared agent of the same class and ID; with `replace`, any agent that has its ID.

        The replaced agent still finishes its running tasks. Raises UsageError if `agent` is not an agent, and Conflict if another
        agent has its ID.
        """
        capabilities_of(agent)
        before = self._agents.get(agent.agent_id)
        declared = before is not None and before.declared and type(before.agent) is type(agent)
        if before is not None and not (replace or declared):
            raise _taken(agent)
        self._register(agent, declared=False)

    def add_leased(self, agent: Agent, lease: Lease) -> Registered:
        """Add `agent`, which was registered over HTTP. It replaces one with its id, which finishes its running tasks."""
        self._register(agent, declared=False)
        registered = self._agents[agent.agent_id]
        registered.lease = lease
        return registered

    def remove(self, agent_id: str) -> bool:
        """Remove that agent and return whether it existed. It still finishes its running tasks."""
        removed = self._agents.pop(agent_id, None)
        if removed is not None:
            self._forget(removed)
            self._changed()
        return removed is not None

    def _register(self, agent: Agent, *, declared: bool) -> None:
        if (before := self._agents.get(agent.agent_id)) is not None:
            self._forget(before)
        capabilities = {capability.name: capability for capability in agent.get_capabilities()}
        limits = None
        if self._limits_of is not None and (agent.shares_concurrency or agent.rate_per_min is not None):
            limits = self._limits_of(agent)
        registered = self._agents[agent.agent_id] = Registered(
            agent, capabilities, declared=declared, limits=limits, on_change=self._index
        )
        registered.is_timed = self.policy == "fastest"
        for name, capability in capabilities.items():
            self.by_capability.setdefault(name, []).append(registered)
            if (capability.priority, capability.weight) != DEFAULT_RANK:
                self.ranked.add(name)
            if "writeOnly" in repr(capability.parameters):
                self.secret.add(name)
        if self.on_change is not None:
            self.on_change()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def _index(self) -> None:
        """Find all agents by their present capabilities."""
        found: dict[str, list[Registered]] = {}
        for each in list(self):
            for name, capability in each.capabilities.items():
                found.setdefault(name, []).append(each)
                if (capability.priority, capability.weight) != DEFAULT_RANK:
                    self.ranked.add(name)
                if "writeOnly" in repr(capability.parameters):
                    self.secret.add(name)
        self.by_capability = found
        self._changed()

    def _forget(self, removed: Registered) -> None:
        if not removed.constant:
            self._removed.append(removed)
        for name in removed.capabilities:
            self.by_capability[name] = [each for each in self.by_capability[name] if each is not removed]
            if not self.by_capability[name]:
                del self.by_capability[name]

    def find(self, agent_id: str) -> Registered | None:
        """The agent with that ID, or None."""
        return self._agents.get(agent_id)

    def get(self, agent_id: str) -> Registered:
        """The agent with that ID. Raises NotFound."""
        try:
            return self._agents[agent_id]
        except KeyError:
            raise NotFound(f"agent {agent_id!r} not found", f"Available agents: {', '.join(self._agents)}.") from None

    def with_capability(self, capability: str) -> list[Registered]:
        """The agents that have `capability`, in the order in which they were added."""
        return self.by_capability.get(capability, [])

    def undiscovered(self, capability: str) -> list[Registered]:
        """The agents that were never checked, and of which only a check finds out whether they have `capability`."""
        return [
            each for each in self if each.agent.discovers and each.state is None and each.agent.may_offer(capability)
        ]

    def check(self, registered: Registered) -> str | None:
        """Why that agent cannot execute tasks, or None. A reason is also a capability that it calls and that no agent has."""
        missing = [name for name in dict.fromkeys(registered.agent.asks_for()) if not self.with_capability(name)]
        return registered.check_all() or (f"no agent has the capability {', '.join(missing)}" if missing else None)

    async def refresh(self, agents: Iterable[Registered] | None = None, max_age_s: float | None = None) -> None:
        """Check those of `agents` (default: all) whose state is older than `max_age_s` (default: the ages in
        `watched_agent.py`), and return when all are checked.
        """
        moment = time.monotonic()
        await refresh_all([each for each in (self if agents is None else agents) if each.is_due(moment, max_age_s)])

    def refresh_soon(self) -> None:
        """Check the agents whose state is due in the background."""
        moment = time.monotonic()
        for each in self:
            if each.is_due(moment):
                each.refresh_soon()

    async def close(self) -> None:
        """Close every agent that is open, also the removed ones. They are opened again before their next task."""
        removed, self._removed = self._removed, []
        for each in (*self._agents.values(), *removed):
            if not each.constant:
                await each.close()

    async def close_removed(self) -> None:
        """Close the removed and replaced agents that have finished their tasks."""
        for each in [each for each in self._removed if not each.running]:
            await each.close()
            if each in self._removed:
                self._removed.remove(each)

    def has_removed(self) -> bool:
        """Whether agents wait for `close_removed`."""
        return bool(self._removed)

    def capabilities(self) -> list[str]:
        """The names of all capabilities, in the order in which they were added."""
        return list(self.by_capability)

    def runs_code(self) -> bool:
        """Whether any of the agents runs code in this process that is not part of aorch."""
        from aorch.agents.function import FunctionAgent  # noqa: PLC0415  only services ask

        return any(
            isinstance(each.agent, FunctionAgent) or not type(each.agent).__module__.startswith("aorch.")
            for each in self
        )

    def __iter__(self) -> Iterator[Registered]:
        return iter(list(self._agents.values()))  # another thread may add or remove one

    def __len__(self) -> int:
        return len(self._agents)


def _taken(agent: Agent) -> Conflict:
    return Conflict(
        f"two agents have the ID {agent.agent_id!r}",
        "Change one of the IDs, or remove one of the agents; in Python, `replace=True` replaces the other agent.",
    )
