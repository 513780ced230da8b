"""Executes a task now."""

from aiohttp import web

from aorch import jsonio
from aorch.errors import AgentFailed, Interrupted
from aorch.server.fast_path import JsonResponse
from aorch.server.idempotency import IDEMPOTENCY_KEY, execute_once, idempotency_key
from aorch.server.problems import failure_response
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT
from aorch.server.request_parsing import parse_body, plain_task, task_of
from aorch.server.route import Route
from aorch.server.schemas.tasks import OrchestrateAnswer, OrchestrateBody


async def orchestrate(request: web.Request) -> web.Response:
    """Execute a task now and return its result.

    aorch chooses an agent that has the capability, calls it, and stores the REQUEST and its RESPONSE in the ledger. If the
    agent itself reports a failure, the status is 200 and `success` is false.
    """
    context, raw = request[CONTEXT], await read_body(request)
    body, orchestrator = plain_task(raw) or parse_body(raw, OrchestrateBody), context.services.orchestrator
    key = idempotency_key(request, context.caller.caller_id, raw) if IDEMPOTENCY_KEY in request.headers else None
    task = task_of(request, body, key)
    if key is None:
        answer, is_replayed = await orchestrator.perform(task), False
    else:
        answer, is_replayed = await execute_once(context.services.readers, key, lambda: orchestrator.perform(task))
    context.log_fields["contract_id"] = answer.contract_id
    if answer.failure in (None, AgentFailed, Interrupted):
        response = JsonResponse(jsonio.encode_bytes(answer.as_dict()))
    else:
        response = failure_response(answer)
    if is_replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


ROUTES = (Route("POST", "/v1/orchestrate", orchestrate, "run", "tasks", OrchestrateAnswer, body=OrchestrateBody),)
