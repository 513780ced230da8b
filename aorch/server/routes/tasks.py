"""The routes of the queue: a task is accepted now, done later, asked after, and cancelled."""

import asyncio
from math import inf
from urllib.parse import quote

from aiohttp import web

from aorch.clock import rfc3339
from aorch.engine.task import Answer, Wish
from aorch.errors import Conflict
from aorch.ledger.record import Row
from aorch.server.authentication import READ
from aorch.server.fast_path import JsonAnswer
from aorch.server.http_protocol import may_have_left
from aorch.server.idempotency import first_of, key_of
from aorch.server.json_response import json_answer
from aorch.server.problems import refused
from aorch.server.request_body import read_raw
from aorch.server.request_context import CALL, Call, services_of
from aorch.server.request_parsing import asked, parse, read_query
from aorch.server.schemas import bodies
from aorch.worker.webhooks import check_webhook


async def submit_task(request: web.Request) -> web.Response:
    """Accept a task, to be done by a worker: this server's own, or `aorch worker`.

    The REQUEST is in the ledger once this is answered; `Location` is where to ask for what came of it.
    """
    call, raw = request[CALL], await read_raw(request)
    body = parse(raw, bodies.TaskBody)
    key = key_of(request, call.caller.caller_id, raw)
    if key is not None and (earlier := await first_of(call.services.readers, key)) is not None:
        return _accepted(call, earlier, replayed=True)
    task = asked(call, request, body, key)
    orchestrator = call.services.orchestrator
    try:
        accepted = await orchestrator.queue.submit(task, _wish(call, body))
    except Conflict:  # another request with this key was faster
        if key is None or (earlier := await first_of(call.services.readers, key)) is None:
            raise
        return _accepted(call, earlier, replayed=True)
    if isinstance(accepted, Answer):
        call.about["contract_id"] = accepted.contract_id
        return refused(accepted)
    return _accepted(call, _form(accepted, None))


async def show_task(request: web.Request) -> web.Response:
    """How a task stands; with `wait_s` once it is answered, or after so many seconds."""
    query = read_query(request, bodies.TaskQuery)
    waiting = services_of(request).waiting
    contract_id = request.match_info["contract_id"]
    answer = await _waited(request, contract_id, query.wait_s) if query.wait_s else None
    asked = waiting.request(contract_id)
    return json_answer(_form(asked, answer or waiting.answer(asked)))


async def _waited(request: web.Request, contract_id: str, wait_s: float) -> Answer | None:
    """The answer to a long poll; None after `wait_s` seconds, and at once when the server stops.

    Raises Refusal (401) once the caller's token is not valid any more, and ConnectionError once its client has left.
    """
    services = services_of(request)
    waiting = asyncio.ensure_future(services.waiting.wait(contract_id, wait_s))
    try:
        with services.long_requests.hold(request, waiting.cancel):
            await asyncio.wait((waiting,))
    finally:
        waiting.cancel()
    if may_have_left(request, inf):
        raise ConnectionResetError
    services.access.admit(request, READ)
    if waiting.cancelled():
        return None
    try:
        return waiting.result()
    except Conflict:  # it was imported, and nobody here will answer it
        return None


async def cancel_task(request: web.Request) -> web.Response:
    """Cancel a task, whoever does it. Its agent is told to stop, and the RESPONSE says `cancelled`; again changes nothing.

    `status` is `in_progress` as long as the agent has yet to stop. `answer` is null for a token without the scope `read`.
    """
    call, contract_id = request[CALL], request.match_info["contract_id"]
    by = call.caller.agent_id or call.caller.name or "an HTTP client"
    await call.services.orchestrator.cancel(contract_id, by)
    asked = call.services.waiting.request(contract_id)
    return json_answer(_form(asked, call.services.waiting.answer(asked) if call.caller.reads else None))


def _wish(call: Call, body: bodies.TaskBody) -> Wish:
    if body.webhook is not None:
        check_webhook(call.services.orchestrator.config, body.webhook)
    not_before = None if body.not_before is None else rfc3339(body.not_before)
    expires_at = None if body.expires_at is None else rfc3339(body.expires_at)
    return Wish(body.priority, not_before, expires_at, body.webhook)


def _form(request: Row, answer: Answer | None) -> dict[str, object]:
    return {
        "contract_id": request.contract_id,
        "session_id": request.session_id,
        "capability": request.capability,
        "status": request.status,
        "created_at": request.created_at,
        "completed_at": request.completed_at,
        "answer": None if answer is None else answer.as_dict(),
    }


def _accepted(call: Call, form: dict[str, object], *, replayed: bool = False) -> JsonAnswer:
    if not call.caller.reads:
        form["answer"] = None
    call.about["contract_id"] = form["contract_id"]
    headers = {"Location": f"/v1/tasks/{quote(str(form['contract_id']))}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return json_answer(form, status=202, headers=headers)
