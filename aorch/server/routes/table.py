"""The routes: each reads what came, calls one core function, and answers."""

import contextlib
from dataclasses import asdict, dataclass, field

from aiohttp import web
from pydantic import BaseModel

import aorch
from aorch.clock import now
from aorch.engine.task import Answer
from aorch.errors import AgentFailed, AorchError, Interrupted
from aorch.govern.status_summary import summary
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import COMPLETED, REQUEST
from aorch.server.application import Handler
from aorch.server.authentication import PUBLIC
from aorch.server.http_protocol import until_client_leaves
from aorch.server.idempotency import key_of, once
from aorch.server.json_response import json_answer
from aorch.server.pagination import PAGE_BYTES, Page, form_of, page_answer, page_of, read_page
from aorch.server.problems import refused
from aorch.server.request_body import read_raw
from aorch.server.request_context import CALL, Call, services_of
from aorch.server.request_parsing import asked, parse, read_query
from aorch.server.routes.memory import compress, show_memory
from aorch.server.routes.tasks import cancel_task, show_task, submit_task
from aorch.server.schemas import bodies, memory
from aorch.server.sse import FOLLOWER, EventsQuery
from aorch.server.sse import HEADERS as STREAM_HEADERS


@dataclass(frozen=True)
class Route:
    """A route with what the OpenAPI document says of it: `refusals` are the HTTP statuses besides the common ones.

    Requests that are not `counted` (health, long polls, streams) are served also when `max_concurrent` others run.
    """

    method: str
    path: str
    handler: Handler
    answer: type[BaseModel] | None
    scope: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    refusals: tuple[int, ...] = ()
    tags: tuple[str, ...] = field(default=("orchestrator",))
    success: int = 200
    counted: bool = True

    @property
    def limited(self) -> bool:
        """Whether the rate limit holds for it: for all but health."""
        return self.counted or self.scope != PUBLIC

    @property
    def name(self) -> str:
        """Its operation id."""
        return self.handler.__name__


async def orchestrate(request: web.Request) -> web.Response:
    """Do a task: route it to an agent that can, keep the exchange in the ledger, and answer.

    200 is an exchange that took place, also where the agent reports failure (`success` is false then).
    """
    call, raw = request[CALL], await read_raw(request)
    body = parse(raw, bodies.OrchestrateBody)
    orchestrator, key = call.services.orchestrator, key_of(request, call.caller.caller_id, raw)
    task = asked(call, request, body, key)
    if key is None:
        return _answered(call, await orchestrator.perform(task))
    answer, replayed = await once(call.services.readers, key, lambda: orchestrator.perform(task))
    response = _answered(call, answer)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def events(request: web.Request) -> web.StreamResponse:
    """Contracts as they are written: `id` is a contract's place in the ledger, `event` its type, `data` its JSON form.

    A stream (server-sent events) that begins with what comes next, or after the event of `Last-Event-ID`. After 8 MiB of what
    was written before it began, it ends with the event `next`, whose `id` leads on: browsers connect again with it by themselves.
    """
    query = read_query(request, EventsQuery, **_resumed(request))
    after = None if query.last_event_id is None else int(query.last_event_id)
    response = web.StreamResponse(headers={**STREAM_HEADERS, "X-Request-ID": request[CALL].request_id})
    with contextlib.suppress(ConnectionResetError):
        async with request.app[FOLLOWER].stream(query.session_id, after) as stream:
            with services_of(request).long_requests.hold(request, stream.woken.set):
                await response.prepare(request)
                until_client_leaves(request)
                with contextlib.suppress(AorchError):  # no other answer can follow one that has begun
                    await stream.send(request, response)
    return response


async def health(request: web.Request) -> web.Response:
    """Whether the service and its ledger answer, and which of its background loops are down."""
    services = services_of(request)
    services.orchestrator.exchanges.ledger.check_file()
    await services.health_readers.read(Reader.last_position)  # no page holds it up
    down = [asdict(loop) for loop in services.supervisor.down()]
    status = "degraded" if down else "healthy"
    about = {"service": "aorch", "version": aorch.__version__, "timestamp": now()}
    return json_answer({"status": status, **about, "down": down})


async def index(request: web.Request) -> web.Response:
    """What there is."""
    endpoints = [f"{route.method} {route.path}" for route in ROUTES]
    return json_answer({"service": "aorch", "version": aorch.__version__, "endpoints": endpoints})


async def list_agents(request: web.Request) -> web.Response:
    """All agents, with what each can do and has done in this process."""
    agents = services_of(request).orchestrator.list_agents()
    return json_answer({"agents": agents, "total": len(agents)})


async def show_agent(request: web.Request) -> web.Response:
    """One agent."""
    return json_answer(services_of(request).orchestrator.registry.get(request.match_info["agent_id"]).as_dict())


