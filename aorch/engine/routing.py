"""Routing: which agent executes a task."""

from collections.abc import Container
from typing import Any

from aorch.agents.base import AgentCapability
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.engine.task import Task
from aorch.errors import NoAgent, NoAgentAvailable
from aorch.ledger.contract_metadata import REQUESTED

Choice = tuple[Registered, dict[str, Any]]
"""The chosen agent, and `metadata.routing` of the REQUEST: a code for the reason, and the candidates (if any)."""
ONLY_CANDIDATE, LEAST_BUSY = "only_candidate", "least_busy"
MAX_CANDIDATES = 8
"""Maximum number of candidates in `metadata.routing`."""
_LOCKED = 1 << 32
"""Added to the running tasks of an agent whose slots are taken, so that every agent with a free slot comes before it."""
LONGEST_MISSPELT = 100
"""Maximum length of a name for which similar names are searched: the time grows with the square of the length."""


def choose(registry: Registry, task: Task) -> Choice | None:
    """The agent for `task`: the requested one, otherwise the one with a free slot that runs the fewest tasks, otherwise the
    first.

    Only reads the states of the agents. None: no candidate can take a task, or one was never checked (if there is no
    candidate: an agent whose capabilities are not known yet); then call `check_and_choose`. Raises NoAgent, with similar
    names.
    """
    candidates = registry.with_capability(task.capability)
    if task.agent_id is None and len(candidates) == 1 and candidates[0].able:
        return candidates[0], {"reason": ONLY_CANDIDATE}
    candidates = _candidates(registry, task)
    if not candidates:
        if registry.undiscovered():
            return None
        raise _no_agent(registry, task)
    best, fewest = None, _LOCKED << 1
    for each in candidates:
        if each.able:
            running = len(each.holders)
            if each.slots is not None and each.slots.locked():
                running += _LOCKED
            if running < fewest:
                best, fewest = each, running
                if not running:
                    break
        elif each.state is None:
            return None
        else:
            each.refresh_soon()
    return None if best is None else (best, _reason(best, candidates, task))


async def check_and_choose(registry: Registry, task: Task) -> Choice:
    """Like `choose`, but first checks the candidates whose state is due.

    Raises NoAgentAvailable, with the problem of each.
    """
    await discover(registry, task)
    candidates = _candidates(registry, task)
    await registry.refresh(candidates)
    if (chosen := choose(registry, task)) is not None:
        return chosen
    problems = "; ".join(f"{each.agent.agent_id}: {each.problem() or 'not checked yet'}" for each in candidates)
    raise NoAgentAvailable(
        f"No agent available for capability: {task.capability} ({problems})", "Fix the problem, or try again later."
    )


def choose_other(registry: Registry, task: Task, tried: Container[str]) -> Registered | None:
    """The agent for another attempt at `task`: like `choose`, but none of `tried` (ids). None if no other can take it now."""
    others = [each for each in _candidates(registry, task) if each.able and each.agent.agent_id not in tried]
    return min(others, key=lambda each: len(each.holders) + (_LOCKED if each.locked() else 0), default=None)


async def discover(registry: Registry, task: Task) -> None:
    """If no agent is known for `task`, check those whose capabilities are not known yet."""
    if not _candidates(registry, task):
        await registry.refresh(registry.undiscovered())


def capability_for(registry: Registry, task: Task) -> AgentCapability:
    """The capability that a queued `task` needs; call `discover` first. Its agent need not be available now.

    Raises NoAgent if no agent has the capability, and ParametersInvalid.
    """
    chosen, candidates = choose(registry, task), _candidates(registry, task)
    if not candidates:
        raise _no_agent(registry, task)
    registered = chosen[0] if chosen is not None else candidates[0]
    registered.check(task.capability, task.parameters)
    return registered.capabilities[task.capability]


def _candidates(registry: Registry, task: Task) -> list[Registered]:
    candidates = registry.with_capability(task.capability)
    if task.agent_id is not None:
        requested = registry.find(task.agent_id)
        candidates = [requested] if requested is not None and task.capability in requested.capabilities else []
    return candidates


def _reason(best: Registered, candidates: list[Registered], task: Task) -> dict[str, Any]:
    if task.agent_id is not None:
        return {"reason": REQUESTED}
    listed = [best]
    for each in candidates if len(candidates) > 1 else ():
        if each.able and each is not best:
            listed.append(each)
            if len(listed) == MAX_CANDIDATES:
                break
    if len(listed) == 1:
        return {"reason": ONLY_CANDIDATE}
    running = {each.agent.agent_id: len(each.holders) for each in listed}
    return {"reason": LEAST_BUSY, "candidates": len(candidates), "candidates_running": running}


def _no_agent(registry: Registry, task: Task) -> NoAgent:
    """Why there is no candidate for `task`."""
    if task.agent_id is None:
        return NoAgent(f"No agent available for capability: {task.capability}", _advice(registry, task.capability))
    requested = registry.find(task.agent_id)
    if requested is None:
        known = [registered.agent.agent_id for registered in registry]
        return NoAgent(f"agent {task.agent_id!r} not found", _near(task.agent_id, known, "agents"))
    return NoAgent(
        f"agent {task.agent_id!r} does not have the capability {task.capability!r}",
        f"It has the capabilities: {', '.join(requested.capabilities) or 'none'}.",
    )


def _advice(registry: Registry, capability: str) -> str:
    advice = _near(capability, registry.capabilities(), "capabilities")
    broken = [registered.agent.agent_id for registered in registry if not registered.capabilities]
    if broken:
        advice += f" Not loaded: {', '.join(broken)}."
    return advice


def _near(name: str, known: list[str], what: str) -> str:
    import difflib  # noqa: PLC0415  4 ms, only for a miss

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) if len(name) <= LONGEST_MISSPELT else []
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{meant}Available {what}: {', '.join(known) or 'none'}."
