"""The documents that an HTTP endpoint sends in addition to its answers: its health, and its capabilities."""

from typing import Any, NamedTuple

import msgspec

from aorch import jsonio
from aorch.agents.base import AgentCapability, AgentState, AgentStatus

SHOWN = 200
"""Maximum number of characters of an unexpected answer in an error message."""
_HEALTHY = {
    "ok": AgentStatus.AVAILABLE,
    "healthy": AgentStatus.AVAILABLE,
    "unhealthy": AgentStatus.ERROR,
    **{str(status): status for status in AgentStatus},
}
"""The state for each `status` of an answer to `GET /health`."""


class Document(NamedTuple):
    """A JSON document that an endpoint sent (None: another body), with the start of its text."""

    status: int
    content: Any
    text: str


class _Capability(msgspec.Struct):
    """A capability as an endpoint reports it; other members are ignored."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    idempotent: bool = False


class _Report(msgspec.Struct):
    capabilities: list[_Capability]


def capabilities_in(content: Any) -> list[AgentCapability]:
    """The capabilities in an answer: a list, or an object with `capabilities`. Raises msgspec.ValidationError."""
    report = msgspec.convert({"capabilities": content} if isinstance(content, list) else content, _Report)
    found = {each.name: each for each in report.capabilities if each.name}
    return [AgentCapability(each.name, each.description, each.parameters, each.idempotent) for each in found.values()]


def state_in(answer: Document) -> AgentState:
    """The state that an answer to `GET /health` reports."""
    reported = answer.content.get("status") if isinstance(answer.content, dict) else None
    status = _HEALTHY.get(reported.lower()) if isinstance(reported, str) else None
    reason = reason_in(answer.content, "reason", "error", "detail", "message")[:500]
    if answer.status // 100 == 2:
        if isinstance(reported, str) and status is None:
            return AgentState(AgentStatus.ERROR, f"its /health reports the unknown status {reported[:50]!r}")
        found = status or AgentStatus.AVAILABLE
        is_fine = found in (AgentStatus.AVAILABLE, AgentStatus.BUSY)
        return AgentState(found, reason or (None if is_fine else f"its /health reports {found}"))
    said = f"its /health answered {answer.status}: {reason or answer.text}"
    if answer.status in (404, 405, 501):
        return AgentState(AgentStatus.ERROR, f"{said} (set health = false if the endpoint has no /health)")
    if answer.status == 429:
        return AgentState(AgentStatus.BUSY, said)
    unable = status if status not in (None, AgentStatus.AVAILABLE, AgentStatus.BUSY) else None
    return AgentState(unable or (AgentStatus.OFFLINE if answer.status in (502, 503, 504) else AgentStatus.ERROR), said)


def shown(body: bytes) -> str:
    """The start of `body` in one line, for a message."""
    text = " ".join(jsonio.storable_text(body[: 4 * SHOWN].decode("utf-8", "replace")).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def reason_in(content: Any, *names: str) -> str:
    """The first of these members of a JSON object that is a text; empty if there is none."""
    found = (content.get(name) for name in names) if isinstance(content, dict) else ()
    return next((" ".join(jsonio.storable_text(each).split()) for each in found if isinstance(each, str)), "")
