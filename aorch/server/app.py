"""The application: what every request goes through before and after its route."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import istr

from aorch.config import ServeConfig
from aorch.core.orchestrator import Orchestrator
from aorch.core.readers import Readers
from aorch.errors import AgentCancelled, AorchError
from aorch.ledger.row import new_id
from aorch.server.auth import ACCESS, CALLER, PUBLIC, Access
from aorch.server.guard import Guard, RateLimit
from aorch.server.log import RequestLog
from aorch.server.problems import Refusal, problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Scopes = dict[Handler, str]
REQUEST_ID = istr("X-Request-ID")

ORCHESTRATOR: web.AppKey[Orchestrator] = web.AppKey("orchestrator", Orchestrator)
READERS: web.AppKey[Readers] = web.AppKey("readers", Readers)
SETTINGS: web.AppKey[ServeConfig] = web.AppKey("settings", ServeConfig)
LOG: web.AppKey[RequestLog] = web.AppKey("log", RequestLog)
GATE: web.AppKey["Gate"] = web.AppKey("gate")
ID: web.RequestKey[str] = web.RequestKey("id", str)
ABOUT: web.RequestKey[dict[str, Any]] = web.RequestKey("about", dict)

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Gate:
    """What runs now, and whether more may come."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.closing = False
        self._inside: set[asyncio.Task[Any] | None] = set()

    def enter(self) -> asyncio.Task[Any] | None:
        """Let the current task in; it, for `leave`. Raises Refusal (503) where the server is full or about to stop."""
        if self.closing:
            raise Refusal(503, "stopping", "the server is about to stop", "Try again, here or elsewhere.")
        if len(self._inside) >= self.most:
            raise Refusal(
                503, "overloaded", f"{self.most} requests are running, which is the limit", "Try again later."
            )
        task = asyncio.current_task()
        self._inside.add(task)
        return task

    def leave(self, task: asyncio.Task[Any] | None) -> None:
        """That one is about to be answered."""
        self._inside.discard(task)

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """While the block runs, the request in which it does is none of those inside: a stream may last for days."""
        self.leave(asyncio.current_task())
        yield

    async def close(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Let nobody in any more. Wait up to `grace_s` seconds for those inside, cancel the others, and wait for these.

        Once `hurry` is set the grace is over.
        """
        self.closing = True
        if inside := self._tasks():
            ended, hurried = asyncio.ensure_future(asyncio.wait(inside)), asyncio.ensure_future(hurry.wait())
            await asyncio.wait((ended, hurried), timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            hurried.cancel()
        if inside := self._tasks():
            for task in inside:
                task.cancel()
            await asyncio.wait(inside, timeout=cancel_s)

    def inside(self) -> int:
        """How many requests are being answered."""
        return len(self._tasks())

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._inside if task is not None]


def make_app(
    orchestrator: Orchestrator, settings: ServeConfig, log: RequestLog, *, access: Access, guard: Guard
) -> web.Application:
    """The /v1 API over `orchestrator`, for those whom `access` and `guard` let in."""
    from aorch.server import events  # noqa: PLC0415  these three use the keys above
    from aorch.server.pages import add_pages  # noqa: PLC0415
    from aorch.server.routes import ROUTES  # noqa: PLC0415

    readers, gate = Readers(orchestrator.config.ledger), Gate(settings.max_concurrent)
    limit = RateLimit(settings.rate_per_s) if settings.rate_per_s else None
    scopes = {route.handler: route.scope for route in ROUTES}  # pages, and paths that are none, need no token
    through = _through(access, guard, limit, gate, readers, log, scopes)
    app = web.Application(middlewares=[through], client_max_size=settings.max_body_bytes)
    app[ORCHESTRATOR] = orchestrator
    app[READERS] = readers
    app[SETTINGS] = settings
    app[LOG] = log
    app[GATE] = gate
    app[ACCESS] = access
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler, name=route.name)
    events.attach(app, orchestrator.config.ledger)
    add_pages(app)
    guard.add_to(app)
    app.on_cleanup.append(_clean_up)
    return app


async def _clean_up(app: web.Application) -> None:
    app[READERS].close()
    await app[ORCHESTRATOR].aclose()
    app[LOG].flush()


def _through(
    access: Access, guard: Guard, limit: RateLimit | None, gate: Gate, readers: Readers, log: RequestLog, scopes: Scopes
) -> Middleware:
    """What every request goes through. It is one function over local names because it costs every request its time."""

    @web.middleware
    async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get(REQUEST_ID)
        request[ID] = request_id = given if given and _REQUEST_ID.fullmatch(given) else new_id()
        about: dict[str, Any] = {}
        request[ABOUT] = about
        try:
            guard.check(request)
            scope = scopes.get(handler, PUBLIC)
            if access.look_at <= started and scope != PUBLIC:
                await access.look(readers)
            request[CALLER] = caller = access.admit(request, scope)
            if caller.name:
                about["caller"] = caller.name
            if limit is not None:
                limit.take(caller.caller_id or request.remote or "")
            task = gate.enter()
            try:
                response = await handler(request)
            finally:
                gate.leave(task)
        except (Exception, asyncio.CancelledError) as error:
            if request.writer.output_size:
                raise  # a stream that has begun can only be broken off
            response = guard.preflight(request, error) or problem(_refusal(error, request))
        if not response.prepared:
            response.headers[REQUEST_ID] = request_id
        duration_ms = (time.perf_counter() - started) * 1000
        log.write(request.method, request.raw_path, response.status, duration_ms, request_id, about)
        return response

    return through


def _refusal(error: Exception | asyncio.CancelledError, request: web.Request) -> AorchError:
    if isinstance(error, AorchError):
        return error
    if isinstance(error, asyncio.CancelledError):
        if not request.app[GATE].closing:
            raise error
        return Refusal(503, "stopping", "the server stopped before this was done", "What there is of it is on record.")
    if isinstance(error, web.HTTPException):
        return http_refusal(error)
    if isinstance(error, web.RequestPayloadError):
        return Refusal(400, "body_broken", "the body is not encoded as its headers say")
    if isinstance(error, ConnectionError):
        return AgentCancelled("the caller went away")
    request.app.logger.error("request %s failed", request[ID], exc_info=error)
    return AorchError("a fault of the server; its log has the trace", f"Name the request {request[ID]}.")


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


def tell_log(request: web.Request, **facts: Any) -> None:
    """Let the log's line say `facts` besides."""
    request[ABOUT].update(facts)
