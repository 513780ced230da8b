"""Batches of clients: their lines are executed once in each run, and failed tasks of a session are retried."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from aiohttp import web

from aorch import jsonio
from aorch.batch.batch_history import BatchHistory, latest_generation, start_batch, unfinished_lines, unfinished_task
from aorch.batch.batch_line import Line
from aorch.engine.task import Answer, Task
from aorch.errors import Conflict, ParametersInvalid
from aorch.ledger.batch_register import BatchReader, BatchRecords, PriorResult
from aorch.ledger.record import ORCHESTRATOR, Record
from aorch.ledger.task_keys import ERASED, BatchLineKey, CallerKey, RetryKey, SentKey
from aorch.server.fast_path import JsonResponse, json_response
from aorch.server.idempotency import execute_once, idempotency_key
from aorch.server.pagination import Page, page_of, page_response, read_page
from aorch.server.problems import answer_response, problem_response
from aorch.server.progress_stream import OnProgress, stream_answer, wants_events
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT, RequestContext
from aorch.server.request_parsing import parse_body, parse_query, task_of
from aorch.server.route import Route
from aorch.server.schemas.batches import BatchBody, BatchForm, LineBody, RetryBody, UnfinishedPage, UnfinishedQuery
from aorch.server.schemas.fields import FORMS, ULID
from aorch.server.schemas.tasks import OrchestrateAnswer, TaskForm
from aorch.server.tasks_again import run_again


async def open_batch(request: web.Request) -> web.Response:
    """Start a run of a batch, or with `resume` continue its latest one.

    A run is recorded under the name of its batch before any of its lines. 404: `resume`, and no such batch was started.
    """
    context, body = request[CONTEXT], parse_body(await read_body(request), BatchBody)
    if body.resume:
        generation = await context.services.readers.read(
            lambda reader: latest_generation(BatchRecords(reader.select), body.name)
        )
    else:
        generation = await start_batch(context.services.orchestrator.executor.ledger, body.name)
    return json_response({"name": body.name, "generation": generation}, status=200 if body.resume else 201)


async def run_line(request: web.Request) -> web.StreamResponse:
    """Execute a line of a batch now and return its result, as `/v1/orchestrate` does.

    A line is executed once in a run. If it has run, the answer is the recorded one, which `Idempotency-Replayed` says; 409:
    another client is running it. With `resume`, a line that no agent received runs again, and a line that was cut off if all its
    agents are idempotent.

    With `Accept: text/event-stream` the response is a stream of events, as that of `/v1/orchestrate`.
    """
    raw = await read_body(request)
    if wants_events(request):
        return await stream_answer(request, lambda on_progress: _run_line(request, raw, on_progress))
    return await _run_line(request, raw)


async def _run_line(request: web.Request, raw: bytes, on_progress: OnProgress | None = None) -> JsonResponse:
    context, body, generation = request[CONTEXT], parse_body(raw, LineBody), request.match_info["generation"]
    if not re.fullmatch(ULID, generation):
        raise ParametersInvalid(f"the ID of a run {FORMS[ULID]}", "POST /v1/batches returns it.")
    if (body.key or "").startswith(ERASED):
        raise ParametersInvalid(f"the key of a line must not begin with {ERASED!r}", "Choose another key.")
    sent = idempotency_key(request, context.caller.caller_id, generation.encode() + raw)
    line = Line(1, body.line or 1, len(raw), task_of(request, body, None), key=body.key or "")
    _annotate(line, body)
    return await _Sent(context, generation, sent).answer(line, on_progress, resume=body.resume)


def _annotate(line: Line, body: LineBody) -> None:
    assert line.task is not None
    found = {"line": body.line, "priority": body.priority}
    line.task.annotations |= {name: value for name, value in found.items() if value is not None}


class _Sent:
    """A line that a client has sent with that idempotency key (None: without)."""

    def __init__(self, context: RequestContext, generation: str, key: CallerKey | None) -> None:
        self._context, self._generation, self._key = context, generation, key

    async def answer(self, line: Line, on_progress: OnProgress | None, *, resume: bool) -> JsonResponse:
        """The response with the answer of `line`, executed now or earlier."""
        orchestrator, log_fields = self._context.services.orchestrator, self._context.log_fields
        if self._key is None:
            answer, is_recorded = await self._perform(line, on_progress, resume=resume)
            return answer_response(log_fields, answer, is_replayed=is_recorded)
        recorded: list[Answer] = []

        async def perform() -> Answer:
            answer, is_recorded = await self._perform(line, on_progress, resume=resume)
            recorded.extend([answer] if is_recorded else [])
            return answer

        answer, is_replayed = await execute_once(
            self._context.services.readers, self._key, orchestrator.config.redact, perform
        )
        return answer_response(log_fields, answer, is_replayed=is_replayed or bool(recorded))

    async def _perform(self, line: Line, on_progress: OnProgress | None, *, resume: bool) -> tuple[Answer, bool]:
        """The answer, and whether it was recorded before."""
        orchestrator = self._context.services.orchestrator
        if line.key:
            past = await self._prepare(line, resume=resume)
            if past is not None:
                return past, True
        assert line.task is not None
        self._use_key(line.task)
        try:
            return await orchestrator.perform(
                line.task, max_line=orchestrator.config.serve.max_line, on_progress=on_progress
            ), False
        except Conflict:  # another client was faster
            found = await self._read(self._found, line) if line.key else None
            if found is None:
                raise
            return found, True

    async def _prepare(self, line: Line, *, resume: bool) -> Answer | None:
        """Give the task its key in the run. Returns the recorded answer if it must not run again."""
        past = await self._read(self._resumed if resume else self._found, line)
        if resume or past is not None:  # an erased line has another key, so its own would be accepted again
            return past
        assert line.task is not None
        line.task.idempotency, line.task.refusal_uses_key = BatchLineKey(self._generation, line.key), True
        return None

    def _use_key(self, task: Task) -> None:
        if self._key is not None:
            own = task.idempotency
            task.idempotency = SentKey(self._key, own) if isinstance(own, BatchLineKey | RetryKey) else self._key

    async def _read(self, find: Any, line: Line) -> Answer | None:
        registry = self._context.services.orchestrator.registry

        def read(reader: Any) -> Answer | None:
            answer: Answer | None = find(BatchHistory(BatchRecords(reader.select), registry, self._generation), line)
            return answer

        return await self._context.services.readers.read(read)

    @staticmethod
    def _resumed(history: BatchHistory, line: Line) -> Answer | None:
        ((line,),) = history.resumed(iter([[line]]))
        return None if line.past is None else history.answer(line.past)

    @staticmethod
    def _found(history: BatchHistory, line: Line) -> Answer | None:
        past: PriorResult | None = history.find(line)
        return None if past is None else history.answer(past)


async def list_unfinished(request: web.Request) -> web.Response:
    """List the tasks of a session that failed, were cancelled or interrupted, and have not succeeded since, in pages.

    Only those that a caller sent, not those that an agent delegated; of a task that was retried, the first REQUEST.
    """
    query, session_id = parse_query(request, UnfinishedQuery), request.match_info["session_id"]
    ledger = request[CONTEXT].services.orchestrator.config.ledger

    def read(_: Any) -> Page:
        with BatchReader(ledger) as recorded:
            return page_of(_unfinished(recorded, session_id, int(query.cursor or 0)), query.limit)

    return page_response(request, "tasks", await read_page(request, read), session_id=session_id)


def _unfinished(recorded: BatchRecords, session_id: str, after: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for some in unfinished_lines(recorded, session_id, None, after=after):
        for position, request, last_id, line in some:
            problem = None if line.refusal is None else jsonio.decode(problem_response(line.refusal).text or "")
            yield (
                str(position),
                {
                    "contract_id": request.contract_id,
                    "last_try": last_id,
                    "capability": request.capability,
                    "parameters": {} if line.task is None else line.task.parameters,
                    "line": line.line_id,
                    "priority": line.priority,
                    "size": line.size,
                    "problem": problem,
                },
            )


async def retry_task(request: web.Request) -> web.StreamResponse:
    """Queue a task again that failed, was cancelled or was interrupted, as `aorch run --retry-failed` does for a session.

    The new REQUEST is in the same session, and its metadata names the first one (`retry_of`). 409: it has completed, still runs,
    or `last_try` was retried already.

    With `Accept: text/event-stream` the task is not queued, but executed now, and the response is that of `/v1/orchestrate`.
    """
    context, contract_id, raw = request[CONTEXT], request.match_info["contract_id"], await read_body(request)
    body = parse_body(raw, RetryBody)
    first: Record = context.services.waiting.request(contract_id)
    key = idempotency_key(request, context.caller.caller_id, contract_id.encode() + raw)
    ledger = context.services.orchestrator.config.ledger
    return await run_again(request, key, partial(_retried, ledger, first, body))


def _retried(ledger: Any, first: Record, body: RetryBody) -> Task:
    with BatchReader(ledger) as recorded:
        line = unfinished_task(recorded, first, body.last_try, body.timeout_s)
    assert line.task is not None
    if line.task.from_agent == ORCHESTRATOR:
        line.task.from_agent = None
    return line.task


ROUTES = (
    Route("POST", "/v1/batches", open_batch, "run", "tasks", BatchForm, body=BatchBody, success=201, again=200),
    Route("POST", "/v1/batches/{generation}/lines", run_line, "run", "tasks", OrchestrateAnswer, body=LineBody),
    Route(
        "GET",
        "/v1/sessions/{session_id}/unfinished",
        list_unfinished,
        "read",
        "tasks",
        UnfinishedPage,
        query=UnfinishedQuery,
    ),
    Route("POST", "/v1/tasks/{contract_id}/retry", retry_task, "run", "tasks", TaskForm, body=RetryBody, success=202),
)
