"""The errors of tasks that run again, of batches and of plans, for the examples of the OpenAPI document."""

from typing import TYPE_CHECKING

from http_example_server import ECHO, UNKNOWN_ID, Json
from http_raised_errors import body_of, writing

from aorch.errors import Conflict, ContentErased

if TYPE_CHECKING:
    from http_example_errors import Errors

TWO_WORDS = {"Idempotency-Key": "two words"}
USED = {"Idempotency-Key": '"k3"'}
"""A key that was used for another task."""


def again_errors(errors: "Errors") -> dict[str, list[Json]]:
    """The errors of each of these operations."""
    return {
        "plan_task": [
            errors.post("/v1/orchestrate/plan", {**ECHO, "capability": "fly"}),
            errors.post("/v1/orchestrate/plan", {**ECHO, "parameters": {}}),
            errors.post("/v1/orchestrate/plan", {**ECHO, "capability": "summarize"}),
        ],
        "resume_task": of_again(errors, "resume"),
        "retry_task": [*of_again(errors, "retry"), errors.post(f"/v1/tasks/{UNKNOWN_ID}/retry", {"timeout_s": 0})],
        "open_batch": [
            errors.post("/v1/batches", {"name": "another-import", "resume": True}),
            errors.post("/v1/batches", {"name": ""}),
            *writing(),
        ],
        "run_line": of_lines(errors),
        "list_unfinished": [
            errors.get("/v1/sessions/session_9/unfinished"),
            errors.get("/v1/sessions/session_9/unfinished?limit=0"),
        ],
    }


def of_again(errors: "Errors", action: str) -> list[Json]:
    """Those of resuming and of retrying a task."""

    def sent(capability: str) -> str:
        return str(errors.client.post("/v1/orchestrate", json={**ECHO, "capability": capability}).json()["contract_id"])

    def again(contract_id: str, **headers: str) -> Json:
        return errors.post(f"/v1/tasks/{contract_id}/{action}", {}, **headers)

    done, erased = sent("echo"), sent("translate")
    assert errors.client.delete(f"/v1/contracts/{erased}/content").status_code == 200
    return [
        again(UNKNOWN_ID),
        again(done),
        again(done, **TWO_WORDS),
        again(done, **USED),
        again(erased),
        again(sent("paint")),
        errors.full_queue(),
        *writing(),
    ]


def of_lines(errors: "Errors") -> list[Json]:
    """Those of a line of a batch."""
    path = f"/v1/batches/{UNKNOWN_ID}/lines"
    return [
        errors.post(path, {**ECHO, "capability": "fly", "key": "1"}),
        errors.post(path, {**ECHO, "parameters": {}, "key": "2"}),
        errors.post(path, {**ECHO, "key": "3"}, **TWO_WORDS),
        errors.post(path, {**ECHO, "key": "3"}, **USED),
        errors.post(path, {**ECHO, "capability": "summarize", "key": "4"}),
        errors.post("/v1/batches/x/lines", ECHO),
        body_of(ContentErased(f"contract {UNKNOWN_ID} was erased", "Its result cannot be shown.")),
        body_of(Conflict(f"another process is running this line (contract {UNKNOWN_ID})")),
        *writing(),
    ]
