"""Every refusal as `application/problem+json` (RFC 9457). The status comes from the error's class and from nowhere else."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from aorch import jsonio
from aorch.engine.response_saver import Unsaved
from aorch.engine.task import Answer
from aorch.errors import AorchError, LedgerBusy, NoAgentAvailable, ParametersInvalid, UsageError
from aorch.server.fast_path import JsonAnswer

RETRY_AFTER_S = 1

_TITLES = {
    400: "Bad request",
    401: "Not authorised",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    414: "Path too long",
    415: "Unsupported body",
    417: "Expectation refused",
    421: "Another server's",
    422: "Not understood",
    429: "Too many requests",
    431: "Headers too large",
    499: "Cancelled",
    500: "A fault of the server",
    502: "A service is out of reach",
    503: "Not now",
    504: "Timed out",
    507: "Disk full",
}


class Refusal(AorchError):
    """A refusal that only HTTP knows: its status and code are the instance's."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", **headers: str) -> None:
        super().__init__(message, hint)
        self.http_status = status  # type: ignore[misc]  # an instance's own
        self.code = code  # type: ignore[misc]
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def problem(error: AorchError, **more: Any) -> web.Response:
    """The response that says `error`; `more` are further members, such as the contract's id."""
    status = error.http_status
    detail = str(error)
    if isinstance(error, Unsaved):
        answer = error.answer
        more = {"contract_id": answer.contract_id, "agent_id": answer.agent_id, "session_id": answer.session_id}
    body = {
        "type": f"urn:aorch:error:{error.code}",
        "title": _TITLES.get(status, "Refused"),
        "status": status,
        "detail": detail,
        "code": error.code,
        "hint": error.hint or None,
        "success": False,
        "error": detail,
        **more,
    }
    headers = dict(getattr(error, "headers", {}))
    again = isinstance(error, LedgerBusy | NoAgentAvailable) or status == 503
    if again and not isinstance(error, Unsaved):  # that task was done, and must not be done again
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JsonAnswer(
        jsonio.encode_bytes(body), status=status, content_type="application/problem+json", headers=headers
    )


def refused(answer: Answer) -> web.Response:
    """The response that says a failure which is in the ledger."""
    return problem(
        answer.as_error(), contract_id=answer.contract_id, agent_id=answer.agent_id, session_id=answer.session_id
    )


def not_understood(error: ValidationError, what: str, known: Iterable[str] = ()) -> AorchError:
    """A body or a query that does not fit its shape: 400 where it is no JSON at all, else 422, naming the field.

    `known` are the names that it may have.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return UsageError(f"the {what} is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    place = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        return ParametersInvalid(f"{what}: there is no {place!r}", f"There are: {', '.join(known)}.")
    return ParametersInvalid(f"{what}: {f'{place}: ' if place else ''}{first['msg']}")
