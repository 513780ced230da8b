"""The service itself: its health, its status and its endpoints."""

import time
from dataclasses import asdict

from aiohttp import hdrs, web

import aorch
from aorch.clock import now
from aorch.govern.status_summary import counts_of, summary
from aorch.ledger.reader import Reader
from aorch.server.authentication import ANONYMOUS, PUBLIC
from aorch.server.fast_path import json_response
from aorch.server.metrics_endpoint import PATH as METRICS
from aorch.server.request_context import services_of
from aorch.server.route import Route
from aorch.server.schemas.status import Health, Index, Status


async def health(request: web.Request) -> web.Response:
    """Check that the server and its ledger work, for load balancers and monitoring.

    `degraded` means that a background loop has failed and is being restarted; `down` names it.
    """
    services = services_of(request)
    services.orchestrator.executor.ledger.check_file()
    await services.health_readers.read(Reader.last_position)  # in a separate thread, so that no page delays it
    down = [asdict(loop) for loop in services.supervisor.down()]
    status = "degraded" if down else "healthy"
    about = {"service": "aorch", "version": aorch.__version__, "timestamp": now()}
    return json_response({"status": status, **about, "down": down})


async def status(request: web.Request) -> web.Response:
    """Summarise agents, contracts, and the connected services Trace and MemAgent."""
    services = services_of(request)
    counts = await services.readers.read(counts_of)
    health = "degraded" if services.supervisor.down() else "healthy"
    orchestrator = services.orchestrator
    return json_response(await summary(orchestrator.config, orchestrator.list_agents(), counts, health))


async def index(request: web.Request) -> web.Response:
    """List the endpoints of the API, and what the caller may do.

    `scopes` are those of the token in the request, or all if the server needs no token. They are empty without a valid token on a
    server that needs one.
    """
    found = ((route.name, route.method, route.resource) for route in request.app.router.routes())
    endpoints = [
        f"{method} {resource.canonical}"
        for name, method, resource in found
        if resource is not None and (name is not None or (method, resource.canonical) == (hdrs.METH_GET, METRICS))
    ]
    about = {"service": "aorch", "version": aorch.__version__, "endpoints": endpoints}
    return json_response({**about, **await _rights(request)})


async def _rights(request: web.Request) -> dict[str, object]:
    services = services_of(request)
    authenticator = services.authenticator
    if authenticator.refresh_at <= time.perf_counter():
        await authenticator.refresh(services.readers)
    caller = ANONYMOUS if authenticator.open else authenticator.find(request)
    return {
        "token_required": not authenticator.open,
        "caller": caller.name or None if caller else None,
        "scopes": sorted(caller.scopes - {PUBLIC}) if caller else [],
        "capabilities": None if caller is None or caller.capabilities is None else sorted(caller.capabilities),
    }


ROUTES = (
    Route("GET", "/v1/health", health, PUBLIC, "service", Health, counted=False),
    Route("GET", "/v1/status", status, "read", "service", Status),
    Route("GET", "/v1/", index, PUBLIC, "service", Index),
)
