"""Resuming: a task runs again, as a new REQUEST whose `metadata.resumes` names the previous one."""

import logging

from aorch import jsonio
from aorch.agents.registry import Registry
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.recorded_task import recorded_task
from aorch.engine.task import Task
from aorch.errors import Conflict, NotFound
from aorch.ledger import task_queue
from aorch.ledger.batch_register import BatchReader
from aorch.ledger.contract_metadata import read_metadata, requested_agent
from aorch.ledger.reader import Reader
from aorch.ledger.record import COMPLETED, REQUEST, Record
from aorch.ledger.task_keys import RetryKey

_OF_PIPELINE = ("step", "index")
"""The annotations that a resumed step loses, because it is no longer part of that run of the pipeline."""


def task_again(ledger: LedgerLocation, part: str, registry: Registry) -> Task:
    """The task of the REQUEST with that id (or of the REQUEST that the RESPONSE with that id answers), for running it
    again.

    `part` may be the start or the end of the id. A pipeline runs as the same pipeline again. Any other task runs on any
    agent with the capability, or on the requested one. Logs a warning (`aorch.agents`) if the agent may do the same work
    twice. Raises NotFound; UsageError if several ids match; ContentErased; Conflict if the
    REQUEST completed, still runs, or was resumed already.
    """
    with Reader(ledger) as reader:
        request = _request(reader, part)
        _reject_running(request, imported=reader.is_unowned(request.contract_id))
        response = reader.with_counterpart(request.contract_id)[1]
    with BatchReader(ledger) as recorded:
        _reject_resumed(request, *recorded.last_try(request.session_id, request.contract_id))
    metadata = read_metadata(jsonio.decode(request.metadata))
    annotations = {name: value for name, value in metadata.annotations.items() if name not in _OF_PIPELINE}
    if may_repeat(response, is_pipeline=_is_pipeline(request.to_agent or request.capability, registry)):
        logging.getLogger("aorch.agents").warning("%s", repetition(request))
    task = recorded_task(request, _same_agent(request, registry), metadata)
    task.annotations = {**annotations, "resumes": request.contract_id}
    task.idempotency = RetryKey(request.contract_id)
    return task


def may_repeat(response: Record | None, *, is_pipeline: bool) -> bool:
    """Whether an agent may do the same work twice if the task of that RESPONSE runs again."""
    return response is not None and jsonio.decode(response.metadata).get("retry_safe") is False and not is_pipeline


def repetition(request: Record) -> str:
    """The warning of `may_repeat`."""
    return f"task {request.contract_id} had already started, so its agent may now do the same work twice"


def same_task(ledger: LedgerLocation, part: str, registry: Registry) -> Task:
    """The task of an exchange with any result, as a new one; `part` is as for `task_again`. Its metadata names the
    earlier REQUEST (`rerun_of`). Raises NotFound, ContentErased, and UsageError if several ids match.
    """
    with Reader(ledger) as reader:
        request = _request(reader, part)
    task = recorded_task(request, _same_agent(request, registry))
    task.annotations = {"rerun_of": request.contract_id}
    return task


def resumable(ledger: LedgerLocation, part: str) -> str:
    """The id of the last attempt at the task of that REQUEST, which is the one that can be resumed."""
    with Reader(ledger) as reader:
        request = _request(reader, part)
    with BatchReader(ledger) as recorded:
        return recorded.last_try(request.session_id, request.contract_id)[0]


def _request(reader: Reader, part: str) -> Record:
    found, other = reader.with_counterpart(reader.find(part).contract_id)
    request = found if found.contract_type == REQUEST else other
    if request is None:
        raise NotFound(f"the REQUEST that {found.contract_id} answers is not in the ledger")
    return request


def _reject_running(request: Record, *, imported: bool) -> None:
    if request.status == COMPLETED:
        raise Conflict(
            f"{request.contract_id} completed: there is nothing to resume",
            f"See `aorch contracts show {request.contract_id}`.",
            http_hint=f"See GET /v1/tasks/{request.contract_id}.",
        )
    if request.status in task_queue.OPEN and imported:
        raise task_queue.imported_conflict(request.contract_id)
    if request.completed_at is None:
        raise Conflict(
            f"{request.contract_id} is {request.status}, and the process that runs it is alive", "Wait until it ends."
        )


def _reject_resumed(request: Record, last: str, status: str) -> None:
    if last == request.contract_id:
        return
    hint, http_hint = f"Resume that one with `aorch contracts resume {last}`.", f"POST /v1/tasks/{last}/resume."
    if status == COMPLETED:
        hint, http_hint = f"See `aorch contracts show {last}`.", f"See GET /v1/tasks/{last}."
    elif status in task_queue.OPEN:
        hint, http_hint = f"Wait for it with `aorch contracts wait {last}`.", f"See GET /v1/tasks/{last}."
    raise Conflict(f"{request.contract_id} was resumed by {last}, which is {status}", hint, http_hint=http_hint)


def _same_agent(request: Record, registry: Registry) -> str | None:
    """The agent that must run it again: the requested one, or the pipeline, whose id is its capability's name."""
    if (agent_id := requested_agent(jsonio.decode(request.metadata), request.to_agent)) is not None:
        return agent_id
    name = request.to_agent or request.capability  # a queued REQUEST names no agent
    return name if name == request.capability and _is_pipeline(name, registry) else None


def _is_pipeline(agent_id: str, registry: Registry) -> bool:
    return any(each.agent.agent_id == agent_id and each.agent.kind == "pipeline" for each in registry)
