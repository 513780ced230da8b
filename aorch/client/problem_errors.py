"""The errors of a server, as the same classes, with the same exit codes, as those of this process."""

from functools import cache
from typing import Any

from aorch import jsonio
from aorch.errors import (
    AgentFailed,
    AorchError,
    Conflict,
    Forbidden,
    InvalidJSON,
    NotAuthorised,
    NotFound,
    ServerTooOld,
    ServiceFailed,
    UsageError,
    by_code,
)

LONGEST_EXCERPT = 200
LOGIN_HINT = "Store a valid token with `aorch login URL`, or set AORCH_TOKEN."
_TEMPORARY = frozenset({408, 425, 429})
"""Statuses below 500 of a proxy, after which a request can be repeated."""


class FinalFailure(ServiceFailed):
    """The server, or something in front of it, answers as no aorch does. It would do so again."""


class RequestTooLarge(UsageError):
    """The server, or a proxy in front of it, accepts no request of this size."""


class RefusedInFront(FinalFailure):
    """A proxy in front of the server refuses the request, perhaps for as long as its settings are the same."""


class UnreadableAnswer(FinalFailure):
    """The server answered to one request with something else than aorch sends. The task may be recorded."""


_BY_STATUS: dict[int, type[AorchError]] = {
    400: UsageError,
    401: NotAuthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: RequestTooLarge,
    422: UsageError,
}


def error_of(url: str, status: int, body: bytes) -> AorchError:
    """The error that a response of the server at `url` with that status (400 or more) describes."""
    problem = problem_in(body)
    if problem is None:
        text = " ".join(body[:LONGEST_EXCERPT].decode("utf-8", "replace").split())
        if status == 413:
            return RequestTooLarge(
                f"a proxy in front of the server at {url} accepts no request of this size: {text or '413'}",
                "Raise its limit to that of the server (serve.max_body_bytes).",
            )
        kind = RefusedInFront if 400 <= status < 500 and status not in _TEMPORARY else ServiceFailed
        return kind(
            f"the server at {url} answered {status} without an error that aorch knows: {text or '(no text)'}",
            "Check the URL: is it an `aorch serve`, and does a proxy in front of it work?",
        )
    return error_in(url, problem)


def redirected(url: str, status: int, location: str) -> FinalFailure:
    """The error for a redirect, which is not followed, because it would carry the token to another address."""
    return FinalFailure(
        f"the server at {url} answered {status}: it redirects to {location[:LONGEST_EXCERPT] or 'no location'}",
        "Redirects are not followed. If that is the server, use its URL: `aorch login` once, then --server or AORCH_URL.",
    )


def problem_in(body: bytes) -> dict[str, Any] | None:
    """The problem document of aorch in a body; None if it is something else."""
    try:
        found = jsonio.decode(body)
    except InvalidJSON:
        return None
    return found if isinstance(found, dict) and str(found.get("type", "")).startswith("urn:aorch:error:") else None


def error_in(url: str, problem: dict[str, Any]) -> AorchError:
    """The error that a problem document of the server at `url` describes."""
    code, status = str(problem.get("code", "")), int(problem.get("status", 500))
    detail, hint = str(problem.get("detail", "")), str(problem.get("cli_hint") or problem.get("hint") or "")
    if code == "no_route":
        return ServerTooOld(
            f"the server at {url} does not know this request: its version of aorch is too old",
            "Compare `aorch --version` with `aorch whoami`, and upgrade the server.",
        )
    if status in (401, 403) and code in (NotAuthorised.code, Forbidden.code):
        hint = LOGIN_HINT if status == 401 else f"{hint} Create one with `aorch tokens create` on the server.".strip()
        return _BY_STATUS[status](f"{detail} (server {url})", hint)
    kind = _kinds().get(code) or _BY_STATUS.get(status)
    if kind is None:
        return ServiceFailed(f"the server at {url} failed: {detail}", hint)
    return kind(detail, hint)


def kind_of(code: str) -> type[AorchError]:
    """The class of a failed task's error."""
    return _kinds().get(code, AgentFailed)


@cache
def _kinds() -> dict[str, type[AorchError]]:
    return by_code()
