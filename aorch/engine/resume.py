"""A task performed again, as a new REQUEST whose `metadata.resumes` names the one before."""

from pathlib import Path
from typing import Any

from aorch.agents.registry import Registry
from aorch.engine.task import Task
from aorch.errors import Conflict, NotFound
from aorch.ledger import task_queue
from aorch.ledger.batch_register import Recorded
from aorch.ledger.reader import Reader
from aorch.ledger.record import COMPLETED, REQUEST, insisted_on, object_in
from aorch.ledger.schema import Contract
from aorch.ledger.task_keys import RetryKey

_OURS = {"routing", "queue", "context", "step", "index", "resumes"}
"""What the metadata of a REQUEST holds besides what its caller gave."""


def task_again(ledger: Path, part: str, registry: Registry) -> Task:
    """The task of the REQUEST of that id (or the one that a RESPONSE of that id answers), to be performed again.

    `part` may be how the id begins or ends. A pipeline asks the same agent again, anything else whoever has the capability,
    unless an agent was insisted on. Raises NotFound; UsageError where several ids are like that; Conflict where the REQUEST
    completed, still runs, or was done again already.
    """
    with Reader(ledger) as reader:
        request = _request(reader, part)
    _refuse_running(request)
    with Recorded(ledger) as recorded:
        _refuse_done_again(request, *recorded.last_try(request.session_id, request.contract_id))
    return Task(
        capability=request.capability,
        parameters=request.payload,
        session_id=request.session_id,
        context=object_in(request.details, "context"),
        agent_id=_insisted(request, registry),
        metadata={**_given(request.details), "resumes": request.contract_id},
        idempotency=RetryKey(request.contract_id),
    )


def resumable(ledger: Path, part: str) -> str:
    """The id of the last try of what that REQUEST asks for: the one that can be resumed."""
    with Reader(ledger) as reader:
        request = _request(reader, part)
    with Recorded(ledger) as recorded:
        return recorded.last_try(request.session_id, request.contract_id)[0]


def _request(reader: Reader, part: str) -> Contract:
    found, other = reader.with_counterpart(reader.find(part).contract_id)
    request = found if found.contract_type == REQUEST else other
    if request is None:
        raise NotFound(f"the REQUEST that {found.contract_id} answers is not in the ledger")
    return request


def _refuse_running(request: Contract) -> None:
    if request.status == COMPLETED:
        raise Conflict(
            f"{request.contract_id} completed: there is nothing to resume",
            f"See it by `aorch contracts show {request.contract_id}`.",
        )
    if (
        request.status in task_queue.OPEN
        and request.claimed_by is None
        and request.turn is None
        and request.due_at is None
    ):
        raise task_queue.imported_conflict(request.contract_id)
    if request.completed_at is None:
        raise Conflict(f"{request.contract_id} is {request.status}, and who runs it lives", "Wait for its end.")


def _refuse_done_again(request: Contract, last: str, status: str) -> None:
    if last == request.contract_id:
        return
    hint = f"Resume that one: aorch contracts resume {last}"
    if status == COMPLETED:
        hint = f"See it by `aorch contracts show {last}`."
    elif status in task_queue.OPEN:
        hint = f"Wait for its end: aorch contracts wait {last}"
    raise Conflict(f"{request.contract_id} was resumed by {last}, which is {status}", hint)


def _given(details: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in _OURS}


def _insisted(request: Contract, registry: Registry) -> str | None:
    """The agent that must do it: one that the caller insisted on, or the pipeline, whose id is its capability's name."""
    if (agent_id := insisted_on(request.details, request.to_agent)) is not None:
        return agent_id
    name = request.to_agent or request.capability  # nobody is named in a REQUEST that waits in the queue
    found = (each.agent for each in registry if each.agent.agent_id == name == request.capability)
    return next((agent.agent_id for agent in found if agent.kind == "pipeline"), None)
