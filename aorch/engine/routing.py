"""Routing: which agent executes a task."""

from typing import Any

from aorch.agents.base import AgentCapability
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.engine.task import Task
from aorch.errors import NoAgent, NoAgentAvailable
from aorch.ledger.contract_metadata import REQUESTED

Choice = tuple[Registered, dict[str, Any]]
"""The agent that was chosen, and `metadata.routing` of the REQUEST: a code for the reason, and the candidates if it had any."""
ONLY_CANDIDATE, LEAST_BUSY = "only_candidate", "least_busy"
MAX_CANDIDATES = 8
"""How many candidates `metadata.routing` lists."""
LONGEST_MISSPELT = 100
"""Characters of a name for which near misses are searched: the time that takes grows with the square."""


def choose(registry: Registry, task: Task) -> Choice:
    """The agent for `task`: the requested one; else of those that can work one with a free slot, the least busy of them,
    the first registered.

    Raises NoAgent, with near misses, or NoAgentAvailable, with each candidate's problem.
    """
    candidates = registry.with_capability(task.capability)
    if task.agent_id is not None:
        candidates = [candidate for candidate in candidates if candidate.agent.agent_id == task.agent_id]
    if len(candidates) == 1 and candidates[0].problem() is None:
        return candidates[0], {"reason": REQUESTED if task.agent_id else ONLY_CANDIDATE}
    if not candidates:
        raise _no_agent(registry, task)
    able = [candidate for candidate in candidates if candidate.problem() is None]
    if not able:
        problems = "; ".join(f"{each.agent.agent_id}: {each.problem()}" for each in candidates)
        raise NoAgentAvailable(
            f"No agent available for capability: {task.capability} ({problems})", "See `aorch agents check`."
        )
    if len(able) == 1:
        return able[0], {"reason": ONLY_CANDIDATE}
    best = min(able, key=lambda candidate: (candidate.locked(), candidate.running))
    listed = [best, *(candidate for candidate in able if candidate is not best)][:MAX_CANDIDATES]
    running = {candidate.agent.agent_id: candidate.running for candidate in listed}
    return best, {"reason": LEAST_BUSY, "candidates": len(able), "candidates_running": running}


def capability_for(registry: Registry, task: Task) -> AgentCapability:
    """The capability that a queued `task` needs. An agent that cannot work now may be able to later.

    Raises NoAgent if no agent has it, and ParametersInvalid.
    """
    try:
        registered, _ = choose(registry, task)
    except NoAgentAvailable:
        registered = registry.with_capability(task.capability)[0]
    registered.check(task.capability, task.parameters)
    return registered.capabilities[task.capability]


def _no_agent(registry: Registry, task: Task) -> NoAgent:
    """Why there is no candidate for `task`."""
    if task.agent_id is None:
        return NoAgent(f"No agent available for capability: {task.capability}", _advice(registry, task.capability))
    requested = registry.find(task.agent_id)
    if requested is None:
        known = [registered.agent.agent_id for registered in registry]
        return NoAgent(f"No agent is called {task.agent_id}", _near(task.agent_id, known, "agents"))
    return NoAgent(
        f"No agent available for capability: {task.capability} of agent {task.agent_id}",
        f"It has the capabilities: {', '.join(requested.capabilities) or 'none'}.",
    )


def _advice(registry: Registry, capability: str) -> str:
    advice = _near(capability, registry.capabilities(), "capabilities")
    broken = [registered.agent.agent_id for registered in registry if not registered.capabilities]
    if broken:
        advice += f" Not loaded: {', '.join(broken)} (see `aorch agents check`)."
    return advice


def _near(name: str, known: list[str], what: str) -> str:
    import difflib  # noqa: PLC0415  4 ms, only for a miss

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) if len(name) <= LONGEST_MISSPELT else []
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{meant}Available {what}: {', '.join(known) or 'none'}."
