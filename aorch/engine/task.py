"""The data of a task: the caller's Task, the agent's Outcome, and the Answer to the caller."""

import math
from collections.abc import Mapping
from typing import Any, NotRequired, Protocol, Required, TypedDict

from msgspec import Struct

from aorch import jsonio
from aorch.agents.failure import text_of
from aorch.errors import AgentBusy, AgentFailed, AorchError, UsageError, by_code
from aorch.ids import new_id
from aorch.ledger import priorities
from aorch.ledger.record import ORCHESTRATOR, Record, number_in, text_in
from aorch.ledger.task_keys import TaskKey

_ERRORS = by_code()
_GENERATED, _ULID = "session_", 26

LONGEST_SESSION_ID = 255
"""Maximum length of the session id of a new task."""


class TaskDict(TypedDict, total=False):
    """The argument of `orchestrate` and `submit`: a Task as a dict, in which type checkers find a misspelt key."""

    capability: Required[str]
    parameters: dict[str, Any]
    context: dict[str, Any]
    agent_id: str | None
    require: dict[str, str]
    timeout_s: float | None
    from_agent: str | None
    parent_id: str | None
    metadata: dict[str, Any]


class AnswerDict(TypedDict):
    """The result of `orchestrate`. `contract_id` is the ID of the REQUEST, and `timestamp` is RFC 3339. The optional keys
    are set if a program answered.
    """

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
    """An answer that `map` yields, with its `item` (the parameters) and `index` (from 0)."""

    item: dict[str, Any]
    index: int


class Redaction(Protocol):
    """Replaces the secrets of a task (implemented in redaction.py). `secrets` are the texts in which they may appear."""

    secrets: Mapping[str, None]

    def value(self, value: Any) -> Any:
        """`value` (JSON) without secrets."""

    def progress(self, progress: Any) -> Any:
        """What an agent reports, without secrets."""

    def rest_of_text(self) -> str:
        """What `progress` held back of a text in pieces, which has ended."""

    def error(self, error: AorchError) -> AorchError:
        """`error` itself, without secrets in its message and its hints."""

    def outcome(self, outcome: "Outcome") -> "Outcome":
        """`outcome` itself, without secrets."""

    def request(self, request: Record) -> Record:
        """`request` without secrets."""

    def key(self, key: TaskKey | None) -> TaskKey | None:
        """`key` without a hash from which secrets can be guessed."""

    def reject_in_queue(self, task: "Task") -> None:
        """Raise ParametersInvalid if `task` contains secrets."""


class Task(Struct):
    """A task of a caller. `agent_id` requests one agent; `timeout_s` (seconds) overrides the agent's own timeout;
    `from_agent` is the caller (default: the agent whose code calls, or `orchestrator`); `parent_id` is the parent REQUEST.
    `metadata` is the caller's own; `annotations` are aorch's own entries in the REQUEST's metadata (step, resumes, …), and
    `queue` are the queue options. `idempotency` is committed with the REQUEST; a second REQUEST with the same key is
    rejected. If no agent is called, the key stays unused, unless `refusal_uses_key` is set. `require` are labels that the
    agent must have (`version` is one of them). The executor sets `redaction` if anything about the task must be redacted.
    """

    capability: str
    parameters: dict[str, Any] = {}
    session_id: str = ""
    context: dict[str, Any] = {}
    agent_id: str | None = None
    timeout_s: float | None = None
    from_agent: str | None = None
    parent_id: str | None = None
    metadata: dict[str, Any] = {}
    idempotency: TaskKey | None = None
    queue: dict[str, Any] = {}
    refusal_uses_key: bool = False
    annotations: dict[str, Any] = {}
    require: dict[str, str] = {}
    redaction: "Redaction | None" = None

    def __post_init__(self) -> None:
        """Raises UsageError for a field of the wrong shape."""
        for name, value in (("capability", self.capability), ("session_id", self.session_id)):
            if not (type(value) is str and value and value.isascii() and "\x00" not in value):
                _check_text(name, value, needed=True)
        for name, given in (
            ("agent_id", self.agent_id),
            ("from_agent", self.from_agent),
            ("parent_id", self.parent_id),
        ):
            if given is not None:
                _check_text(name, given, needed=False)
        if not (
            isinstance(self.parameters, dict) and isinstance(self.context, dict) and isinstance(self.metadata, dict)
        ):
            _check_objects(parameters=self.parameters, context=self.context, metadata=self.metadata)
        if self.require:
            _check_labels(self.require)
        if self.timeout_s is not None and not (
            isinstance(self.timeout_s, int | float) and 0 < self.timeout_s < math.inf
        ):
            raise UsageError(f"timeout_s must be a number of seconds above 0, not {self.timeout_s!r}")


