"""All routes, in the order in which the documentation lists them."""

from aorch.server.route import Route
from aorch.server.routes import agents, contracts, events, memory, orchestrate, sessions, status, tasks

ROUTES: tuple[Route, ...] = (
    *orchestrate.ROUTES,
    *tasks.ROUTES,
    *agents.ROUTES,
    *contracts.ROUTES,
    *sessions.ROUTES,
    *events.ROUTES,
    *memory.ROUTES,
    *status.ROUTES,
)
