"""The application: the routes, the pages and the services behind them, put together."""

from collections.abc import Callable
from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from aorch.config.sections import ServeConfig
from aorch.engine.supervision import Supervisor
from aorch.engine.waiter import ResponseWaiter
from aorch.ledger.reader_pool import Readers
from aorch.orchestrator import Orchestrator
from aorch.server import docs_pages, sse, ui_pages
from aorch.server.access_log import RequestLog
from aorch.server.authentication import Authenticator
from aorch.server.fast_path import FixedRoutes, request_handler
from aorch.server.limits import ConcurrencyLimit, RateLimit
from aorch.server.long_requests import LongRequests
from aorch.server.metrics_endpoint import add_metrics
from aorch.server.middleware import Rule, request_middleware
from aorch.server.origin_policy import OriginPolicy
from aorch.server.repeated_answers import RepeatedAnswers
from aorch.server.request_context import SERVICES, Services
from aorch.server.route_table import ROUTES
from aorch.server.unsent_responses import UnsentResponses
from aorch.server.work_dispatcher import WorkDispatcher
from aorch.telemetry.metrics import Metrics

REQUEST_HANDLER: web.AppKey[Callable[[Handler], Handler]] = web.AppKey("request_handler")
"""Wraps aiohttp's request handler of the application; see `fast_path.request_handler`."""


def create_app(
    orchestrator: Orchestrator,
    settings: ServeConfig,
    log: RequestLog,
    *,
    authenticator: Authenticator,
    policy: OriginPolicy,
) -> web.Application:
    """Return the /v1 API over `orchestrator`, for the callers that `authenticator` and `policy` accept."""
    services = _services(orchestrator, settings, log, authenticator)
    rate = RateLimit(settings.rate_per_s) if settings.rate_per_s else None
    rules = {route.handler: Rule(route.scope, route.counted, rate if route.limited else None) for route in ROUTES}
    middleware = request_middleware(services, policy, rate, log, rules)
    app = web.Application(middlewares=[middleware], client_max_size=settings.max_body_bytes)
    app[SERVICES] = services
    fixed = _add_routes(app)
    app[REQUEST_HANDLER] = lambda handle: request_handler(fixed, middleware, handle)
    sse.attach(app, orchestrator.config.ledger, orchestrator.executor.ledger.changes)
    docs_pages.add_pages(app)
    ui_pages.add_live_page(app)
    add_metrics(app, rules, orchestrator.config.metrics.scope)
    policy.add_to(app)

    async def clean_up(_: web.Application) -> None:
        await services.supervisor.stop()
        services.readers.close()
        services.health_readers.close()
        services.waiting.close()
        services.metrics.close()
        await orchestrator.aclose()
        log.flush()

    async def start(_: web.Application) -> None:
        if rate is not None:
            services.supervisor.start("rates", partial(rate.share, orchestrator.executor.ledger.rates))

    app.on_startup.append(start)
    app.on_cleanup.append(clean_up)
    return app


def _services(
    orchestrator: Orchestrator, settings: ServeConfig, log: RequestLog, authenticator: Authenticator
) -> Services:
    ledger, supervisor = orchestrator.config.ledger, Supervisor(log.tell)
    readers = Readers(ledger)
    return Services(
        orchestrator=orchestrator,
        registrations=orchestrator.executor.registrations(),
        settings=settings,
        authenticator=authenticator,
        concurrency=ConcurrencyLimit(settings.max_concurrent),
        supervisor=supervisor,
        readers=readers,
        health_readers=Readers(ledger, 1),
        waiting=ResponseWaiter(ledger, orchestrator.executor.ledger.changes),
        long_requests=LongRequests(authenticator, readers, supervisor),
        unsent=UnsentResponses(),
        repeated=RepeatedAnswers(),
        dispatcher=WorkDispatcher(orchestrator.executor),
        metrics=Metrics(orchestrator.config, orchestrator.executor.ledger, "serve"),
    )


AGENT_ID = "{agent_id:(?!register$)[^{}/]+}"
"""Not `register`, which is a route of its own with other methods."""


def _add_routes(app: web.Application) -> FixedRoutes:
    """Add all routes, and return the router's result for each that has no variables in its path."""
    fixed: FixedRoutes = {}
    for route in ROUTES:
        path = route.path.replace("{agent_id}", AGENT_ID)
        added = app.router.add_route(route.method, path, route.handler, name=route.name)
        if (
            route.method == hdrs.METH_GET and route.response is not None
        ):  # a stream has no end, so HEAD is not supported
            app.router.add_route(hdrs.METH_HEAD, path, route.handler)
        if "{" not in route.path:
            match = web.UrlMappingMatchInfo({}, added)
            match.add_app(app)
            match.freeze()
            fixed[route.method, route.path] = match
    return fixed
