"""Which agent does a task."""

from typing import Any

from aorch.agents.base import AgentCapability
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.engine.task import Task
from aorch.errors import NoAgent, NoAgentAvailable

Choice = tuple[Registered, dict[str, Any]]
"""The agent that was chosen, and why, as it stands in the REQUEST's metadata."""
LONGEST_MISSPELT = 100
"""Characters of a name that near misses are looked for: the time that takes grows with the square."""


def choose(registry: Registry, task: Task) -> Choice:
    """The agent for `task`: the one that it insists on; else one with a free place, running least; else the first.

    Raises NoAgent, with near misses, or NoAgentAvailable, with each candidate's problem.
    """
    candidates = registry.with_capability(task.capability)
    if task.agent_id is not None:
        registry_ids = [registered.agent.agent_id for registered in registry]
        if task.agent_id not in registry_ids:
            raise NoAgent(f"No agent is called {task.agent_id}", _near(task.agent_id, registry_ids, "agents"))
        candidates = [candidate for candidate in candidates if candidate.agent.agent_id == task.agent_id]
    if not candidates:
        if task.agent_id is not None:
            skills = ", ".join(registry.get(task.agent_id).capabilities) or "nothing"
            raise NoAgent(
                f"No agent available for capability: {task.capability} of agent {task.agent_id}",
                f"It can do: {skills}.",
            )
        raise NoAgent(f"No agent available for capability: {task.capability}", _advice(registry, task.capability))
    if len(candidates) == 1 and candidates[0].problem() is None:
        return candidates[0], {"chosen": "asked for by id" if task.agent_id else "the only one"}
    able = [candidate for candidate in candidates if candidate.problem() is None]
    if not able:
        problems = "; ".join(f"{each.agent.agent_id}: {each.problem()}" for each in candidates)
        raise NoAgentAvailable(
            f"No agent available for capability: {task.capability} ({problems})", "See `aorch agents check`."
        )
    return _least_loaded(able, task)


def capability_for(registry: Registry, task: Task) -> AgentCapability:
    """The capability that `task` waits for, once an agent can do it: what it needs now may be there later.

    Raises NoAgent where none will, and ParametersInvalid.
    """
    try:
        registered, _ = choose(registry, task)
    except NoAgentAvailable:
        registered = registry.with_capability(task.capability)[0]
    registered.check(task.capability, task.parameters)
    return registered.capabilities[task.capability]


def _least_loaded(able: list[Registered], task: Task) -> Choice:
    if len(able) == 1:
        return able[0], {"chosen": "asked for by id" if task.agent_id else "the only one"}
    best = min(able, key=lambda candidate: (candidate.locked(), candidate.running))
    running = {candidate.agent.agent_id: candidate.running for candidate in able}
    return best, {"chosen": "runs least, then came first", "candidates_running": running}


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
