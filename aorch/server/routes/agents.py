"""Agents and their capabilities."""

from aiohttp import web

from aorch.agents.agent_document import AgentDocument, DocumentCapability
from aorch.agents.agent_kind import RetryConfig
from aorch.ledger.offered_agents import offered_agents
from aorch.server.authentication import ADMIN, AGENTS
from aorch.server.fast_path import json_response
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT, services_of
from aorch.server.request_parsing import parse_body
from aorch.server.route import Route
from aorch.server.schemas.agents import AgentForm, AgentList, RegisterBody, RegisterCapability, ReplaceBody


async def list_agents(request: web.Request) -> web.Response:
    """List all agents with their capabilities, state and task counts.

    The counts are those of this server process since it started. Agents of the kind `worker` are those that only workers over
    HTTP have; they get queued tasks.
    """
    services = services_of(request)
    await services.orchestrator.registry.refresh()
    agents = services.orchestrator.list_agents()
    known = {each["agent_id"] for each in agents}
    offered = await services.readers.read(lambda reader: offered_agents(reader.select))
    agents += [each for each in offered if each["agent_id"] not in known]
    return json_response({"agents": agents, "total": len(agents)})


async def show_agent(request: web.Request) -> web.Response:
    """Show one agent with its capabilities, state and task counts."""
    services, agent_id = services_of(request), request.match_info["agent_id"]
    registry = services.orchestrator.registry
    if registry.find(agent_id) is None:
        for each in await services.readers.read(lambda reader: offered_agents(reader.select)):
            if each["agent_id"] == agent_id:
                return json_response(each)
    agent = registry.get(agent_id)
    await registry.refresh([agent])
    return json_response(agent.as_dict())


async def register_agent(request: web.Request) -> web.Response:
    """Register an HTTP endpoint or an MCP server as an agent.

    aorch connects to an MCP server and keeps its tools, which are the capabilities. The status is 201 if the agent is new, and
    200 if the same token has registered it before; then its description is replaced. All processes on the ledger use the agent
    within a second. Its owner is the token.
    """
    body = parse_body(await read_body(request), RegisterBody)
    document, registrations = _document(body.agent_id, body), services_of(request).registrations
    is_new = await registrations.register(document, body.ttl_s, request[CONTEXT].caller.caller_id)
    return json_response(_form(request, body.agent_id), status=201 if is_new else 200)


async def replace_agent(request: web.Request) -> web.Response:
    """Replace the description of a registered agent.

    The tools of an MCP server are listed again.
    """
    agent_id, body = request.match_info["agent_id"], parse_body(await read_body(request), ReplaceBody)
    owner, is_admin = _caller(request)
    registrations = services_of(request).registrations
    await registrations.replace(_document(agent_id, body), body.ttl_s, owner, is_admin=is_admin)
    return json_response(_form(request, agent_id))


async def deregister_agent(request: web.Request) -> web.Response:
    """End the registration of an agent. It finishes its running tasks.

    The response is the agent as it was.
    """
    agent_id, (owner, is_admin) = request.match_info["agent_id"], _caller(request)
    registrations = services_of(request).registrations
    registrations.check_registered(agent_id, owner, is_admin=is_admin)
    form = _form(request, agent_id)
    await registrations.remove(agent_id, owner, is_admin=is_admin)
    return json_response(form)


async def heartbeat(request: web.Request) -> web.Response:
    """Renew the registration of an agent for another `ttl_s`.

    Send one every third of `ttl_s`. 404 means that the registration has ended: register the agent again.
    """
    agent_id, (owner, is_admin) = request.match_info["agent_id"], _caller(request)
    await services_of(request).registrations.heartbeat(agent_id, owner, is_admin=is_admin)
    return json_response(_form(request, agent_id))


async def drain_agent(request: web.Request) -> web.Response:
    """Send no more tasks to a registered agent. It finishes its running tasks.

    It takes tasks again once it is registered again or replaced.
    """
    agent_id, (owner, is_admin) = request.match_info["agent_id"], _caller(request)
    await services_of(request).registrations.drain(agent_id, owner, is_admin=is_admin)
    return json_response(_form(request, agent_id))


async def check_agent(request: web.Request) -> web.Response:
    """Check an agent now, and return it with its new state."""
    agent_id, (owner, is_admin) = request.match_info["agent_id"], _caller(request)
    await services_of(request).registrations.check_now(agent_id, owner, is_admin=is_admin)
    return json_response(_form(request, agent_id))


def _document(agent_id: str, body: ReplaceBody) -> AgentDocument:
    return AgentDocument(
        agent_id=agent_id,
        name=body.name or agent_id,
        description=body.description,
        version=body.version,
        endpoint=body.endpoint,
        mcp=body.mcp,
        capabilities=[_capability(each) for each in body.capabilities],
        expose=body.expose,
        trust_annotations=body.trust_annotations,
        refresh=body.refresh,
        labels=body.labels,
        credential=body.credential,
        sign=body.sign,
        concurrency=body.concurrency,
        rate_per_min=body.rate_per_min,
    )


def _capability(given: RegisterCapability) -> DocumentCapability:
    return DocumentCapability(
        name=given.name,
        description=given.description,
        parameters=given.parameters,
        idempotent=given.idempotent,
        retry=RetryConfig(given.retry.attempts, given.retry.backoff_s, tuple(given.retry.never)),
        priority=given.priority,
        weight=given.weight,
    )


def _caller(request: web.Request) -> tuple[str, bool]:
    """The id of the caller's token, and whether it may change all agents."""
    caller = request[CONTEXT].caller
    return caller.caller_id, ADMIN in caller.scopes


def _form(request: web.Request, agent_id: str) -> dict[str, object]:
    registry = services_of(request).orchestrator.registry
    return registry.get(agent_id).as_dict()


ROUTES = (
    Route("GET", "/v1/agents", list_agents, "read", "agents", AgentList),
    Route("GET", "/v1/agents/{agent_id}", show_agent, "read", "agents", AgentForm),
    Route(
        "POST", "/v1/agents/register", register_agent, AGENTS, "agents", AgentForm, RegisterBody, success=201, again=200
    ),
    Route("POST", "/v1/agents/{agent_id}/heartbeat", heartbeat, AGENTS, "agents", AgentForm),
    Route("POST", "/v1/agents/{agent_id}/check", check_agent, AGENTS, "agents", AgentForm),
    Route("PUT", "/v1/agents/{agent_id}", replace_agent, AGENTS, "agents", AgentForm, ReplaceBody),
    Route("POST", "/v1/agents/{agent_id}/drain", drain_agent, AGENTS, "agents", AgentForm),
    Route("DELETE", "/v1/agents/{agent_id}", deregister_agent, AGENTS, "agents", AgentForm),
)
