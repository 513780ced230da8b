"""Workers over HTTP: they claim queued tasks and report the results, without access to the ledger."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from aiohttp import web

from aorch import jsonio
from aorch.clock import now, rfc3339
from aorch.engine.delegation import calling_agent
from aorch.engine.exchange import refused_exchange
from aorch.engine.executor import TaskExecutor
from aorch.engine.registrations import RESERVED
from aorch.engine.reported_result import ReportedResult, ReportedStep, progress_text, request_below, response_to
from aorch.engine.task import Task
from aorch.errors import Conflict, DelegationRefused, Forbidden, ParametersInvalid
from aorch.ledger.attempt import Attempt
from aorch.ledger.record import FAILED, Record
from aorch.ledger.stored_corrections import CAPABILITIES
from aorch.ledger.task_queue import Capacity
from aorch.ledger.work_leases import LeaseRow
from aorch.ledger.work_queue import WorkQueue
from aorch.process.threads import in_thread
from aorch.server.authentication import READ, WORK
from aorch.server.fast_path import json_response
from aorch.server.http_protocol import client_has_left
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT, RequestContext, services_of
from aorch.server.request_parsing import parse_body, parse_query
from aorch.server.route import Route
from aorch.server.schemas.work import (
    ClaimBody,
    DeliveryForm,
    LeaseBody,
    LeaseForm,
    LeaseList,
    Noted,
    ProgressBody,
    ReleaseBody,
    RenewBody,
    RenewForm,
    ResultBody,
    ResultForm,
    StepBody,
    StepList,
    StepQuery,
    StepResult,
)
from aorch.server.work_dispatcher import Waiting


async def open_lease(request: web.Request) -> web.Response:
    """Open a lease, with which a worker claims queued tasks.

    The worker renews it every third of `lease_s`. When it ends, tasks that the worker had not confirmed and those of idempotent
    capabilities are queued again; the others end as `interrupted`.
    """
    context, body = request[CONTEXT], parse_body(await read_body(request), LeaseBody)
    for agent in body.agents:
        _reject_reserved(agent.agent_id, [each.name for each in agent.capabilities])
        _check_allowed(context, [agent.agent_id], [each.name for each in agent.capabilities])
    offer: list[dict[str, Any]] = [
        {
            "agent_id": each.agent_id,
            "labels": {**each.labels, "version": each.version},
            "capabilities": [capability.model_dump() for capability in each.capabilities],
        }
        for each in body.agents
    ]
    row = await _work(request).open_lease(context.caller.caller_id, body.worker, body.lease_s, offer)
    return json_response(_lease(request, row), status=201)


async def list_leases(request: web.Request) -> web.Response:
    """List the leases of all workers over HTTP, the oldest first."""
    rows = _work(request).leases()
    return json_response({"leases": [_lease(request, row) for row in rows], "total": len(rows)})


async def claim_tasks(request: web.Request) -> web.Response:
    """Claim queued tasks. The response comes as soon as there is a task or a cancellation, or after `wait_s` seconds.

    If the connection breaks, claim again: tasks that were not confirmed are delivered again. A new claim of a lease replaces the
    one that waits.
    """
    context, body = request[CONTEXT], parse_body(await read_body(request), ClaimBody)
    services, lease_id = context.services, request.match_info["lease_id"]
    for each in body.capacities:
        _check_allowed(context, each.agents, [each.capability])
    _work(request).find(lease_id, context.caller.caller_id)
    _work(request).check_offered(lease_id, (name for each in body.capacities for name in each.agents))
    known, has_left = frozenset(body.cancelled), partial(client_has_left, request, 0.0)
    waiting = Waiting(lease_id, _capacities(body), body.limit, known, has_left)
    services.dispatcher.enter(waiting)
    try:
        with services.long_requests.hold(request, waiting.end, WORK):
            await services.dispatcher.wait(waiting, body.wait_s)
    finally:
        services.dispatcher.leave(waiting)
    if waiting.done.done():
        waiting.done.result()
    return json_response(_claimed(request, waiting))


async def renew_lease(request: web.Request) -> web.Response:
    """Renew a lease, and confirm that the worker has received a delivery. 409 means that the lease has ended: open a new one."""
    context, body = request[CONTEXT], parse_body(await read_body(request), RenewBody)
    lease_id, work = request.match_info["lease_id"], _work(request)
    ends_at, is_confirmed = await work.renew(lease_id, context.caller.caller_id, body.delivery_id)
    cancelled, lost = work.state_of(lease_id, body.running)
    return json_response({"ends_at": ends_at, "confirmed": is_confirmed, "cancelled": cancelled, "lost": lost})


async def report_result(request: web.Request) -> web.Response:
    """Report the outcome of a task, which becomes its RESPONSE.

    409 (`lease_lost`) means that the lease does not have the task any more, and that the report was refused.
    409 (`conflict`) means that another contract has the `response_id`.
    """
    context, body = request[CONTEXT], parse_body(await read_body(request), ResultBody)
    lease_id, contract_id = request.match_info["lease_id"], request.match_info["contract_id"]
    if body.agent_id is not None:
        _check_allowed(context, [body.agent_id], ())
        _work(request).check_offered(lease_id, [body.agent_id])
    if body.status == "completed" and body.error is not None:
        raise ParametersInvalid("a completed task has no 'error'", "Report it as failed, or leave the error out.")
    executor = context.services.orchestrator.executor
    recorded = context.services.waiting.request(contract_id)
    reported = ReportedResult(body.response_id, body.agent_id, body.status, body.result, body.error, body.metadata)
    response = response_to(recorded, reported, executor)
    status = await _work(request).answer(lease_id, context.caller.caller_id, response)
    context.log_fields["contract_id"] = contract_id
    return json_response({"contract_id": contract_id, "status": status})


async def release_task(request: web.Request) -> web.Response:
    """Give a claimed task back. It is queued again if that is safe; otherwise it ends as `interrupted`."""
    context, body = request[CONTEXT], parse_body(await read_body(request), ReleaseBody)
    lease_id, contract_id = request.match_info["lease_id"], request.match_info["contract_id"]
    due_at = None if body.due_at is None else rfc3339(body.due_at)
    owner = context.caller.caller_id
    await _work(request).give_back(lease_id, owner, contract_id, called=body.called, due_at=due_at)
    return json_response({"contract_id": contract_id, "status": context.services.waiting.request(contract_id).status})


async def report_progress(request: web.Request) -> web.Response:
    """Report the progress of running tasks, and the calls of agents for tasks that needed several."""
    context, body = request[CONTEXT], parse_body(await read_body(request), ProgressBody)
    if body.attempts:
        _work(request).check_offered(request.match_info["lease_id"], (each.agent_id for each in body.attempts))
    moment, executor = now(), context.services.orchestrator.executor
    progress = [(each.contract_id, moment, progress_text(executor, each.progress)) for each in body.progress]
    attempts = [
        Attempt(
            each.contract_id,
            each.number,
            each.agent_id,
            rfc3339(each.started_at),
            None if each.ended_at is None else rfc3339(each.ended_at),
            each.code,
            each.error,
        )
        for each in body.attempts
    ]
    await _work(request).note(request.match_info["lease_id"], context.caller.caller_id, progress, attempts)
    return json_response({"stored": True})


async def write_step(request: web.Request) -> web.Response:
    """Record a task that a claimed task delegates to an agent of the same worker, before that agent is called.

    The lease claims it too: report its progress and its result as those of a claimed task.
    """
    context, body = request[CONTEXT], parse_body(await read_body(request), StepBody)
    lease_id, executor = request.match_info["lease_id"], context.services.orchestrator.executor
    agents = [each for each in (body.from_agent, body.agent_id) if each is not None]
    _check_allowed(context, agents, [body.capability])
    _work(request).check_offered(lease_id, agents)
    parent = context.services.waiting.request(request.match_info["contract_id"])
    step = ReportedStep(**body.model_dump(exclude={"refusal"}))
    recorded, response = request_below(parent, step, lease_id, executor), None
    refusal = _cycle(executor, parent, step) if body.refusal is None else None
    if refusal is not None:
        recorded, response, _ = refused_exchange(recorded, refusal)
    elif body.refusal is not None:
        reported = ReportedResult(agent_id=None, status=FAILED, result=None, **body.refusal.model_dump())
        response = response_to(recorded, reported, executor)
        recorded = recorded._replace(status=FAILED, completed_at=response.created_at, claimed_by=None)
    status = await _work(request).write_step(lease_id, context.caller.caller_id, recorded, response)
    if refusal is not None:
        raise refusal
    return json_response({"contract_id": body.contract_id, "status": status})


async def list_steps(request: web.Request) -> web.Response:
    """List the steps that earlier tries of a claimed task delegated, so that it can use their results again."""
    context, query = request[CONTEXT], parse_query(request, StepQuery)
    lease_id, contract_id = request.match_info["lease_id"], request.match_info["contract_id"]
    found = await in_thread(_work(request).tried, lease_id, context.caller.caller_id, contract_id, query.from_agent)
    steps = [
        {
            "contract_id": each.contract_id,
            "to_agent": each.to_agent,
            "capability": each.capability,
            "status": each.status,
            "running": each.is_running,
            "erased": each.is_erased,
            "key": each.key,
        }
        for each in found
    ]
    return json_response({"steps": steps})


async def show_step_result(request: web.Request) -> web.Response:
    """Return the result of a step that an earlier try of a claimed task completed."""
    context, owner = request[CONTEXT], request[CONTEXT].caller.caller_id
    lease_id, contract_id, step_id = (request.match_info[name] for name in ("lease_id", "contract_id", "step_id"))
    capability, result = _work(request).step_result(lease_id, owner, contract_id, step_id)
    _check_allowed(context, (), [capability])
    return json_response({"contract_id": step_id, "result": None if result is None else jsonio.decode(result)})


async def end_lease(request: web.Request) -> web.Response:
    """End a lease. Tasks that the worker still has are treated as at the end of its time."""
    context, lease_id = request[CONTEXT], request.match_info["lease_id"]
    row = _work(request).find(lease_id, context.caller.caller_id)
    await _work(request).end(lease_id, context.caller.caller_id)
    return json_response(_lease(request, row))


def _cycle(executor: TaskExecutor, parent: Record, step: ReportedStep) -> DelegationRefused | None:
    """The error if a step would be delegated too deep, or to itself."""
    task = Task(step.capability, step.parameters, parent.session_id)
    try:
        calling_agent(executor.ledger, task, parent.contract_id, executor.max_depth, None)
    except DelegationRefused as refusal:
        return refusal
    return None


def _reject_reserved(agent_id: str, capabilities: Iterable[str]) -> None:
    """Raise Conflict for what only aorch itself has: the exchanges of such a worker would be corrections of memory."""
    if agent_id in RESERVED:
        raise Conflict(f"the agent ID {agent_id!r} is reserved", "Use another agent_id.")
    if taken := set(capabilities) & set(CAPABILITIES):
        raise Conflict(f"the capability {min(taken)!r} is reserved: it corrects memory", "Use another name.")


def _check_allowed(context: RequestContext, agent_ids: Iterable[str], capabilities: Iterable[str]) -> None:
    """Raise Forbidden if the caller's token does not allow a worker to have these agents and capabilities."""
    caller = context.caller
    if caller.capabilities is not None and (others := set(capabilities) - caller.capabilities):
        raise Forbidden(
            f"the token does not allow the capability {min(others)!r}",
            f"It allows: {', '.join(sorted(caller.capabilities)) or 'none'}. Offer only these, or create another token.",
        )
    bound = context.services.authenticator.bound_agents
    if others := {each for each in agent_ids if each in bound and each != caller.agent_id}:
        raise Forbidden(f"only the token bound to {min(others)} can act as this agent", "Rename the agent.")


