"""What the answer of an agent's code means, and what it adds to the metadata of the RESPONSE."""

from collections.abc import Mapping
from typing import Any

from aorch import jsonio
from aorch.agents import Agent
from aorch.agents.failure import text_of
from aorch.engine.task import Outcome, outcome_of
from aorch.errors import AgentFailed, AorchError

_DETAILS = {
    "exit_code": int,
    "stderr": str,
    "stdout": str,
    "provider": str,
    "model": str,
    "stop_reason": str,
    "usage": dict,
}
_USAGE = ("input", "output", "cached")


def failed_outcome(failure: AorchError, details: dict[str, Any]) -> Outcome:
    """The outcome of a failure that the agent raised, with what it reported before."""
    answer = failure.answer if isinstance(failure, AgentFailed) else {}
    details.update(details_in(answer))
    outcome = outcome_of(failure, details=details)
    if (data := answer.get("data")) is not None:
        outcome.result, outcome.result_text = data, jsonio.encode(data)
    return outcome


def details_in(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The valid values of the keys that an agent may add to its answer for the metadata of the RESPONSE."""
    details = {name: answer[name] for name, kind in _DETAILS.items() if type(answer.get(name)) is kind}
    if (usage := details.get("usage")) is not None:
        details["usage"] = {name: usage[name] if type(usage.get(name)) is int else None for name in _USAGE}
    return details


def outcome_of_answer(answer: Any, agent: Agent, details: dict[str, Any]) -> Outcome:
    """The outcome of the agent's answer; a malformed answer is a failure."""
    if not (isinstance(answer, dict) and isinstance(answer.get("success"), bool)):
        wrong = f"{agent.agent_id} answered with {type(answer).__name__}, not with {{'success': True or False, …}}"
        return Outcome(error=wrong, failure=AgentFailed, details=details)
    if not _DETAILS.keys().isdisjoint(answer):
        details.update(details_in(answer))
    failure = None if answer["success"] else AgentFailed
    reason = None if failure is None else text_of(answer.get("error") or "no reason given")
    result = answer.get("data")
    if failure and result is None:
        return Outcome(error=reason, failure=failure, details=details)
    try:
        return Outcome(result, jsonio.encode(result), reason, failure, details=details)
    except AorchError as error:
        lost = f"{agent.agent_id}'s data cannot be stored: {error}"
        return Outcome(error=f"{reason}; {lost}" if reason else lost, failure=AgentFailed, details=details)
