"""Validation of agents when they are registered."""

import inspect
import math
from typing import Any

from aorch import jsonio
from aorch.agents.base import Agent, AgentCapability
from aorch.errors import UsageError

_EXTEND = "Extend aorch.Agent: call super().__init__(agent_id, name), and implement execute and get_capabilities."


def capabilities_of(agent: object) -> list[AgentCapability]:
    """The capabilities of `agent`. Raises UsageError with the reason if it is not a valid agent."""
    if isinstance(agent, type):
        raise UsageError(
            f"{agent.__name__} is a class, not an agent", f"Pass an object of the class: {agent.__name__}(…)."
        )
    name = type(agent).__name__
    if not isinstance(agent, Agent):
        lacks = [each for each in ("execute", "get_capabilities") if not callable(getattr(agent, each, None))]
        without = f" and has no {' and no '.join(lacks)}" if lacks else ""
        raise UsageError(f"{name} is not an agent: it does not extend aorch.Agent{without}", _EXTEND)
    for attribute in ("agent_id", "name"):
        value = getattr(agent, attribute, None)
        if value is None:
            raise UsageError(f"{name} has no {attribute}: its __init__ does not call super().__init__", _EXTEND)
        if not isinstance(value, str) or not value or jsonio.storable_text(value) != value:
            raise UsageError(f"the {attribute} of {name} is {value!r}", "It must be a string that is not empty.")
    if not (agent.description is None or isinstance(agent.description, str)):
        raise UsageError(f"the description of {name} is {agent.description!r}", "It must be a string.")
    _check_limits(name, agent)
    return _listed(name, _asked(agent))


def _check_limits(name: str, agent: Agent) -> None:
    most: Any = agent.concurrency
    if most is not None and (type(most) is not int or most < 1):
        raise UsageError(f"the concurrency of {name} is {most!r}", "It must be an integer above 0, or None.")
    rate: Any = agent.rate_per_min
    if rate is not None and not (type(rate) in (int, float) and 0 < rate < math.inf):
        raise UsageError(f"the rate_per_min of {name} is {rate!r}", "It must be a number above 0, or None.")
    for attribute, least in (("timeout_s", "above 0"), ("idle_timeout_s", "above 0"), ("grace_s", "of 0 or more")):
        value: Any = getattr(agent, attribute)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if value is not None and not (is_number and (value or attribute == "grace_s")):
            raise UsageError(
                f"the {attribute} of {name} is {value!r}", f"It must be a number of seconds {least}, or None."
            )


def _asked(agent: Agent) -> Any:
    if inspect.iscoroutinefunction(agent.get_capabilities):
        raise UsageError(f"{type(agent).__name__}.get_capabilities is async", "Define it with a plain `def`.")
    try:
        return agent.get_capabilities()
    except UsageError:  # about a function with @capability; it names the function and the next step
        raise
    except Exception as error:  # the agent's own code
        reason = f"{type(agent).__name__}.get_capabilities() raised {type(error).__name__}: {error}"
        raise UsageError(reason, "Fix it and register the agent again.") from error


def _listed(name: str, found: Any) -> list[AgentCapability]:
    hint = 'Return a list such as [AgentCapability("translate", "Translate text", {"text": "string"})].'
    if not isinstance(found, list | tuple):
        raise UsageError(f"{name}.get_capabilities() returned {type(found).__name__}, not a list", hint)
    names: set[str] = set()
    for capability in found:
        if not isinstance(capability, AgentCapability):
            wrong = f"{type(capability).__name__}, not AgentCapability"
            raise UsageError(f"{name}.get_capabilities() returned a list with {wrong}", hint)
        if not isinstance(capability.name, str) or not capability.name:
            raise UsageError(f"a capability of {name} is named {capability.name!r}", "Its name must not be empty.")
        if not isinstance(capability.parameters, dict):
            wrong = f"parameters of type {type(capability.parameters).__name__}, not dict"
            raise UsageError(f"the capability {capability.name!r} of {name} has {wrong}", hint)
        if capability.name in names:
            raise UsageError(f"{name} has the capability {capability.name!r} twice", "Give each its own name.")
        names.add(capability.name)
    return list(found)
