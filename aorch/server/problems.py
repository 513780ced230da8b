"""Error responses: `application/problem+json` (RFC 9457). The status is the `http_status` of the error's class."""

import re
from collections.abc import Iterable
from math import ceil
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from aorch import jsonio
from aorch.engine.response_saver import Unsaved
from aorch.engine.task import Answer
from aorch.errors import (
    AgentBusy,
    AgentFailed,
    AorchError,
    Interrupted,
    LedgerBusy,
    NoAgentAvailable,
    ParametersInvalid,
    UsageError,
)
from aorch.server.fast_path import JsonResponse
from aorch.server.schemas.fields import FORMS

PROBLEM = "application/problem+json"
RETRY_AFTER_S = 1

_PLAIN = {
    "a valid string": "a string",
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid boolean": "a boolean",
    "a valid dictionary": "an object",
}
_ANSWER_MEMBERS = (
    *("data", "contract_id", "agent_id", "session_id", "timestamp", "exit_code", "stderr", "stdout", "reused"),
)
"""What the problem of a failed task has in addition: all that the answer of a completed one has."""
_TITLES = {
    400: "Bad request",
    401: "Not authorised",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Body too large",
    414: "URI too long",
    415: "Unsupported media type",
    417: "Expectation failed",
    421: "Misdirected request",
    422: "Invalid input",
    429: "Too many requests",
    431: "Headers too large",
    499: "Cancelled",
    500: "Internal server error",
    502: "Service unreachable",
    503: "Temporarily unavailable",
    504: "Timed out",
    507: "Disk full",
}


class HttpError(AorchError):
    """An error that exists only in HTTP: each instance has its own status and code."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", **headers: str) -> None:
        super().__init__(message, hint)
        self.http_status = status  # type: ignore[misc]  # an instance's own
        self.code = code  # type: ignore[misc]
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def problem_response(error: AorchError, **members: Any) -> JsonResponse:
    """Return the response that describes `error`; `members` are added to its body, such as the contract's id."""
    status = error.http_status
    detail = str(error)
    if isinstance(error, Unsaved):
        members = _contract_members(error.answer)
    body = {
        "type": f"urn:aorch:error:{error.code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": error.code,
        "hint": error.http_hint or error.hint or None,
        **({"cli_hint": error.hint} if error.http_hint and error.hint else {}),
        "success": False,
        "error": detail,
        **members,
    }
    headers = dict(getattr(error, "headers", {}))
    if isinstance(error, AgentBusy) and error.retry_after_s is not None:
        headers["Retry-After"] = str(max(RETRY_AFTER_S, ceil(error.retry_after_s)))
    is_temporary = isinstance(error, LedgerBusy | NoAgentAvailable) or status == 503
    if is_temporary and not isinstance(error, Unsaved):  # that task was executed; sending it again would repeat it
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JsonResponse(jsonio.encode_bytes(body), status=status, content_type=PROBLEM, headers=headers)


def failure_response(answer: Answer) -> JsonResponse:
    """Return the response for a task that failed; its contracts are in the ledger."""
    error = answer.as_error()
    if isinstance(error, ParametersInvalid):
        error.http_hint = "Correct `parameters` in the body."
    details = answer_form(answer)
    members = {name: details[name] for name in _ANSWER_MEMBERS if name in details}
    return problem_response(error, **members)


def answer_form(answer: Answer) -> dict[str, Any]:
    """Return the JSON form of an answer; after a failure with its code and its hint."""
    form: dict[str, Any] = {**answer.as_dict()}
    if answer.failure is not None:
        form |= {"code": answer.failure.code, "hint": answer.hint or None}
        if answer.stdout is not None:
            form["stdout"] = answer.stdout
    if answer.reused is not None:
        form["reused"] = answer.reused
    return form


def answer_response(log_fields: dict[str, Any], answer: Answer, *, is_replayed: bool) -> JsonResponse:
    """Return the response with the answer to a task. `is_replayed`: an earlier request with the same key has this answer."""
    log_fields["contract_id"] = answer.contract_id
    if answer.failure in (None, AgentFailed, Interrupted):
        response = JsonResponse(jsonio.encode_bytes(answer_form(answer)))
    else:
        response = failure_response(answer)
    if is_replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _contract_members(answer: Answer) -> dict[str, Any]:
    return {"contract_id": answer.contract_id, "agent_id": answer.agent_id, "session_id": answer.session_id}


def validation_error(error: ValidationError, part: str, known: Iterable[str] = ()) -> AorchError:
    """Return the error for a body or a query (`part`) that does not match its schema; it names the first wrong field.

    400 if the body is not JSON, otherwise 422. `known` lists the names that a query accepts.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        reason = first["msg"].removeprefix("Invalid JSON: ").replace("EOF while parsing", "unexpected end of")
        return UsageError(f"the {part} is not JSON: {reason}")
    place = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        return ParametersInvalid(f"{part}: unknown parameter {place!r}", f"Known parameters: {', '.join(known)}.")
    field = f"{part}: {place}" if place else f"the {part}"
    if first["type"] == "string_pattern_mismatch":
        return ParametersInvalid(f"{field} {FORMS[first['ctx']['pattern']]}")
    return ParametersInvalid(_sentence(field, first["msg"]))


def _sentence(field: str, message: str) -> str:
    """pydantic's `message` about `field` as one sentence: "Input should be less than 5" becomes "limit must be less than 5"."""
    if message == "Field required":
        return f"{field} is required"
    for theirs, plain in _PLAIN.items():
        message = message.replace(theirs, plain)
    must = re.sub(r"^\w+ should ", "must ", message)
    return f"{field}{' ' if must != message else ': '}{must}"


def server_stopped() -> HttpError:
    """The error for a request that was cancelled because the server stopped."""
    hint = "Its contracts are in the ledger; send the request again later."
    return HttpError(503, "stopping", "the server stopped before the request was finished", hint)


def from_aiohttp(error: web.HTTPException) -> HttpError:
    """Translate an error that aiohttp raises itself."""
    if error.status == 404:
        return HttpError(404, "no_route", "this path does not exist", "GET /v1/ lists the endpoints.")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"this path does not support {error.method} (supported: {allowed})"
        return HttpError(405, "method_not_allowed", message, Allow=allowed)
    if error.status == 413:
        hint = "Send a smaller body, or raise serve.max_body_bytes in aorch.toml."
        return HttpError(413, "too_large", "the body is larger than max_body_bytes", hint)
    return HttpError(error.status, "refused", f"the server rejected the request: {error.reason}")
