"""Tasks in the queue: submitted, shown, cancelled."""

import asyncio
from math import inf
from typing import Any
from urllib.parse import quote

from aiohttp import web

from aorch.clock import rfc3339
from aorch.engine.submit import TaskRejected
from aorch.engine.task import Answer, QueueOptions
from aorch.errors import Conflict
from aorch.ledger.record import Record
from aorch.server.authentication import READ
from aorch.server.fast_path import JsonResponse, json_response
from aorch.server.http_protocol import client_has_left
from aorch.server.idempotency import earlier_task, idempotency_key
from aorch.server.problems import failure_response
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT, RequestContext, services_of
from aorch.server.request_parsing import parse_body, parse_query, task_of
from aorch.server.route import Route
from aorch.server.schemas.tasks import TaskBody, TaskForm, TaskQuery
from aorch.worker.webhooks import check_webhook


async def submit_task(request: web.Request) -> web.Response:
    """Queue a task; a worker executes it later.

    The REQUEST is in the ledger when this returns. `Location` is the URL of the task, where its result appears. The worker is
    this server, or any `aorch worker` on the same ledger.
    """
    context, raw = request[CONTEXT], await read_body(request)
    body, readers = parse_body(raw, TaskBody), context.services.readers
    key = idempotency_key(request, context.caller.caller_id, raw)
    if key is not None and (earlier := await earlier_task(readers, key)) is not None:
        return _replayed(context, *earlier)
    task, options = task_of(request, body, key), _queue_options(context, body)
    try:
        accepted = await context.services.orchestrator.queue.submit(task, options)
    except TaskRejected as rejected:
        context.log_fields["contract_id"] = rejected.answer.contract_id
        return failure_response(rejected.answer)
    except Conflict:  # another request with this key was faster
        if key is None or (earlier := await earlier_task(readers, key)) is None:
            raise
        return _replayed(context, *earlier)
    return _accepted(context, _task_json(accepted, None))


async def show_task(request: web.Request) -> web.Response:
    """Show a task's status and progress, and its result once it is finished.

    With `wait_s` the response is sent when the task is finished, or after that many seconds.
    """
    query = parse_query(request, TaskQuery)
    waiting = services_of(request).waiting
    contract_id = request.match_info["contract_id"]
    answer = await _wait(request, contract_id, query.wait_s) if query.wait_s else None
    task = waiting.request(contract_id)
    return json_response(_task_json(task, answer or waiting.answer(task), waiting.progress(task)))


async def cancel_task(request: web.Request) -> web.Response:
    """Cancel a task, queued or running.

    A running agent is asked to stop; until it has stopped, `status` is `in_progress`. Cancelling a cancelled or finished
    task has no effect. `answer` is null for a token without the scope `read`.
    """
    context, contract_id = request[CONTEXT], request.match_info["contract_id"]
    by = context.caller.agent_id or context.caller.name or "an HTTP client"
    await context.services.orchestrator.cancel(contract_id, by)
    waiting = context.services.waiting
    task = waiting.request(contract_id)
    reads = context.caller.reads
    return json_response(_task_json(task, waiting.answer(task) if reads else None))


async def _wait(request: web.Request, contract_id: str, wait_s: float) -> Answer | None:
    """Wait for the task's answer. Returns None after `wait_s` seconds, and at once when the server stops.

    Raises HttpError (401) when the caller's token becomes invalid, and ConnectionError when the client has disconnected.
    """
    services = services_of(request)
    waiting = asyncio.ensure_future(services.waiting.wait(contract_id, wait_s))
    try:
        with services.long_requests.hold(request, waiting.cancel):
            await asyncio.wait((waiting,))
    finally:
        waiting.cancel()
    if client_has_left(request, inf):
        raise ConnectionResetError
    services.authenticator.authenticate(request, READ)
    if waiting.cancelled():
        return None
    try:
        return waiting.result()
    except Conflict:  # an imported REQUEST: no process of this ledger will answer it
        return None


def _queue_options(context: RequestContext, body: TaskBody) -> QueueOptions:
    if body.webhook is not None:
        check_webhook(context.services.orchestrator.config, body.webhook)
    not_before = None if body.not_before is None else rfc3339(body.not_before)
    expires_at = None if body.expires_at is None else rfc3339(body.expires_at)
    return QueueOptions(body.priority, not_before, expires_at, body.webhook)


def _task_json(request: Record, answer: Answer | None, progress: Any = None) -> dict[str, Any]:
    return {
        "contract_id": request.contract_id,
        "session_id": request.session_id,
        "capability": request.capability,
        "status": request.status,
        "created_at": request.created_at,
        "completed_at": request.completed_at,
        "progress": progress,
        "answer": None if answer is None else answer.as_dict(),
    }


def _replayed(context: RequestContext, request: Record, answer: Answer | None) -> JsonResponse:
    task = _task_json(request, answer, context.services.waiting.progress(request))
    return _accepted(context, task, is_replayed=True)


def _accepted(context: RequestContext, task: dict[str, Any], *, is_replayed: bool = False) -> JsonResponse:
    if not context.caller.reads:
        task["answer"] = task["progress"] = None
    context.log_fields["contract_id"] = task["contract_id"]
    headers = {"Location": f"/v1/tasks/{quote(task['contract_id'])}"}
    if is_replayed:
        headers["Idempotency-Replayed"] = "true"
    return json_response(task, status=202, headers=headers)


ROUTES = (
    Route("POST", "/v1/tasks", submit_task, "run", "tasks", TaskForm, body=TaskBody, success=202),
    Route("GET", "/v1/tasks/{contract_id}", show_task, "read", "tasks", TaskForm, query=TaskQuery, counted=False),
    Route("POST", "/v1/tasks/{contract_id}/cancel", cancel_task, "run", "tasks", TaskForm),
)
