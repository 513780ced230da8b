"""What a worker over HTTP reports, as the contracts that a local worker would write: results, and the steps of pipelines."""

from types import NoneType
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.clock import now
from aorch.engine.executor import TaskExecutor
from aorch.engine.task import Outcome, Redaction, Task
from aorch.ledger.contract_metadata import ERASED, REDACTED
from aorch.ledger.record import COMPLETED, IN_PROGRESS, ORCHESTRATOR, PENDING, REQUEST, RESPONSE, Record

_OF_SERVER = frozenset({"caller", ERASED})
_TYPES: dict[str, tuple[type, ...]] = {
    "duration_ms": (int, float),
    "code": (str,),
    "delivered": (bool, NoneType),
    "retry_safe": (bool, NoneType),
    "exit_code": (int, NoneType),
    "stdout": (str,),
    "stderr": (str,),
}
_OF_STEP = frozenset({"step", "index", "resumes", "context", "routing", "custom", REDACTED})
"""The metadata of a step that aorch writes."""


class ReportedResult(NamedTuple):
    """The outcome of a task, as the worker describes it. `agent_id` is None if no agent was called."""

    response_id: str
    agent_id: str | None
    status: str
    result: Any
    error: str | None
    metadata: dict[str, Any]


class ReportedStep(NamedTuple):
    """A task that `from_agent` delegates to `agent_id` (None: no agent is called). `waits`: for a slot of that agent."""

    contract_id: str
    from_agent: str
    agent_id: str | None
    capability: str
    parameters: dict[str, Any]
    metadata: dict[str, Any]
    waits: bool


def request_below(parent: Record, step: ReportedStep, lease_id: str, executor: TaskExecutor) -> Record:
    """The REQUEST of a step of the pipeline that `parent` asks for. It is redacted as results are. Raises InvalidJSON."""
    request = Record(
        contract_id=step.contract_id,
        session_id=parent.session_id,
        contract_type=REQUEST,
        from_agent=step.from_agent,
        to_agent=step.agent_id,
        capability=step.capability,
        payload=jsonio.encode(step.parameters),
        status=PENDING if step.waits else IN_PROGRESS,
        created_at=now(),
        metadata=jsonio.encode({name: value for name, value in step.metadata.items() if name in _OF_STEP}),
        parent_id=parent.contract_id,
        claimed_by=lease_id,
    )
    redaction = _redaction(executor, step.capability)
    return request if redaction is None else redaction.request(request)


def response_to(request: Record, reported: ReportedResult, executor: TaskExecutor) -> Record:
    """The RESPONSE to `request`. What the patterns of this server find in it is redacted, as well as by the worker.

    Raises InvalidJSON.
    """
    has_result = reported.result is not None or reported.status == COMPLETED
    text = jsonio.encode(reported.result) if has_result else None
    outcome = Outcome(reported.result, text, reported.error, details=_details(reported.metadata))
    if (redaction := _redaction(executor, request.capability)) is not None:
        outcome = redaction.outcome(outcome)
    moment = now()
    return Record(
        contract_id=reported.response_id,
        session_id=request.session_id,
        contract_type=RESPONSE,
        from_agent=reported.agent_id or ORCHESTRATOR,
        to_agent=request.from_agent,
        capability=request.capability,
        payload="{}",
        status=reported.status,
        created_at=moment,
        completed_at=moment,
        result=outcome.result_text,
        error=outcome.error,
        metadata=jsonio.encode(outcome.details),
        request_id=request.contract_id,
        parent_id=request.parent_id,
    )


def _details(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a report without what only aorch writes, and without values of another type than aorch writes."""
    return {
        name: value
        for name, value in metadata.items()
        if name not in _OF_SERVER and (name not in _TYPES or type(value) in _TYPES[name])
    }


def progress_text(executor: TaskExecutor, progress: Any) -> str:
    """What an agent of a worker reported, as JSON text without what the patterns of this server find, or may
    find once the text goes on. Raises InvalidJSON."""
    redaction = _redaction(executor, "")
    return jsonio.encode(progress if redaction is None else redaction.progress(progress))


def _redaction(executor: TaskExecutor, capability: str) -> Redaction | None:
    if executor.redactor is None:
        return None
    from aorch.engine.redaction import redaction_of  # noqa: PLC0415  only if patterns are configured

    return redaction_of(executor.redactor, Task(capability or "-"), [], None)
