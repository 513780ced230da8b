"""What an exchange records: the metadata of a REQUEST, its RESPONSE, and the answer to the caller."""

import time
from typing import Any

from aorch import jsonio
from aorch.agents.failure import described
from aorch.agents.registered import Registered
from aorch.clock import now
from aorch.engine.invocation import Outcome
from aorch.engine.task import Answer, Task
from aorch.errors import AgentCancelled, AorchError
from aorch.ids import new_id
from aorch.ledger.record import CANCELLED, COMPLETED, FAILED, ORCHESTRATOR, RESPONSE, Row


def refused_exchange(request: Row, refusal: AorchError, started: float) -> tuple[Row, Row, Outcome]:
    """Both contracts of a task that no agent was called for, and the outcome that they tell of."""
    outcome = Outcome(error=str(refusal), failure=type(refusal), called=False)
    response = response_to(request, None, outcome, started, {})
    ended = request._replace(status=FAILED, completed_at=response.created_at, claimed_by=None)
    return ended, response, outcome


def cancelled_before(by: str) -> Outcome:
    """Somebody cancelled it before an agent was called."""
    return Outcome(error=f"cancelled by {by}", failure=AgentCancelled, called=False)


def outcome_of_fault(error: Exception, called: bool) -> Outcome:
    """An exception that nobody expected ended it; `called` says whether its agent may have seen it by then."""
    if isinstance(error, AorchError):
        return Outcome(error=str(error), failure=type(error), hint=error.hint, called=called)
    return Outcome(error=f"a fault of aorch: {described(error)}", failure=AorchError, called=called)


def document_of(task: Task, request: Row) -> dict[str, Any]:
    """What the agent is given."""
    return {
        "task_id": request.contract_id,
        "session_id": request.session_id,
        "capability": task.capability,
        "parameters": task.parameters,
        "context": task.context,
        **({"metadata": task.metadata} if task.metadata else {}),
    }


def request_metadata(task: Task, reason: dict[str, Any] | None) -> str:
    """The caller's metadata, with the context, what was said of the queue, and why the agent was chosen; JSON text."""
    about = dict(task.metadata)
    if task.context:
        about["context"] = task.context
    if task.queue:
        about["queue"] = task.queue
    if reason is not None:
        about["routing"] = reason
    return jsonio.encode(about)


def response_of_agent(
    request: Row, registered: Registered, outcome: Outcome, started: float, besides: dict[str, Any]
) -> Row:
    """The RESPONSE of an agent, which remembers that it gave one."""
    response = response_to(request, registered.agent.agent_id, outcome, started, besides)
    registered.count(response.created_at, success=outcome.failure is None)
    return response


def response_to(request: Row, agent_id: str | None, outcome: Outcome, started: float, besides: dict[str, Any]) -> Row:
    """The RESPONSE to `request` that tells of `outcome`; `agent_id` is None where no agent gave it."""
    moment = now()
    about: dict[str, Any] = {"duration_ms": _elapsed_ms(started), **besides}
    if outcome.failure is not None:
        about["code"] = outcome.failure.code
    if not outcome.called:
        about["called"] = False
    return Row(
        new_id(),
        request.session_id,
        RESPONSE,
        agent_id or ORCHESTRATOR,
        request.from_agent,
        request.capability,
        "{}",
        _request_status(outcome),
        moment,
        moment,
        outcome.result_text,
        outcome.error,
        jsonio.encode(about),
        request.contract_id,
        request.parent_id,
    )


def _request_status(outcome: Outcome) -> str:
    if outcome.failure is None:
        return COMPLETED
    return CANCELLED if outcome.failure is AgentCancelled else FAILED


def answer_of(
    response: Row,
    agent_id: str | None,
    outcome: Outcome,
    started: float,
    hint: str = "",
    about: dict[str, Any] | None = None,
) -> Answer:
    """The answer to the caller that tells the same as `response`."""
    about = about or {}
    return Answer(
        success=outcome.failure is None,
        data=outcome.result,
        error=outcome.error,
        contract_id=response.request_id or "",
        agent_id=agent_id,
        session_id=response.session_id,
        timestamp=response.created_at,
        duration_ms=_elapsed_ms(started),
        failure=outcome.failure,
        hint=hint,
        reused=about.get("reused"),
        exit_code=about.get("exit_code"),
        stderr=about.get("stderr"),
        stdout=about.get("stdout"),
    )


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
