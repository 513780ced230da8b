"""Executes a task now."""

from functools import partial

from aiohttp import web

from aorch.engine.routing import plan
from aorch.server.fast_path import JsonResponse, json_response
from aorch.server.idempotency import IDEMPOTENCY_KEY, execute_once, idempotency_key
from aorch.server.problems import answer_response
from aorch.server.progress_stream import OnProgress, stream_answer, wants_events
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT
from aorch.server.request_parsing import parse_body, plain_task, task_of
from aorch.server.route import Route
from aorch.server.schemas.tasks import OrchestrateAnswer, OrchestrateBody, PlanForm


async def orchestrate(request: web.Request) -> web.StreamResponse:
    """Execute a task now and return its result.

    aorch chooses an agent that has the capability, calls it, and stores the REQUEST and its RESPONSE in the ledger. If the
    agent itself reports a failure, the status is 200 and `success` is false. If the agent is busy and `max_line` tasks already
    wait for it, the status is 503.

    With `Accept: text/event-stream` the response is a stream of events: `progress` for what the agent reports while it works,
    and at the end `result`, or `error` with a problem document; before it `replayed` if it is that of an earlier request with the
    same key.
    """
    raw = await read_body(request)
    if wants_events(request):
        return await stream_answer(request, lambda on_progress: _perform(request, raw, on_progress))
    return await _perform(request, raw)


async def _perform(request: web.Request, raw: bytes, on_progress: OnProgress | None = None) -> JsonResponse:
    body = plain_task(raw) or parse_body(raw, OrchestrateBody)
    context, orchestrator, key = request[CONTEXT], request[CONTEXT].services.orchestrator, None
    if IDEMPOTENCY_KEY in request.headers:
        key = idempotency_key(request, context.caller.caller_id, raw)
    task = task_of(request, body, key)
    performing = partial(
        orchestrator.perform, task, max_line=orchestrator.config.serve.max_line, on_progress=on_progress
    )
    if key is None:
        answer, is_replayed = await performing(), False
    else:
        answer, is_replayed = await execute_once(context.services.readers, key, orchestrator.config.redact, performing)
    return answer_response(context.log_fields, answer, is_replayed=is_replayed)


async def plan_task(request: web.Request) -> web.Response:
    """Show which agent would execute a task, why, and what it would run or send. Executes and records nothing.

    The scope is `read`, because commands and prompts of agents are shown; values of secret parameters are masked.
    """
    raw = await read_body(request)
    task = task_of(request, plain_task(raw) or parse_body(raw, OrchestrateBody), None)
    return json_response(await plan(request[CONTEXT].services.orchestrator.registry, task))


ROUTES = (
    Route("POST", "/v1/orchestrate", orchestrate, "run", "tasks", OrchestrateAnswer, body=OrchestrateBody),
    Route("POST", "/v1/orchestrate/plan", plan_task, "read", "tasks", PlanForm, body=OrchestrateBody),
)
