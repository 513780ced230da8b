"""Runs a recorded task again, now or in the queue, once for each idempotency key."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from aiohttp import web

from aorch.engine.offered import only_workers_have
from aorch.engine.submit import TaskRejected
from aorch.engine.task import Answer, QueueOptions, Task
from aorch.errors import Conflict
from aorch.ledger import priorities
from aorch.ledger.record import Record
from aorch.ledger.task_keys import CallerKey, RetryKey, SentKey
from aorch.server.fast_path import JsonResponse, json_response
from aorch.server.idempotency import earlier_task, execute_once
from aorch.server.problems import answer_form, answer_response, failure_response, server_stopped
from aorch.server.progress_stream import OnProgress, stream_answer, wants_events
from aorch.server.request_context import CONTEXT, RequestContext
from aorch.server.request_parsing import sign


async def run_again(
    request: web.Request, key: CallerKey | None, read: Callable[[], Task], priority: int = priorities.DEFAULT
) -> web.StreamResponse:
    """Queue the task that `read` returns in a thread, unless an earlier request had the same key. A client that asks for events
    gets its answer instead, as from `/v1/orchestrate`.
    """
    context = request[CONTEXT]
    readers, orchestrator = context.services.readers, context.services.orchestrator
    redact = orchestrator.config.redact
    earlier = None if key is None else await earlier_task(readers, key, redact)
    task = None if earlier is not None else await _signed(context, read, key)
    if wants_events(request):
        return await stream_answer(request, lambda on_progress: _perform(context, task, key, on_progress))
    if task is None:
        assert earlier is not None
        return _replayed(context, *earlier)
    described = task, QueueOptions(priority)
    return await queue_once(context, key, lambda: described)


async def queue_once(
    context: RequestContext, key: CallerKey | None, described: Callable[[], tuple[Task, QueueOptions]]
) -> JsonResponse:
    """Queue the task that `described` returns, or return the task that an earlier request with that key has queued."""
    readers, redact = context.services.readers, context.services.orchestrator.config.redact
    if key is not None and (earlier := await earlier_task(readers, key, redact)) is not None:
        return _replayed(context, *earlier)
    try:
        queued = await context.services.orchestrator.queue.submit(*described())
    except TaskRejected as rejected:
        context.log_fields["contract_id"] = rejected.answer.contract_id
        return failure_response(rejected.answer)
    except Conflict:  # another request with this key was faster
        if key is None or (earlier := await earlier_task(readers, key, redact)) is None:
            raise
        return _replayed(context, *earlier)
    return _accepted(context, task_form(queued, None))


async def _signed(context: RequestContext, read: Callable[[], Task], key: CallerKey | None) -> Task:
    task = await asyncio.to_thread(read)
    sign(task, context)
    if key is not None:
        task.idempotency = SentKey(key, task.idempotency) if isinstance(task.idempotency, RetryKey) else key
    return task


async def _perform(
    context: RequestContext, task: Task | None, key: CallerKey | None, on_progress: OnProgress
) -> JsonResponse:
    orchestrator = context.services.orchestrator

    async def performing() -> Answer:
        if task is None:
            raise Conflict("the task of the earlier request with this key was pruned", "Use a new key.")
        if await only_workers_have(orchestrator.executor, task):
            return await _executed_by_worker(context, task)
        return await orchestrator.perform(task, max_line=orchestrator.config.serve.max_line, on_progress=on_progress)

    if key is None:
        return answer_response(context.log_fields, await performing(), is_replayed=False)
    answer, is_replayed = await execute_once(context.services.readers, key, orchestrator.config.redact, performing)
    return answer_response(context.log_fields, answer, is_replayed=is_replayed)


async def _executed_by_worker(context: RequestContext, task: Task) -> Answer:
    """Queue `task`, and return its answer. Raises HttpError if this server stops before."""
    try:
        queued = await context.services.orchestrator.queue.submit(task, QueueOptions())
    except TaskRejected as rejected:
        return rejected.answer
    answer = await context.services.waiting.wait(queued.contract_id)
    if answer is None:
        raise server_stopped()
    return answer


def task_form(request: Record, answer: Answer | None, progress: Any = None) -> dict[str, Any]:
    """The JSON form of a queued task."""
    return {
        "contract_id": request.contract_id,
        "session_id": request.session_id,
        "capability": request.capability,
        "status": request.status,
        "created_at": request.created_at,
        "completed_at": request.completed_at,
        "progress": progress,
        "answer": None if answer is None else answer_form(answer),
    }


def _replayed(context: RequestContext, request: Record, answer: Answer | None) -> JsonResponse:
    """The response with the task that an earlier request with the same key has queued."""
    task = task_form(request, answer, context.services.waiting.progress(request))
    return _accepted(context, task, is_replayed=True)


def _accepted(context: RequestContext, task: dict[str, Any], *, is_replayed: bool = False) -> JsonResponse:
    """The response with a queued task."""
    if not context.caller.reads:
        task["answer"] = task["progress"] = None
    context.log_fields["contract_id"] = task["contract_id"]
    headers = {"Location": f"/v1/tasks/{quote(task['contract_id'])}"}
    if is_replayed:
        headers["Idempotency-Replayed"] = "true"
    return json_response(task, status=202, headers=headers)
