"""Routing: which agent executes a task."""

import random
from collections.abc import Callable, Container
from typing import Any

from aorch import jsonio
from aorch.agents.base import Agent, AgentStatus, AgentTask
from aorch.agents.registered import Registered
from aorch.agents.registry import Policy, Registry
from aorch.agents.secret_mask import masked
from aorch.agents.secret_parameters import without_secrets
from aorch.engine.task import Task
from aorch.errors import NoAgent, NoAgentAvailable, NoAgentReachable
from aorch.ledger.contract_metadata import REQUESTED
from aorch.ledger.required_labels import in_words
from aorch.suggestions import did_you_mean

Choice = tuple[Registered, dict[str, Any]]
"""The chosen agent, and `metadata.routing` of the REQUEST: a code for the reason, and the candidates (if any)."""
ONLY_CANDIDATE, LEAST_BUSY = "only_candidate", "least_busy"
MOST_COMPARED = 64
"""Maximum number of agents that are compared by a policy other than least-busy, or by priority and weight."""
MOST_LOOKS = 8
"""How often an agent whose limits hold across processes is left for another one because other processes use all its slots."""
MAX_CANDIDATES = 8
"""Maximum number of candidates in `metadata.routing`."""
_LOCKED = 1 << 32
"""Added to the running tasks of an agent whose slots are taken, so that every agent with a free slot comes before it."""


def choose(registry: Registry, task: Task) -> Choice | None:
    """The agent for `task`: the requested one, otherwise the best one by the registry's policy, by default the one with a free
    slot that runs the fewest tasks.

    Only reads the states of the agents. None: no candidate can take a task, or one was never checked (if there is no
    candidate: an agent whose capabilities are not known yet); then call `check_and_choose`. Raises NoAgent, with similar
    names.
    """
    candidates = registry.by_capability.get(task.capability, [])
    if task.agent_id is None and len(candidates) == 1 and candidates[0].able and not task.require:
        return candidates[0], {"reason": ONLY_CANDIDATE}
    candidates = _candidates(registry, task)
    if not candidates:
        if registry.undiscovered(task.capability):
            return None
        raise _no_agent(registry, task)
    chosen = _best(registry, candidates, task)
    for _ in range(MOST_LOOKS):
        if chosen is None or chosen[0].shared is None or chosen[0].locked() or chosen[0].shared.look():
            break
        chosen = _best(registry, candidates, task)  # other processes use all its slots: now it is `locked`
    return chosen


def _best(registry: Registry, candidates: list[Registered], task: Task) -> Choice | None:
    if registry.policy != "least-busy" or task.capability in registry.ranked:
        return ranked_choice(registry, candidates, task)
    best = _least_busy(candidates)
    return None if best is None else (best, _reason(best, candidates, task))


def _least_busy(candidates: list[Registered]) -> Registered | None:
    """The agent with a free slot that runs the fewest tasks. None: none can take a task, or one was never checked."""
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
    return best


def ranked_choice(registry: Registry, candidates: list[Registered], task: Task) -> Choice | None:
    """The choice by priority and then by the policy, with weights. Of more than MOST_COMPARED agents that can take the task, that
    many random ones are compared.
    """
    able = [each for each in candidates if each.able]
    for each in candidates if len(able) < len(candidates) else ():
        if each.state is None:
            return None
        if not each.able:
            each.refresh_soon()
    if not able:
        return None
    compared = able if len(able) <= MOST_COMPARED else random.sample(able, MOST_COMPARED)
    name, policy = task.capability, registry.policy
    cost, clock = _COSTS[policy], registry.clocks.get(task.capability, 0.0)
    best = min(compared, key=lambda each: (each.locked(), each.capabilities[name].priority, cost(each, name, clock)))
    if policy == "round-robin":  # start-time fair queueing: who is new or was away does not catch up with the others
        clock = registry.clocks[name] = max(registry.clocks.get(name, 0.0), best.turns.get(name, 0.0))
        best.turns[name] = clock + 1 / best.capabilities[name].weight
    return best, _reason(best, candidates, task, policy.replace("-", "_"))


def _load(registered: Registered, name: str, _: float) -> float:
    return len(registered.holders) / registered.capabilities[name].weight


def _turn(registered: Registered, name: str, clock: float) -> float:
    return max(clock, registered.turns.get(name, 0.0))


def _expected_ms(registered: Registered, name: str, _: float) -> float:
    """How long the task would take, with those that run already; 0 for an agent whose speed is unknown."""
    return registered.latency_ms.get(name, 0.0) * (len(registered.holders) + 1) / registered.capabilities[name].weight


_COSTS: dict[Policy, Callable[[Registered, str, float], float]] = {
    "least-busy": _load,
    "round-robin": _turn,
    "fastest": _expected_ms,
}


async def check_and_choose(registry: Registry, task: Task) -> Choice:
    """Like `choose`, but first checks the candidates whose state is due.

    Raises NoAgentAvailable with the problem of each; NoAgentReachable if all of them are offline, with the time since when.
    """
    await discover(registry, task)
    candidates = _candidates(registry, task)
    await registry.refresh(candidates)
    if (chosen := choose(registry, task)) is not None:
        return chosen
    problems = "; ".join(_with_problem(each) for each in candidates)
    message = f"No agent available for capability: {task.capability} ({problems})"
    if candidates and all(each.is_offline() for each in candidates):
        raise NoAgentReachable(message, "Start the agent, or try again later.")
    raise NoAgentAvailable(message, _next_step(candidates))


