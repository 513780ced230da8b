"""The service itself: its health, its status and its endpoints."""

from dataclasses import asdict

from aiohttp import web

import aorch
from aorch.clock import now
from aorch.govern.status_summary import summary
from aorch.ledger.reader import Reader
from aorch.server.authentication import PUBLIC
from aorch.server.fast_path import json_response
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
    counts = await services.readers.read(Reader.counts)
    health = "degraded" if services.supervisor.down() else "healthy"
    orchestrator = services.orchestrator
    return json_response(await summary(orchestrator.config, orchestrator.list_agents(), counts, health))


async def index(request: web.Request) -> web.Response:
    """List the endpoints of the API."""
    found = ((route.method, route.resource) for route in request.app.router.routes() if route.name is not None)
    endpoints = [f"{method} {resource.canonical}" for method, resource in found if resource is not None]
    return json_response({"service": "aorch", "version": aorch.__version__, "endpoints": endpoints})


ROUTES = (
    Route("GET", "/v1/health", health, PUBLIC, "service", Health, counted=False),
    Route("GET", "/v1/status", status, "read", "service", Status),
    Route("GET", "/v1/", index, PUBLIC, "service", Index),
)
