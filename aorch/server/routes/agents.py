"""Agents and their capabilities."""

from aiohttp import web

from aorch.server.fast_path import json_response
from aorch.server.request_context import services_of
from aorch.server.route import Route
from aorch.server.schemas.agents import AgentForm, AgentList


async def list_agents(request: web.Request) -> web.Response:
    """List all agents with their capabilities, state and task counts.

    The counts are those of this server process since it started.
    """
    orchestrator = services_of(request).orchestrator
    await orchestrator.registry.refresh()
    agents = orchestrator.list_agents()
    return json_response({"agents": agents, "total": len(agents)})


async def show_agent(request: web.Request) -> web.Response:
    """Show one agent with its capabilities, state and task counts."""
    registry = services_of(request).orchestrator.registry
    agent = registry.get(request.match_info["agent_id"])
    await registry.refresh([agent])
    return json_response(agent.as_dict())


ROUTES = (
    Route("GET", "/v1/agents", list_agents, "read", "agents", AgentList),
    Route("GET", "/v1/agents/{agent_id}", show_agent, "read", "agents", AgentForm),
)