def _next_step(candidates: list[Registered]) -> str:
    """What makes one of these agents able to take a task."""
    from shlex import quote  # noqa: PLC0415  only after a failure

    statuses = {each.agent.agent_id: each.state.status if each.state is not None else None for each in candidates}
    if AgentStatus.ERROR in statuses.values() or None in statuses.values():
        broken = [name for name, status in statuses.items() if status in (AgentStatus.ERROR, None)]
        only = f" {quote(broken[0])}" if len(broken) == 1 else ""
        return f"Correct that, then run `aorch agents check{only}`."
    if set(statuses.values()) == {AgentStatus.DRAINING}:
        return "Wait until the agent has restarted: an agent that is draining takes no new tasks."
    return "Start the agent, or try again later."


def _with_problem(registered: Registered) -> str:
    """The agent and its problem, for example `wc: its program 'wc' is not on PATH`."""
    agent_id, problem = registered.agent.agent_id, registered.problem() or "not checked yet"
    state = registered.state
    since = f", offline since {state.since}" if state is not None and state.status == AgentStatus.OFFLINE else ""
    return f"{problem}{since}" if problem.startswith(f"{agent_id} (") else f"{agent_id}: {problem}{since}"


def choose_other(registry: Registry, task: Task, tried: Container[str]) -> Registered | None:
    """The agent for another attempt at `task`: like `choose`, but none of `tried` (ids). None if no other can take it now."""
    others = [each for each in _candidates(registry, task) if each.able and each.agent.agent_id not in tried]
    chosen = ranked_choice(registry, others, task)
    return None if chosen is None else chosen[0]


async def plan(registry: Registry, task: Task) -> dict[str, Any]:
    """How `task` would be executed: `agent_id`, `kind`, `routing` (as in the REQUEST), `why` (a sentence) and `preview` (see
    Agent). Executes nothing. Raises NoAgent and ParametersInvalid.
    """
    registered, routing = choose(registry, task) or await check_and_choose(registry, task)
    registered.check(task.capability, task.parameters)
    agent = registered.agent
    document: AgentTask = {
        "task_id": "",
        "session_id": task.session_id,
        "capability": task.capability,
        "parameters": task.parameters,
        "context": task.context,
    }
    return {
        "agent_id": agent.agent_id,
        "kind": agent.kind,
        "routing": routing,
        "why": _sentence(routing),
        "preview": _preview(registry, registered.agent, document),
    }


def _preview(registry: Registry, agent: Agent, document: AgentTask) -> Any:
    """What the agent would run or send, without the values of secret parameters."""
    preview = agent.preview(document)
    if not registry.secret:
        return preview
    from aorch.engine.secret_inputs import secret_schemas  # noqa: PLC0415  most agents mark no parameter

    marked = secret_schemas(registry, document["capability"])
    found = [each for of in marked for each in without_secrets(document["parameters"], of, lambda value: value)[1]]
    texts = {value if isinstance(value, str) else jsonio.encode(value) for _, value in found}
    return masked(preview, sorted(filter(None, texts), key=len, reverse=True))


def _sentence(routing: dict[str, Any]) -> str:
    several = f"of {routing['candidates']} agents with the capability" if "candidates" in routing else ""
    return {
        REQUESTED: "it was requested",
        ONLY_CANDIDATE: "no other agent that has the capability can take the task",
        LEAST_BUSY: f"it is the least busy {several}",
        "round_robin": f"it is the turn of this one {several}",
        "fastest": f"its last tasks took the least time {several}",
    }[routing["reason"]]


async def discover(registry: Registry, task: Task) -> None:
    """If no agent is known for `task`, check those whose capabilities are not known yet."""
    if not _candidates(registry, task):
        await registry.refresh(registry.undiscovered(task.capability))


def agent_for(registry: Registry, task: Task) -> Registered:
    """An agent that has the capability and the labels for a queued `task`; call `discover` first. It need not be available
    now.

    Raises NoAgent if there is none, and ParametersInvalid.
    """
    chosen, candidates = choose(registry, task), _candidates(registry, task)
    if not candidates:
        raise _no_agent(registry, task)
    registered = chosen[0] if chosen is not None else candidates[0]
    registered.check(task.capability, task.parameters)
    return registered


def _candidates(registry: Registry, task: Task) -> list[Registered]:
    candidates = registry.with_capability(task.capability)
    if task.agent_id is not None:
        requested = registry.find(task.agent_id)
        candidates = [requested] if requested is not None and task.capability in requested.capabilities else []
    if task.require:
        return [each for each in candidates if each.has_labels(task.require)]
    return candidates


def _reason(best: Registered, candidates: list[Registered], task: Task, policy: str = LEAST_BUSY) -> dict[str, Any]:
    required = {"require": task.require} if task.require else {}
    if task.agent_id is not None:
        return {"reason": REQUESTED, **required}
    listed = [best]
    for each in candidates if len(candidates) > 1 else ():
        if each.able and each is not best:
            listed.append(each)
            if len(listed) == MAX_CANDIDATES:
                break
    if len(listed) == 1:
        return {"reason": ONLY_CANDIDATE, **required}
    running = {each.agent.agent_id: len(each.holders) for each in listed}
    return {"reason": policy, "candidates": len(candidates), "candidates_running": running, **required}


def _no_agent(registry: Registry, task: Task) -> NoAgent:
    """Why there is no candidate for `task`."""
    if task.require and registry.with_capability(task.capability):
        return NoAgent(
            f"no agent with the capability {task.capability!r} has the labels {in_words(task.require)}",
            "See the labels of agents with `aorch agents list --json`.",
        )
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
    broken = [registered for registered in registry if not registered.capabilities]
    if broken:
        reasons = (f"{each.agent.agent_id} ({(each.state and each.state.reason) or 'not checked'})" for each in broken)
        advice += f" Not loaded: {', '.join(reasons)}."
    return advice


def _near(name: str, known: list[str], what: str) -> str:
    return f"{did_you_mean(name, known)}Available {what}: {', '.join(known) or 'none'}."