def _capacities(body: ClaimBody) -> list[Capacity]:
    return [
        Capacity(
            each.capability,
            each.free,
            {name: agent.free for name, agent in each.agents.items()},
            {name: agent.running for name, agent in each.agents.items()},
            {name: agent.labels for name, agent in each.agents.items()},
        )
        for each in body.capacities
    ]


def _claimed(request: web.Request, waiting: Waiting) -> dict[str, Any]:
    requests = waiting.delivery.requests if waiting.delivery is not None else []
    ledger = services_of(request).orchestrator.executor.ledger
    attempts = Counter(each.request_id for each in ledger.attempts(*(each.contract_id for each in requests)))
    return {
        "delivery_id": waiting.delivery.delivery_id if waiting.delivery is not None else None,
        "tasks": [{"request": each.as_dict(), "attempts": attempts[each.contract_id]} for each in requests],
        "cancelled": waiting.cancelled,
    }


def _lease(request: web.Request, row: LeaseRow) -> dict[str, Any]:
    return {
        "lease_id": row.lease_id,
        "worker": row.worker,
        "owner": row.owner,
        "lease_s": row.lease_s,
        "created_at": row.created_at,
        "ends_at": row.ends_at,
        "max_body_bytes": services_of(request).settings.max_body_bytes,
    }


