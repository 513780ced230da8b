"""What a caller asks, and what comes of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NotRequired, Required, TypedDict

from aorch import jsonio
from aorch.errors import AgentFailed, AorchError, UsageError, by_code
from aorch.ledger import priorities
from aorch.ledger.record import ORCHESTRATOR, number_in, text_in
from aorch.ledger.task_keys import TaskKey

_ERRORS = by_code()

LONGEST_SESSION_ID = 255
"""Characters in the session id of a new task."""


class TaskDict(TypedDict, total=False):
    """What `orchestrate` and `submit` are asked: a Task as a dict, in which type checkers find a misspelt key."""

    capability: Required[str]
    parameters: dict[str, Any]
    context: dict[str, Any]
    agent_id: str | None
    timeout_s: float | None
    from_agent: str | None
    parent_id: str | None
    metadata: dict[str, Any]


class AnswerDict(TypedDict):
    """What `orchestrate` answers. `contract_id` is the REQUEST's, `timestamp` RFC 3339; how a program ended, if one answered."""

    success: bool
    data: Any
    error: str | None
    contract_id: str
    agent_id: str | None
    session_id: str
    timestamp: str
    exit_code: NotRequired[int]
    stderr: NotRequired[str]


class MappedAnswerDict(AnswerDict):
    """What `map` yields: the answer, with its `item` (the parameters) and its `index` from 0."""

    item: dict[str, Any]
    index: int


@dataclass(slots=True)
class Task:
    """What a caller asks.

    `agent_id` insists on one agent; `timeout_s` (seconds) overrides the agent's own limit; `from_agent` is who asks
    (default: the agent on whose behalf this is, else `orchestrator`); `parent_id` is the REQUEST on whose behalf.
    `queue` is what was said when it was enqueued.
    `idempotency` is committed with the REQUEST, and no second REQUEST with the same key is;
    where no agent is called the key is left unused, unless `refusal_uses_key`.
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
    idempotency: TaskKey | None = None
    queue: dict[str, Any] = field(default_factory=dict)
    refusal_uses_key: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for a field of the wrong shape."""
        _check_text("capability", self.capability, needed=True)
        _check_text("session_id", self.session_id, needed=True)
        if self.agent_id is not None:
            _check_text("agent_id", self.agent_id, needed=False)
        if self.from_agent is not None:
            _check_text("from_agent", self.from_agent, needed=False)
        if self.parent_id is not None:
            _check_text("parent_id", self.parent_id, needed=False)
        if not (
            isinstance(self.parameters, dict) and isinstance(self.context, dict) and isinstance(self.metadata, dict)
        ):
            _check_objects(parameters=self.parameters, context=self.context, metadata=self.metadata)
        if self.timeout_s is not None and not (
            isinstance(self.timeout_s, int | float) and 0 < self.timeout_s < math.inf
        ):
            raise UsageError(f"timeout_s must be a number of seconds above 0, not {self.timeout_s!r}")


@dataclass(frozen=True, slots=True)
class Wish:
    """How a task is to wait in the queue: its `priority` from 1 (highest) to 5, not before and not after a moment (RFC 3339
    text), and the URL that is to hear of its end.
    """

    priority: int = priorities.DEFAULT
    not_before: str | None = None
    expires_at: str | None = None
    webhook: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for a priority that is none."""
        if not priorities.HIGHEST <= self.priority <= priorities.LOWEST:
            raise UsageError(f"priority is {self.priority!r}", "Give 1 (highest), 2, 3, 4 or 5.")

    def __iter__(self) -> Iterator[Any]:
        """Priority, not before, not after, webhook."""
        return iter((self.priority, self.not_before, self.expires_at, self.webhook))

    def as_dict(self, **besides: Any) -> dict[str, Any]:
        """The JSON form, without what was not said."""
        said = {"priority": self.priority, "not_before": self.not_before, "expires_at": self.expires_at, **besides}
        said["webhook"] = self.webhook
        return {name: value for name, value in said.items() if value is not None}


@dataclass(slots=True)
class Answer:
    """What came of a task. `contract_id` is its REQUEST's; `failure` the kind of failure, None after success.

    `reused` are the contracts whose results a resumed pipeline took over (None: it was none that is resumed). `exit_code` and
    `stderr` (its end) are those of a program, after success as well; a program that a signal ended has 128 + its number.
    `stdout` is an output that is nearly JSON, and so is no data.
    """

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
    reused: list[str] | None = None
    exit_code: int | None = None
    stderr: str | None = None
    stdout: str | None = None

    def as_error(self) -> AorchError:
        """A failure as what could be raised."""
        return (self.failure or AgentFailed)(self.error or "", self.hint)

    def as_dict(self) -> AnswerDict:
        """The seed document's response object, and how the program ended, if a program answered."""
        answer: AnswerDict = {
            "success": self.success,
            "data": self.data,
            "error": self.error,
            "contract_id": self.contract_id,
            "agent_id": self.agent_id,
            "session_id": self.session_id,
            "timestamp": self.timestamp,
        }
        if self.exit_code is not None:
            answer["exit_code"] = self.exit_code
        if self.stderr is not None:
            answer["stderr"] = self.stderr
        return answer


def recorded(request: dict[str, Any], response: dict[str, Any]) -> Answer:
    """The answer that these two contracts (JSON forms) are the record of, but for its hint, which is in no contract."""
    about = response["metadata"]
    succeeded = response["status"] == "completed"
    agent_id = request["to_agent"] or response["from_agent"]
    return Answer(
        success=succeeded,
        data=response["result"],
        error=response["error"],
        contract_id=request["contract_id"],
        agent_id=None if agent_id == ORCHESTRATOR else agent_id,
        session_id=request["session_id"],
        timestamp=response["created_at"],
        duration_ms=number_in(about, "duration_ms") or 0.0,
        failure=None if succeeded else _ERRORS.get(text_in(about, "code") or "", AgentFailed),
        exit_code=code if type(code := about.get("exit_code")) is int else None,
        stderr=text_in(about, "stderr"),
        stdout=text_in(about, "stdout"),
    )


def named_session(session_id: str) -> str:
    """`session_id`, which a caller gave to a new task. Raises UsageError if it is too long.

    A Task takes a longer one, because a ledger that was imported may have it.
    """
    if isinstance(session_id, str) and len(session_id) > LONGEST_SESSION_ID:
        raise UsageError(
            f"session_id has {len(session_id):,} characters; the limit is {LONGEST_SESSION_ID}", "Use a shorter one."
        )
    return session_id


def _check_objects(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, dict):
            raise UsageError(f"{name} must be a JSON object, not {jsonio.encode(value)[:80]}")


def _check_text(name: str, value: object, *, needed: bool) -> None:
    if isinstance(value, str) and value and value.isascii() and "\x00" not in value:
        return
    if not isinstance(value, str) or (needed and not value):
        raise UsageError(f"{name} must be a text that is not empty, not {value!r}")
    if jsonio.storable_text(value) != value:
        raise UsageError(f"{name} holds U+0000 or is not valid Unicode: {value!r}")
