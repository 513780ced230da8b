"""Statistics of exchanges."""

from aiohttp import web

from aorch import jsonio
from aorch.govern.statistics import statistics
from aorch.ledger.exchanges import ExchangeFilter
from aorch.server.fast_path import JsonResponse
from aorch.server.request_context import services_of
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.stats import Stats, StatsQuery


async def stats(request: web.Request) -> web.Response:
    """Count exchanges by one of their properties, with durations, waits in the queue, tokens and cost.

    Without `since`, the last 24 hours count. Percentiles are exact (nearest rank). With `by=minute`, `hour` or `day`, each group
    is a period in UTC in which exchanges were created; periods without exchanges are left out. An answer that
    took more than 50 ms to compute is returned again for ten times as long, at most 30 seconds; `until` is when it was computed.
    """
    query = parse_query(request, StatsQuery)
    services = services_of(request)
    prices = services.orchestrator.config.prices
    which = ExchangeFilter(**query.model_dump(exclude={"by", "sort", "limit"}))

    async def compute() -> bytes:
        return await services.readers.read(
            lambda reader: jsonio.encode_bytes(
                statistics(reader, query.by, which, prices, limit=query.limit, sort=query.sort)
            )
        )

    return JsonResponse(await services.repeated.answer(query.model_dump_json(), compute))


ROUTES = (Route("GET", "/v1/stats", stats, "read", "contracts", Stats, query=StatsQuery),)
