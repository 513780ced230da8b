"""The errors of the operations of workers over HTTP, for the examples of the OpenAPI document."""

from typing import TYPE_CHECKING

from http_example_server import LATER, RENDERER, UNKNOWN_ID, Json
from http_raised_errors import writing

if TYPE_CHECKING:
    from http_example_errors import Errors


def work_errors(errors: "Errors", limited: dict[str, str]) -> dict[str, list[Json]]:
    """The errors of each operation of workers. `limited`: the header of a token that may have other capabilities only."""
    lease = errors.client.post("/v1/work/leases", json=RENDERER).json()["lease_id"]
    ended, path = f"/v1/work/leases/lease_{UNKNOWN_ID}", f"/v1/work/leases/{lease}"
    capacity = {"capability": "render", "free": 1, "agents": {"renderer": {"free": 1}}}
    result = {"response_id": UNKNOWN_ID, "status": "completed", "agent_id": "renderer"}
    about = f"/tasks/{UNKNOWN_ID}"
    queued = errors.client.post("/v1/tasks", json=LATER).json()["contract_id"]
    errors.client.post(f"/v1/tasks/{queued}/cancel")
    taken = taken_id(errors, path)
    step = {"contract_id": UNKNOWN_ID, "from_agent": "renderer", "agent_id": "renderer", "capability": "render"}
    steps = f"/tasks/{queued}/steps"

    def each(suffix: str, body: Json, invalid: Json) -> list[Json]:
        return [
            errors.post(ended + suffix, body),
            errors.post(path + suffix, body, **limited),
            errors.post(path + suffix, invalid),
            *writing(),
        ]

    claims = {"capacities": [capacity], "wait_s": 0}
    found = {
        "open_lease": [
            errors.post("/v1/work/leases", {**RENDERER, "lease_s": 0}),
            errors.post("/v1/work/leases", RENDERER, **limited),
            *reserved(errors),
            *writing(),
        ],
        "claim_tasks": each("/claim", claims, {**claims, "wait_s": 60}),
        "renew_lease": each("/renew", {}, {"running": 1}),
        "report_progress": each("/progress", {}, {"progress": 1}),
        "report_result": [
            errors.post(f"{path}{about}/result", result),
            *each(f"/tasks/{queued}/result", result, {**result, "status": "done"}),
            taken,
        ],
        "release_task": each(f"/tasks/{queued}/release", {"called": False}, {}),
        "write_step": [
            errors.post(f"{path}{about}/steps", step),
            *each(steps, step, {**step, "contract_id": "x"}),
            *refused_steps(errors, path, step),
        ],
        "list_steps": [
            errors.get(f"{path}{steps}"),
            errors.get(f"{path}{steps}?from_agent=renderer"),
            errors.get(f"{path}{steps}?from_agent=renderer", **limited),
        ],
        "show_step_result": [
            errors.get(f"{path}{steps}/{UNKNOWN_ID}"),
            errors.get(f"{path}{steps}/{UNKNOWN_ID}", **limited),
        ],
        "end_lease": [
            errors.problem(errors.client.delete(ended)),
            errors.problem(errors.client.delete(path, headers=limited)),
            *writing(),
        ],
    }
    errors.client.delete(path)
    return found


def refused_steps(errors: "Errors", lease: str, step: Json) -> list[Json]:
    """The errors for steps that ask for their own task, and that name contracts of others."""
    task = {"session_id": "session_004", "capability": "render", "parameters": {"scene": "harbour"}}
    claims = {"capacities": [{"capability": "render", "free": 1, "agents": {"renderer": {"free": 1}}}]}
    claimed = errors.client.post("/v1/tasks", json=task).json()["contract_id"]
    delivered = errors.client.post(f"{lease}/claim", json={**claims, "wait_s": 20}).json()["delivery_id"]
    errors.client.post(f"{lease}/renew", json={"delivery_id": delivered})
    steps = f"{lease}/tasks/{claimed}/steps"
    found = [
        errors.post(steps, {**step, "contract_id": UNKNOWN_ID[:-1] + "1", "parameters": task["parameters"]}),
        errors.post(steps, {**step, "contract_id": claimed}),
    ]
    result = {"response_id": UNKNOWN_ID[:-1] + "2", "status": "completed", "agent_id": "renderer"}
    errors.client.post(f"{lease}/tasks/{claimed}/result", json=result)
    return found


def reserved(errors: "Errors") -> list[Json]:
    """The errors for a worker that offers what only aorch has."""
    (agent,) = RENDERER["agents"]
    correcting = {**agent, "capabilities": [{"name": "memory.note"}]}
    offers = ({**agent, "agent_id": "orchestrator"}, correcting)
    return [errors.post("/v1/work/leases", {**RENDERER, "agents": [each]}) for each in offers]


def taken_id(errors: "Errors", lease: str) -> Json:
    """The error for a result with the ID of a contract that exists."""
    task = {"session_id": "session_004", "capability": "render", "parameters": {"scene": "harbour"}}
    claims = {"capacities": [{"capability": "render", "free": 1, "agents": {"renderer": {"free": 1}}}]}
    claimed = errors.client.post("/v1/tasks", json=task).json()["contract_id"]
    errors.client.post(f"{lease}/claim", json={**claims, "wait_s": 20})
    result = {"response_id": claimed, "status": "completed", "agent_id": "renderer"}
    found = errors.post(f"{lease}/tasks/{claimed}/result", result)
    errors.client.post(f"{lease}/tasks/{claimed}/result", json={**result, "response_id": UNKNOWN_ID[:-1] + "0"})
    return found