async def list_contracts(request: web.Request) -> web.Response:
    """Contracts, oldest first, a page at a time."""
    query = read_query(request, bodies.ContractQuery)
    which = Filter(
        session_id=query.session_id,
        from_agent=query.from_agent,
        to_agent=query.to_agent,
        agent=query.agent,
        contract_type=query.type,
        capability=query.capability,
        status=query.status,
        since=query.since,
        until=query.until,
        text=query.text,
    )
    newest_first = query.order == "desc"
    cursor = {"before" if newest_first else "after": int(query.cursor) if query.cursor else None}

    def read(reader: Reader) -> tuple[Page, int]:
        if query.text is not None and not any(map(str.isalnum, query.text)):
            return ([], None), 0  # a text without a word stands in no contract
        found, more = reader.shown(which, limit=query.limit, characters=PAGE_BYTES, newest_first=newest_first, **cursor)
        forms = ((str(position), form_of(row)) for position, row in found)
        return page_of(forms, query.limit, more=more), reader.total(which)

    page, total = await read_page(request, read)
    return page_answer(request, "contracts", page, session_id=query.session_id, total=total)


async def show_contract(request: web.Request) -> web.Response:
    """One contract, by its whole id, with the other half of its exchange. A completed REQUEST has its RESPONSE's result."""
    found = await services_of(request).readers.read(
        lambda reader: reader.with_counterpart(request.match_info["contract_id"])
    )
    form, counterpart = found[0].as_dict(), found[1].as_dict() if found[1] else None
    if counterpart is not None:
        asked, answered = (form, counterpart) if form["contract_type"] == REQUEST else (counterpart, form)
        asked["result"] = answered["result"] if asked["status"] == COMPLETED else None
    return json_answer({**form, "counterpart": counterpart})


async def list_sessions(request: web.Request) -> web.Response:
    """Sessions in the order of their ids, a page at a time."""
    query = read_query(request, bodies.SessionQuery)

    def read(reader: Reader) -> Page:
        found = reader.sessions(after=query.cursor, limit=query.limit + 1)
        return page_of(((session["session_id"], session) for session in found), query.limit)

    return page_answer(request, "sessions", await read_page(request, read))


async def status(request: web.Request) -> web.Response:
    """The sum of it: agents, contracts, integrations."""
    services = services_of(request)
    counts = await services.readers.read(Reader.counts)
    health = "degraded" if services.supervisor.down() else "healthy"
    return json_answer(await summary(services.orchestrator.config, services.orchestrator.list_agents(), counts, health))


def _resumed(request: web.Request) -> dict[str, str]:
    """Where a client that lost its stream goes on, which it says in a header (WHATWG HTML, 9.2.4)."""
    last = request.headers.get("Last-Event-ID")
    return {"last_event_id": last} if last else {}


def _answered(call: Call, answer: Answer) -> web.Response:
    call.about["contract_id"] = answer.contract_id
    if answer.failure is None or answer.failure in (AgentFailed, Interrupted):
        return json_answer(answer.as_dict())
    return refused(answer)


_READ, _QUEUE, _MEMORY = ("ledger",), ("queue",), ("memory",)
ROUTES = (
    Route("GET", "/v1/", index, bodies.Index, "none"),
    Route("GET", "/v1/health", health, bodies.Health, "none", counted=False),
    Route("GET", "/v1/status", status, bodies.Status, "read"),
    Route("GET", "/v1/agents", list_agents, bodies.AgentList, "read", tags=("agents",)),
    Route("GET", "/v1/agents/{agent_id}", show_agent, bodies.AgentForm, "read", refusals=(404,), tags=("agents",)),
    Route(
        "POST",
        "/v1/orchestrate",
        orchestrate,
        bodies.OrchestrateAnswer,
        "run",
        body=bodies.OrchestrateBody,
        refusals=(400, 404, 408, 409, 413, 415, 422, 503, 504, 507),
    ),
    Route(
        "POST",
        "/v1/tasks",
        submit_task,
        bodies.TaskForm,
        "run",
        body=bodies.TaskBody,
        refusals=(400, 403, 404, 408, 409, 413, 415, 422, 503, 507),
        tags=_QUEUE,
        success=202,
    ),
    Route(
        "GET",
        "/v1/tasks/{contract_id}",
        show_task,
        bodies.TaskForm,
        "read",
        query=bodies.TaskQuery,
        refusals=(404, 422),
        tags=_QUEUE,
        counted=False,
    ),
    Route(
        "POST",
        "/v1/tasks/{contract_id}/cancel",
        cancel_task,
        bodies.TaskForm,
        "run",
        refusals=(404, 409, 503, 507),
        tags=_QUEUE,
    ),
    Route(
        "GET",
        "/v1/contracts",
        list_contracts,
        bodies.ContractPage,
        "read",
        query=bodies.ContractQuery,
        refusals=(422,),
        tags=_READ,
    ),
    Route(
        "GET", "/v1/contracts/{contract_id}", show_contract, bodies.ContractDetail, "read", refusals=(404,), tags=_READ
    ),
    Route(
        "GET",
        "/v1/sessions",
        list_sessions,
        bodies.SessionPage,
        "read",
        query=bodies.SessionQuery,
        refusals=(422,),
        tags=_READ,
    ),
    Route(
        "GET",
        "/v1/sessions/{session_id}/memory",
        show_memory,
        memory.SessionMemory,
        "read",
        query=memory.MemoryQuery,
        refusals=(404, 422),
        tags=_MEMORY,
    ),
    Route(
        "POST",
        "/v1/compress",
        compress,
        memory.CompressAnswer,
        "run",
        body=memory.CompressBody,
        refusals=(400, 403, 404, 408, 409, 413, 415, 422, 503, 507),
        tags=_MEMORY,
    ),
    Route("GET", "/v1/events", events, None, "read", query=EventsQuery, refusals=(422,), tags=_READ, counted=False),
)
