"""The agents of one orchestrator: found by id and by capability, with their state."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aorch.agents.agent_checks import capabilities_of
from aorch.agents.base import Agent, AgentCapability
from aorch.agents.failure import described
from aorch.agents.parameters import ParameterCheck
from aorch.clock import now
from aorch.errors import ConfigInvalid, Conflict, NotFound

_LOGGER = logging.getLogger("aorch.agents")
_LOGGER.addHandler(logging.NullHandler())


class Places:
    """How many tasks an agent takes at a time, from all event loops together; whoever waited longest goes first."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._lock = threading.Lock()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def all_taken(self) -> bool:
        """Whether whoever comes now must wait."""
        return self._free == 0

    async def take(self) -> None:
        """Take one, waiting for a free one."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given in the same turn
                self.leave()
            raise

    def leave(self) -> None:
        """Give one to whoever waits, or back."""
        with self._lock:
            while self._waiting:
                place = self._waiting.popleft()
                with contextlib.suppress(RuntimeError):  # its loop is closed
                    place.get_loop().call_soon_threadsafe(self._give, place)
                    return
            self._free += 1

    def _give(self, place: asyncio.Future[None]) -> None:
        if place.cancelled():
            self.leave()
        else:
            place.set_result(None)


@dataclass(slots=True)
class Registered:
    """An agent in the registry, with what it has done here. `holders` are the REQUESTs whose tasks it executes now."""

    agent: Agent
    capabilities: dict[str, AgentCapability]
    declared: bool = False
    registered_at: str = field(default_factory=now)
    answered_at: str | None = None
    holders: set[str] = field(default_factory=set)
    completed: int = 0
    failed: int = 0
    checks: dict[str, ParameterCheck] = field(default_factory=dict)
    places: Places | None = None
    logged: str = ""

    def __post_init__(self) -> None:
        if self.agent.concurrency is not None:
            self.places = Places(self.agent.concurrency)

    def problem(self) -> str | None:
        """Why this agent cannot take a task now, or None. A `problem` of its own that raises is the reason itself."""
        try:
            return self.agent.problem()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, CancelledError: it is an agent's own code
            reason = f"its problem() raised {described(error)}"
            if reason != self.logged:
                self.logged = reason
                _LOGGER.error("agent %s: %s", self.agent.agent_id, reason, exc_info=error)
            return reason

    def full(self) -> bool:
        """Whether it executes as many tasks as it takes at a time."""
        return self.places is not None and self.places.all_taken()

    def free(self, most: int) -> int:
        """How many tasks more it takes now, `most` where it takes any number."""
        return most if self.agent.concurrency is None else max(0, self.agent.concurrency - self.running)

    @property
    def running(self) -> int:
        """How many tasks it executes now, those among them that go on after their time was up."""
        return len(self.holders)

    async def take_place(self, request_id: str) -> None:
        """Take one of its places for that REQUEST, waiting for a free one."""
        if self.places is not None:
            await self.places.take()
        self.holders.add(request_id)

    def leave_place(self, request_id: str) -> None:
        """Give the place back; from any thread."""
        self.holders.discard(request_id)
        if self.places is not None:
            self.places.leave()

    def count(self, answered_at: str, *, success: bool) -> None:
        """Remember that it answered, at that moment (RFC 3339)."""
        self.answered_at = answered_at
        if success:
            self.completed += 1
        else:
            self.failed += 1

    def check(self, capability: str, parameters: dict[str, Any]) -> None:
        """Raise ParametersInvalid where `parameters` do not fit the capability's schema."""
        check = self.checks.get(capability)
        if check is None:
            check = self.checks[capability] = ParameterCheck(self.capabilities[capability])
        check(parameters)

    def check_all(self) -> str | None:
        """Why this agent cannot work, its capabilities' schemas among the reasons, or None."""
        try:
            for name in self.capabilities:
                self.checks[name] = ParameterCheck(self.capabilities[name])
        except ConfigInvalid as error:
            return str(error)
        return self.problem()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form of an agent in a list; `busy` is one that executes as many tasks as it takes at a time."""
        problem = self.problem()
        return {
            "agent_id": self.agent.agent_id,
            "name": self.agent.name,
            "description": self.agent.description,
            "kind": self.agent.kind,
            "version": self.agent.version,
            "endpoint": self.agent.endpoint,
            "env": self.agent.variables(),
            "status": "error" if problem else "busy" if self.full() else "available",
            "problem": problem,
            "capabilities": [capability.as_dict() for capability in self.capabilities.values()],
            "tasks_completed": self.completed,
            "tasks_failed": self.failed,
            "registered_at": self.registered_at,
            "last_heartbeat": self.answered_at or self.registered_at,
        }


class Registry:
    """Agents by id, in the order in which they came."""

    def __init__(self, agents: Iterable[Agent] = ()) -> None:
        self._agents: dict[str, Registered] = {}
        self._having: dict[str, list[Registered]] = {}
        for agent in agents:
            self._refuse_taken(agent)
            self._take(agent, declared=True)

    def add(self, agent: Agent, *, replace: bool = False) -> None:
        """Take `agent` in. It takes the place of one that was declared with the same class and id; with `replace`, of any
        that has its id, which still ends what it runs.

        Raises UsageError if it is not an agent, and Conflict if another agent has its id.
        """
        capabilities_of(agent)
        before = self._agents.get(agent.agent_id)
        declared = before is not None and before.declared and type(before.agent) is type(agent)
        if not (replace or declared):
            self._refuse_taken(agent)
        self._take(agent, declared=False)

    def remove(self, agent_id: str) -> bool:
        """Take that agent out, and say whether there was one; it still ends what it runs."""
        removed = self._agents.pop(agent_id, None)
        self._forget(removed)
        return removed is not None

    def _refuse_taken(self, agent: Agent) -> None:
        if agent.agent_id in self._agents:
            raise Conflict(
                f"two agents call themselves {agent.agent_id!r}",
                "Give one of them another agent_id, or remove it; in Python, `replace=True` puts it in the other's place.",
            )

    def _take(self, agent: Agent, *, declared: bool) -> None:
        self._forget(self._agents.get(agent.agent_id))
        capabilities = {capability.name: capability for capability in agent.get_capabilities()}
        registered = self._agents[agent.agent_id] = Registered(agent, capabilities, declared=declared)
        for name in capabilities:
            self._having.setdefault(name, []).append(registered)

    def _forget(self, removed: Registered | None) -> None:
        for name in removed.capabilities if removed is not None else ():
            self._having[name] = [each for each in self._having[name] if each is not removed]
            if not self._having[name]:
                del self._having[name]

    def find(self, agent_id: str) -> Registered | None:
        """The agent of that id, or None."""
        return self._agents.get(agent_id)

    def get(self, agent_id: str) -> Registered:
        """The agent of that id. Raises NotFound."""
        try:
            return self._agents[agent_id]
        except KeyError:
            raise NotFound(f"no agent is called {agent_id!r}", f"There are: {', '.join(self._agents)}.") from None

    def having(self, capability: str) -> list[Registered]:
        """The agents that have `capability`, in the order in which they came."""
        return self._having.get(capability, [])

    def check(self, registered: Registered) -> str | None:
        """Why that agent cannot work, or None: its own reasons, and what it needs others for that nobody can do."""
        missing = [name for name in dict.fromkeys(registered.agent.asks_for()) if not self.having(name)]
        return registered.check_all() or (f"no agent has the capability {', '.join(missing)}" if missing else None)

    def capabilities(self) -> list[str]:
        """The names of all capabilities, each once, in the order in which they came."""
        return list(self._having)

    def runs_code(self) -> bool:
        """Whether code that is not aorch's own runs in this process when its agents do."""
        return any(not type(each.agent).__module__.startswith("aorch.") for each in self)

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)
