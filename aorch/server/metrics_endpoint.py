"""`GET /metrics`: the metrics in the formats of Prometheus. They are no part of /v1, so /openapi.json does not describe them."""

from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

import aorch
from aorch.process.threads import in_thread
from aorch.server.authentication import PUBLIC
from aorch.server.middleware import Rule
from aorch.server.request_context import services_of
from aorch.telemetry.metrics import Metrics

PATH = "/metrics"


def add_metrics(app: web.Application, rules: dict[Handler, Rule], scope: str) -> None:
    """Add the endpoint, for tokens with `scope`. It also answers while `max_concurrent` requests run."""
    app.router.add_get(PATH, metrics)
    rules[metrics] = Rule(PUBLIC if scope == "none" else scope, counted=False, rate=None)


async def metrics(request: web.Request) -> web.Response:
    """Show the metrics of the ledger."""
    services = services_of(request)
    body, content_type = await in_thread(
        _read, services.metrics, services.orchestrator.list_agents(), request.headers.get(hdrs.ACCEPT, "")
    )
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-store"})


def _read(source: Metrics, agents: list[dict[str, Any]], accept: str) -> tuple[bytes, str]:
    from aorch.telemetry.exposition import render  # noqa: PLC0415  prometheus_client takes 300 ms, which only a scrape needs

    return render(source.values(agents), aorch.__version__, accept)