class QueueOptions(Struct, frozen=True):
    """How a task waits in the queue: its `priority` from 1 (highest) to 5, the earliest start and the expiry (RFC 3339),
    and the URL to notify when it ends.
    """

    priority: int = priorities.DEFAULT
    not_before: str | None = None
    expires_at: str | None = None
    webhook: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for an invalid priority."""
        if not priorities.HIGHEST <= self.priority <= priorities.LOWEST:
            raise UsageError(f"invalid priority: {self.priority!r}", "Give 1 (highest), 2, 3, 4 or 5.")

    def as_dict(self, **others: Any) -> dict[str, Any]:
        """The JSON form of the options that are set, with `others` added."""
        options = {"priority": self.priority, "not_before": self.not_before, "expires_at": self.expires_at, **others}
        options["webhook"] = self.webhook
        return {name: value for name, value in options.items() if value is not None}


class Outcome(Struct):
    """The outcome of a task: `result` (with its JSON text). After a failure also `error`, the kind of `failure` and a hint;
    `result` is then set only if the agent returned data too. `delivered`: whether the agent received the task (None:
    unknown). `retry_safe`: whether the task can be run again without taking effect twice (None: it can if it was not
    delivered or its capability is idempotent). `retry_after_s`: when a busy agent can be called again, if it said so.
    `details` goes into the metadata of the RESPONSE.
    """

    result: Any = None
    result_text: str | None = None
    error: str | None = None
    failure: type[AorchError] | None = None
    hint: str = ""
    delivered: bool | None = True
    retry_safe: bool | None = None
    retry_after_s: float | None = None
    details: dict[str, Any] = {}
    duration_ms: float = 0.0


def outcome_of(error: AorchError, *, delivered: bool | None = True, details: dict[str, Any] | None = None) -> Outcome:
    """The outcome of a task that ended with `error`. An AgentFailed has its own `delivered`."""
    retry_safe = None
    if isinstance(error, AgentFailed):
        delivered, retry_safe = error.delivered, error.retry_safe
    after_s = error.retry_after_s if isinstance(error, AgentBusy) else None
    return Outcome(None, None, text_of(error), type(error), error.hint, delivered, retry_safe, after_s, details or {})


class Answer(Struct):
    """The answer to the caller of a task. `contract_id` is the ID of its REQUEST; `failure` is None after success.

    `reused` are the contracts whose results a resumed pipeline reused (None: not a resumed pipeline). `exit_code` and
    `stderr` (the end of it) are set if a program answered, also after success; after signal N the code is 128 + N. `stdout`
    is output that is almost JSON and therefore not data. `retry_after_s`: when a busy agent can be called again, if known.
    `capability` is the task's. `replayed`: the answer of a server to an earlier request with the same idempotency key.
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
    retry_after_s: float | None = None
    capability: str = ""
    replayed: bool = False

    def as_error(self) -> AorchError:
        """A failure as an exception."""
        if self.failure is AgentBusy:
            return AgentBusy(self.error or "", self.hint, retry_after_s=self.retry_after_s)
        return (self.failure or AgentFailed)(self.error or "", self.hint)

    def as_dict(self) -> AnswerDict:
        """The response object of the API; with `exit_code` and `stderr` if a program answered."""
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


def answer_from_contracts(request: dict[str, Any], response: dict[str, Any]) -> Answer:
    """The answer that these two contracts (JSON forms) record. It has no hint, because hints are not recorded."""
    about = response["metadata"]
    succeeded = response["status"] == "completed"
    agent_id = response["from_agent"]  # a further attempt may be made by another agent than the first
    if agent_id == ORCHESTRATOR:
        agent_id = request["to_agent"]
    return Answer(
        success=succeeded,
        data=response["result"],
        error=response["error"],
        contract_id=request["contract_id"],
        agent_id=agent_id,
        session_id=request["session_id"],
        timestamp=response["created_at"],
        duration_ms=number_in(about, "duration_ms") or 0.0,
        failure=None if succeeded else _ERRORS.get(text_in(about, "code") or "", AgentFailed),
        exit_code=code if type(code := about.get("exit_code")) is int else None,
        stderr=text_in(about, "stderr"),
        stdout=text_in(about, "stdout"),
        reused=found if isinstance(found := about.get("reused"), list) else None,
        capability=request.get("capability", ""),
    )


def named_session(session_id: str) -> str:
    """Return `session_id` for a new task. Raises UsageError if it is too long. A Task accepts longer ones, because an
    imported ledger may contain them.
    """
    if isinstance(session_id, str) and len(session_id) > LONGEST_SESSION_ID:
        raise UsageError(
            f"session_id has {len(session_id):,} characters; the limit is {LONGEST_SESSION_ID}", "Use a shorter one."
        )
    return session_id


def new_session_id() -> str:
    """A new session id for a task without one."""
    return f"{_GENERATED}{new_id()}"


def is_generated(session_id: str) -> bool:
    """Whether `session_id` has the form of `new_session_id`."""
    return session_id.startswith(_GENERATED) and len(session_id) == len(_GENERATED) + _ULID


def _check_objects(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, dict):
            raise UsageError(f"{name} must be a JSON object, not {jsonio.encode(value)[:80]}")


def _check_labels(require: object) -> None:
    if not (isinstance(require, dict) and all(isinstance(value, str) for pair in require.items() for value in pair)):
        raise UsageError(f"require must be an object of labels with text values, not {jsonio.encode(require)[:80]}")


def _check_text(name: str, value: object, *, needed: bool) -> None:
    if isinstance(value, str) and value and value.isascii() and "\x00" not in value:
        return
    if not isinstance(value, str) or (needed and not value):
        raise UsageError(f"{name} must be a non-empty string, not {value!r}")
    if jsonio.storable_text(value) != value:
        raise UsageError(f"{name} contains U+0000 or is not valid Unicode: {value!r}")
