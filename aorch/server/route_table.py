"""All routes, in the order in which the documentation lists them."""

from aorch.server.route import Route
from aorch.server.routes import (
    agents,
    batches,
    contracts,
    events,
    exchanges,
    memory,
    memory_prompts,
    orchestrate,
    queue,
    sessions,
    stats,
    status,
    tasks,
    work,
)

ROUTES: tuple[Route, ...] = (
    *orchestrate.ROUTES,
    *tasks.ROUTES,
    *batches.ROUTES,
    *queue.ROUTES,
    *work.ROUTES,
    *agents.ROUTES,
    *exchanges.ROUTES,
    *contracts.ROUTES,
    *sessions.ROUTES,
    *stats.ROUTES,
    *events.ROUTES,
    *memory.ROUTES,
    *memory_prompts.ROUTES,
    *status.ROUTES,
)
