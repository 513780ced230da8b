"""One exchange: the rows of its REQUEST and its RESPONSE, and the same result as an answer to the caller."""

import time
from typing import Any

from aorch import jsonio
from aorch.agents.failure import described
from aorch.agents.registered import Registered
from aorch.clock import now
from aorch.engine.routing import ONLY_CANDIDATE
from aorch.engine.task import Answer, Outcome, Task, outcome_of
from aorch.errors import AgentCancelled, AorchError, LedgerOutcomeUnknown
from aorch.ids import new_id
from aorch.ledger.contract_metadata import REQUESTED
from aorch.ledger.record import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    ORCHESTRATOR,
    PENDING,
    REQUEST,
    RESPONSE,
    Record,
)

_ROUTING_ALONE = {reason: jsonio.encode({"routing": {"reason": reason}}) for reason in (REQUESTED, ONLY_CANDIDATE)}
"""The metadata of most REQUESTs, by the reason why the agent was chosen."""


def request_of(
    task: Task,
    agent_id: str | None,
    from_agent: str | None,
    parent_id: str | None,
    routing: dict[str, Any] | None,
    owner_id: str | None,
) -> Record:
    """The REQUEST for `task`, which that owner executes; without an owner it is `pending`, for the queue. Its metadata
    contains the caller's metadata under `custom`, and aorch's own: annotations, context, queue options, and why the agent
    was chosen (`routing`).
    """
    text = None
    if routing is not None and len(routing) == 1 and not (task.annotations or task.metadata or task.context):
        text = _ROUTING_ALONE.get(routing["reason"])
    if text is None:
        metadata = {**task.annotations, "custom": task.metadata} if task.metadata else task.annotations.copy()
        if task.context:
            metadata["context"] = task.context
        if task.queue:
            metadata["queue"] = task.queue
        if routing is not None:
            metadata["routing"] = routing
        text = jsonio.encode(metadata)
    request = Record(
        new_id(),
        task.session_id,
        REQUEST,
        task.from_agent or from_agent or ORCHESTRATOR,
        agent_id,
        task.capability,
        jsonio.encode(task.parameters),
        PENDING if owner_id is None else IN_PROGRESS,
        now(),
        metadata=text,
        parent_id=parent_id,
        claimed_by=owner_id,
    )
    return request if task.redaction is None else task.redaction.request(request)


def document_of(task: Task, request: Record) -> dict[str, Any]:
    """The task document for the agent. Its `metadata` contains aorch's annotations and the caller's metadata."""
    document = {
        "task_id": request.contract_id,
        "session_id": request.session_id,
        "capability": task.capability,
        "parameters": task.parameters,
        "context": task.context,
    }
    if task.metadata or task.annotations:
        document["metadata"] = {**task.metadata, **task.annotations}
    return document


def response_of(request: Record, registered: Registered | None, outcome: Outcome, started: float) -> Record:
    """The RESPONSE to `request` that records `outcome`; `registered` is the agent, which counts it (None: no agent
    answered).

    Sets `outcome.duration_ms`, from `started` (time.perf_counter). The metadata has the duration and the outcome's details;
    after a failure also its `code`, and whether the task was `delivered` (None: unknown) and a retry is safe.
    """
    created_at, failure = now(), outcome.failure
    outcome.duration_ms = round((time.perf_counter() - started) * 1000, 3)
    status = COMPLETED
    if failure is None and not outcome.details:
        text = f'{{"duration_ms":{outcome.duration_ms}}}'  # most RESPONSEs: `encode` takes ten times as long
    else:
        text = jsonio.encode(_response_metadata(request, registered, outcome))
        if failure is not None:
            status = CANCELLED if failure is AgentCancelled else FAILED
    from_agent = ORCHESTRATOR
    if registered is not None:
        from_agent = registered.agent.agent_id
        registered.answered_at = created_at
        if failure is None:
            registered.completed += 1
            if not registered.able:
                registered.witness(None, None)
            if registered.is_timed:
                registered.observe(request.capability, outcome.duration_ms)
        else:
            registered.failed += 1
            registered.witness(failure, outcome.error)
    return Record(
        new_id(),
        request.session_id,
        RESPONSE,
        from_agent,
        request.from_agent,
        request.capability,
        "{}",
        status,
        created_at,
        created_at,
        outcome.result_text,
        outcome.error,
        text,
        request.contract_id,
        request.parent_id,
    )


def _response_metadata(request: Record, registered: Registered | None, outcome: Outcome) -> dict[str, Any]:
    metadata = {"duration_ms": outcome.duration_ms, **outcome.details}
    if outcome.failure is not None:
        capability = registered.capabilities.get(request.capability) if registered is not None else None
        retry_safe = outcome.delivered is False or (capability is not None and capability.idempotent)
        metadata["code"] = outcome.failure.code
        metadata["delivered"] = outcome.delivered
        metadata["retry_safe"] = retry_safe if outcome.retry_safe is None else outcome.retry_safe
    return metadata


def answer_of(response: Record, agent_id: str | None, outcome: Outcome) -> Answer:
    """The answer to the caller, with the same content as `response`."""
    details = outcome.details
    return Answer(
        outcome.failure is None,
        outcome.result,
        outcome.error,
        response.request_id or "",
        agent_id,
        response.session_id,
        response.created_at,
        outcome.duration_ms,
        outcome.failure,
        outcome.hint,
        details.get("reused"),
        details.get("exit_code"),
        details.get("stderr"),
        details.get("stdout"),
        outcome.retry_after_s,
        response.capability,
    )


def cancelled_before_call(by: str) -> Outcome:
    """The outcome of a task that was cancelled before an agent was called."""
    return Outcome(error=f"cancelled by {by}", failure=AgentCancelled, delivered=False)


def outcome_of_fault(error: Exception, *, delivered: bool | None) -> Outcome:
    """The outcome of an unexpected exception; `delivered`: whether the agent may have received the task by then."""
    if isinstance(error, LedgerOutcomeUnknown):  # so the REQUEST was recorded
        text = "not started: the connection to the ledger broke while this was recorded, and the caller got an error"
        return Outcome(error=text, failure=LedgerOutcomeUnknown, delivered=delivered)
    if isinstance(error, AorchError):
        return outcome_of(error, delivered=delivered)
    return Outcome(error=f"a bug in aorch: {described(error)}", failure=AorchError, delivered=delivered)


def refused_exchange(request: Record, refusal: AorchError) -> tuple[Record, Record, Outcome]:
    """Both contracts of a task for which no agent was called, and the outcome that they record."""
    outcome = outcome_of(refusal, delivered=False)
    response = response_of(request, None, outcome, time.perf_counter())
    ended = request._replace(status=FAILED, completed_at=response.created_at, claimed_by=None)
    return ended, response, outcome
