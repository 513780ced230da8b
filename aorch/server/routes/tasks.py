"""Tasks in the queue: submitted, shown, cancelled."""

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf

from aiohttp import web

from aorch.agents.registry import Registry
from aorch.clock import rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.resume import same_task, task_again
from aorch.engine.task import Answer, QueueOptions, Task
from aorch.errors import Conflict, NotFound, UsageError
from aorch.server.authentication import READ
from aorch.server.fast_path import JsonResponse, json_response
from aorch.server.http_protocol import client_has_left
from aorch.server.idempotency import IDEMPOTENCY_KEY, idempotency_key
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT, RequestContext, services_of
from aorch.server.request_parsing import parse_body, parse_query, reject_other_capability, task_of
from aorch.server.route import Route
from aorch.server.schemas.tasks import TaskBody, TaskForm, TaskQuery
from aorch.server.tasks_again import queue_once, run_again, task_form
from aorch.worker.webhooks import check_webhook


async def submit_task(request: web.Request) -> web.Response:
    """Queue a task; a worker executes it later.

    The REQUEST is in the ledger when this returns. `Location` is the URL of the task, where its result appears. The worker is
    this server, or any `aorch worker` on the same ledger.
    """
    context, raw = request[CONTEXT], await read_body(request)
    body = parse_body(raw, TaskBody)
    key = idempotency_key(request, context.caller.caller_id, raw)
    return await queue_once(context, key, lambda: (task_of(request, body, key), _queue_options(context, body)))


async def show_task(request: web.Request) -> web.Response:
    """Show a task's status and progress, and its result once it is finished.

    With `wait_s` the response is sent when the task is finished, or after that many seconds.
    """
    query = parse_query(request, TaskQuery)
    waiting = services_of(request).waiting
    contract_id = request.match_info["contract_id"]
    answer = await _wait(request, contract_id, query.wait_s) if query.wait_s else None
    task = waiting.request(contract_id)
    return json_response(task_form(task, answer or waiting.answer(task), waiting.progress(task)))


async def cancel_task(request: web.Request) -> web.Response:
    """Cancel a task, queued or running.

    A running agent is asked to stop; until it has stopped, `status` is `in_progress`. Cancelling a cancelled or finished
    task has no effect. `answer` is null for a token without the scope `read`.
    """
    context = request[CONTEXT]
    by = context.caller.agent_id or context.caller.name or "an HTTP client"
    return await _cancel(context, request.match_info["contract_id"], by)


async def _cancel(context: RequestContext, contract_id: str, by: str) -> JsonResponse:
    if context.caller.capabilities is not None:
        reject_other_capability(context, context.services.waiting.request(contract_id).capability)
    await context.services.orchestrator.cancel(contract_id, by)
    waiting = context.services.waiting
    task = waiting.request(contract_id)
    reads = context.caller.reads
    return json_response(task_form(task, waiting.answer(task) if reads else None))


async def cancel_sent_task(request: web.Request) -> web.Response:
    """Cancel the task that the caller sent with this `Idempotency-Key`, to `/v1/orchestrate` or `/v1/tasks`.

    For a client that has no answer yet, and so does not know the ID of its task. Otherwise like
    `POST /v1/tasks/{contract_id}/cancel`. 404: no REQUEST was recorded with this key.
    """
    context = request[CONTEXT]
    key = idempotency_key(request, context.caller.caller_id, b"")
    if key is None:
        raise UsageError(f"the header {IDEMPOTENCY_KEY} is missing", "Send the key of the request for the task.")
    found = await context.services.readers.read(lambda reader: reader.under_key(key[0], key[1]))
    if found is None or found[1] is None:
        raise NotFound(f"no task was sent with the {IDEMPOTENCY_KEY} {key[1]!r}", "Check the key.")
    return await _cancel(context, found[1].contract_id, "the caller")


async def rerun_task(request: web.Request) -> web.StreamResponse:
    """Queue the task of a recorded exchange again, even if it succeeded.

    The new REQUEST is in the same session, and its metadata names the earlier one (`rerun_of`). It has the same parameters and
    context, and the same agent if the caller had requested one.

    With `Accept: text/event-stream` the task is not queued, but executed now, and the response is that of `/v1/orchestrate`.
    """
    return await _again(request, same_task)


async def resume_task(request: web.Request) -> web.StreamResponse:
    """Queue a task again that failed, was cancelled or was interrupted.

    The new REQUEST is in the same session, and its metadata names the earlier one (`resumes`). A pipeline uses the results of
    the steps and items that completed, and runs the others; `reused` of its answer names the contracts with these results. Any
    other task runs again. 409: it completed, still runs, or was resumed already.

    With `Accept: text/event-stream` the task is not queued, but executed now, and the response is that of `/v1/orchestrate`.
    """
    return await _again(request, task_again)


async def _again(request: web.Request, read: Callable[[LedgerLocation, str, Registry], Task]) -> web.StreamResponse:
    context, contract_id = request[CONTEXT], request.match_info["contract_id"]
    orchestrator = context.services.orchestrator
    context.services.waiting.request(contract_id)  # `read` also accepts a part of an ID
    key = idempotency_key(request, context.caller.caller_id, contract_id.encode())
    return await run_again(request, key, partial(read, orchestrator.config.ledger, contract_id, orchestrator.registry))


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


ROUTES = (
    Route("POST", "/v1/tasks", submit_task, "run", "tasks", TaskForm, body=TaskBody, success=202),
    Route("GET", "/v1/tasks/{contract_id}", show_task, "read", "tasks", TaskForm, query=TaskQuery, counted=False),
    Route("POST", "/v1/orchestrate/cancel", cancel_sent_task, "run", "tasks", TaskForm),
    Route("POST", "/v1/tasks/{contract_id}/cancel", cancel_task, "run", "tasks", TaskForm),
    Route("POST", "/v1/tasks/{contract_id}/rerun", rerun_task, "run", "tasks", TaskForm, success=202),
    Route("POST", "/v1/tasks/{contract_id}/resume", resume_task, "run", "tasks", TaskForm, success=202),
)
