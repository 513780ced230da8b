"""What a caller asks, and what comes of it."""

from dataclasses import dataclass, field
from typing import Any

from aorch import json
from aorch.errors import AorchError, UsageError


@dataclass(slots=True)
class Task:
    """What a caller asks.

    `agent_id` insists on one agent; `timeout_s` (seconds) overrides the agent's own limit; `from_agent` is who asks
    (default: the agent on whose behalf this is, else `orchestrator`); `parent_id` is the REQUEST on whose behalf.
    `idempotency` (caller, key, the body's fingerprint) is kept with the REQUEST, and no second one of that caller's key is.
    """

    capability: str
    parameters: dict[str, Any] = field(default_factory=dict)
    session_id: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    agent_id: str | None = None
    timeout_s: float | None = None
    from_agent: str | None = None
    parent_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    idempotency: tuple[str, str, str] | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for a field of the wrong shape."""
        _check_text("capability", self.capability, needed=True)
        _check_text("session_id", self.session_id, needed=True)
        for name in ("agent_id", "from_agent", "parent_id"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name), needed=False)
        _check_object("parameters", self.parameters)
        _check_object("context", self.context)
        _check_object("metadata", self.metadata)
        if self.timeout_s is not None and not (isinstance(self.timeout_s, int | float) and self.timeout_s > 0):
            raise UsageError(f"timeout_s must be a number of seconds above 0, not {self.timeout_s!r}")


@dataclass(slots=True)
class Answer:
    """What came of a task. `contract_id` is its REQUEST's; `failure` the kind of failure, None after success."""

    success: bool
    data: Any
    error: str | None
    contract_id: str
    agent_id: str | None
    session_id: str
    timestamp: str
    duration_ms: float
    failure: type[AorchError] | None = None
    hint: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The seed document's response object."""
        return {
            "success": self.success,
            "data": self.data,
            "error": self.error,
            "contract_id": self.contract_id,
            "agent_id": self.agent_id,
            "session_id": self.session_id,
            "timestamp": self.timestamp,
        }


def _check_object(name: str, value: object) -> None:
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a JSON object, not {json.encode(value)[:80]}")


def _check_text(name: str, value: object, *, needed: bool) -> None:
    if not isinstance(value, str) or (needed and not value):
        raise UsageError(f"{name} must be a text that is not empty, not {value!r}")
    if json.storable_text(value) != value:
        raise UsageError(f"{name} holds U+0000 or is not valid Unicode: {value!r}")