def _work(request: web.Request) -> WorkQueue:
    return services_of(request).orchestrator.executor.ledger.work


_LEASE = "/v1/work/leases/{lease_id}"
ROUTES = (
    Route("GET", "/v1/work/leases", list_leases, READ, "work", LeaseList),
    Route("POST", "/v1/work/leases", open_lease, WORK, "work", LeaseForm, LeaseBody, success=201),
    Route("POST", f"{_LEASE}/claim", claim_tasks, WORK, "work", DeliveryForm, ClaimBody, counted=False),
    Route("POST", f"{_LEASE}/renew", renew_lease, WORK, "work", RenewForm, RenewBody, counted=False),
    Route("POST", f"{_LEASE}/progress", report_progress, WORK, "work", Noted, ProgressBody),
    Route("POST", f"{_LEASE}/tasks/{{contract_id}}/result", report_result, WORK, "work", ResultForm, ResultBody),
    Route("POST", f"{_LEASE}/tasks/{{contract_id}}/release", release_task, WORK, "work", ResultForm, ReleaseBody),
    Route("POST", f"{_LEASE}/tasks/{{contract_id}}/steps", write_step, WORK, "work", ResultForm, StepBody),
    Route("GET", f"{_LEASE}/tasks/{{contract_id}}/steps", list_steps, WORK, "work", StepList, query=StepQuery),
    Route("GET", f"{_LEASE}/tasks/{{contract_id}}/steps/{{step_id}}", show_step_result, WORK, "work", StepResult),
    Route("DELETE", _LEASE, end_lease, WORK, "work", LeaseForm),
)
