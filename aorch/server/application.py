"""The application: what every request goes through before and after its route."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from multidict import istr

from aorch.config.settings import ServeConfig
from aorch.engine.supervision import Supervisor
from aorch.engine.waiter import Waiting
from aorch.errors import AgentCancelled, AorchError
from aorch.ids import new_id
from aorch.ledger.reader_pool import Readers
from aorch.orchestrator import Orchestrator
from aorch.server.access_log import RequestLog
from aorch.server.authentication import ANONYMOUS, PUBLIC, Access
from aorch.server.fast_path import entrance
from aorch.server.limits import Gate
from aorch.server.origin_policy import Guard, RateLimit
from aorch.server.problems import Refusal, problem
from aorch.server.request_context import CALL, SERVICES, Call, Services, services_of
from aorch.server.unsent import Unsent

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Rules = dict[Handler, tuple[str, bool, RateLimit | None]]
"""Of each route: its scope, whether its requests count against `max_concurrent`, and their rate limit."""
REQUEST_ID = istr("X-Request-ID")

ENTRANCE: web.AppKey[Callable[[Handler], Handler]] = web.AppKey("entrance")
"""What answers a request, made of aiohttp's own handler of the application."""

_UNREAD = frozenset({408, 413})
"""The statuses of a body that was not read to its end."""
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


def make_app(
    orchestrator: Orchestrator, settings: ServeConfig, log: RequestLog, *, access: Access, guard: Guard
) -> web.Application:
    """The /v1 API over `orchestrator`, for those whom `access` and `guard` let in."""
    from aorch.server import sse  # noqa: PLC0415  these use the keys above
    from aorch.server.docs_pages import add_pages  # noqa: PLC0415
    from aorch.server.long_requests import LongRequests  # noqa: PLC0415
    from aorch.server.routes.table import ROUTES  # noqa: PLC0415

    readers = Readers(orchestrator.config.ledger)
    waiting = Waiting(orchestrator.config.ledger)
    gate, supervisor = Gate(settings.max_concurrent), Supervisor(log.tell)
    long_requests, health_readers = LongRequests(access, readers, supervisor), Readers(orchestrator.config.ledger, 1)
    services = Services(
        orchestrator, readers, settings, access, gate, waiting, supervisor, long_requests, health_readers, Unsent()
    )
    limit = RateLimit(settings.rate_per_s) if settings.rate_per_s else None
    rules = {route.handler: (route.scope, route.counted, limit if route.limited else None) for route in ROUTES}
    through = _through(services, guard, limit, log, rules)
    app = web.Application(middlewares=[through], client_max_size=settings.max_body_bytes)
    app[SERVICES] = services
    known = {}
    for route in ROUTES:
        added = app.router.add_route(route.method, route.path, route.handler, name=route.name)
        if route.method == hdrs.METH_GET and route.answer is not None:  # a stream has no end, so HEAD has no answer
            app.router.add_route(hdrs.METH_HEAD, route.path, route.handler)
        if "{" not in route.path:
            known[route.method, route.path] = _found(app, added)
    app[ENTRANCE] = lambda handle: entrance(known, through, handle)
    sse.attach(app, orchestrator.config.ledger)
    add_pages(app)
    guard.add_to(app)

    async def clean_up(_: web.Application) -> None:
        await supervisor.stop()
        readers.close()
        health_readers.close()
        waiting.close()
        await orchestrator.aclose()
        log.flush()

    app.on_cleanup.append(clean_up)
    return app


def _found(app: web.Application, route: web.AbstractRoute) -> web.UrlMappingMatchInfo:
    """What the router finds for a path without variables: always the same."""
    found = web.UrlMappingMatchInfo({}, route)
    found.add_app(app)
    found.freeze()
    return found


def _through(services: Services, guard: Guard, limit: RateLimit | None, log: RequestLog, rules: Rules) -> Middleware:
    """What every request goes through. It is one function over local names because it costs every request its time."""
    access, gate, readers = services.access, services.gate, services.readers
    page = (PUBLIC, True, limit)  # pages, and paths that are none, need no token

    @web.middleware
    async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get(REQUEST_ID)
        request_id = given if given and _REQUEST_ID.fullmatch(given) else new_id()
        about: dict[str, Any] = {}
        request[CALL] = call = Call(request_id, ANONYMOUS, services, about)
        try:
            guard.check(request)
            scope, counted, rate = rules.get(handler, page)
            if access.look_at <= started and scope != PUBLIC:
                await access.look(readers)
            call.caller = caller = access.admit(request, scope)
            if caller.name:
                about["caller"] = caller.name
            if rate is not None:
                rate.take(caller.caller_id or request.remote or "")
            task = gate.enter(counted=counted)
            try:
                response = await handler(request)
            finally:
                gate.leave(task)
        except (Exception, asyncio.CancelledError) as error:
            if request.writer.output_size:
                raise  # a stream that has begun can only be broken off
            response = guard.preflight(request, error) or problem(_refusal(error, request, limit))
            if response.status in _UNREAD or request.content.exception() is not None:
                response.force_close()  # what is left of the body stands before the next request
        if not response.prepared:
            response.headers[REQUEST_ID] = request_id
            if gate.closing:
                response.force_close()  # the next request is better off elsewhere
        duration_ms = (time.perf_counter() - started) * 1000
        log.write(request.method, request.raw_path, response.status, duration_ms, request_id, about)
        return response

    return through


def _refusal(error: Exception | asyncio.CancelledError, request: web.Request, limit: RateLimit | None) -> AorchError:
    if isinstance(error, AorchError):
        return _counted(error, request, limit) if error.http_status == 401 and limit is not None else error
    if isinstance(error, asyncio.CancelledError):
        if not services_of(request).gate.closing:
            raise error
        return Refusal(503, "stopping", "the server stopped before this was done", "What there is of it is on record.")
    if isinstance(error, web.HTTPException):
        return http_refusal(error)
    if isinstance(error, web.RequestPayloadError):
        return Refusal(400, "body_broken", "the body is not encoded as its headers say")
    if isinstance(error, ConnectionError):
        return AgentCancelled("the caller went away")
    request_id = request[CALL].request_id
    request.app.logger.error("request %s failed", request_id, exc_info=error)
    return AorchError("a fault of the server; its log has the trace", f"Name the request {request_id}.")


def _counted(refusal: AorchError, request: web.Request, limit: RateLimit) -> AorchError:
    """A missing or wrong token counts against the rate of its address: `refusal`, or that there are too many of them."""
    try:
        limit.take(request.remote or "")
    except Refusal as too_many:
        return too_many
    return refusal


def http_refusal(error: web.HTTPException) -> Refusal:
    """What aiohttp refuses by itself, in our words."""
    if error.status == 404:
        return Refusal(404, "no_route", "there is nothing at this path", "See GET /v1/ for what there is.")
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        return Refusal(405, "method_not_allowed", f"this path takes {allowed}", Allow=allowed)
    if error.status == 413:
        return Refusal(413, "too_large", "the body is larger than max_body_bytes", "Send less, or raise the limit.")
    return Refusal(error.status, "refused", f"refused: {error.reason}")
