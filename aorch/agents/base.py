"""The base class of agents, and the capabilities that they offer."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, NotRequired, TypedDict

from aorch.process.threads import in_thread


class AgentTask(TypedDict):
    """The argument of `execute`. `task_id` is the contract ID of the REQUEST."""

    task_id: str
    session_id: str
    capability: str
    parameters: dict[str, Any]
    context: dict[str, Any]
    metadata: NotRequired[dict[str, Any]]


class AgentUsage(TypedDict):
    """The number of tokens that a model used for a task; None: unknown. `cached` is the part of `input` read from a cache."""

    input: int | None
    output: int | None
    cached: int | None


class AgentAnswer(TypedDict, total=False):
    """The result of `execute`: `success` with `data` (any JSON), or `success` False with `error` (a sentence).

    The other keys go into the metadata of the RESPONSE: what a model reports, and what a program printed.
    """

    success: bool
    data: Any
    error: str | None
    provider: str
    model: str
    stop_reason: str
    usage: AgentUsage
    exit_code: int
    stderr: str
    stdout: str


class AgentStatus(StrEnum):
    """Whether an agent can take a task. Tasks are routed to agents that are `available` or `busy`."""

    AVAILABLE = "available"
    BUSY = "busy"
    """It runs as many tasks as it can; further tasks wait."""
    OFFLINE = "offline"
    """It cannot be reached."""
    ERROR = "error"
    """It cannot run tasks: its program does not exist, its class does not load, a variable is not set."""
    DRAINING = "draining"
    """It finishes its tasks and takes no new ones."""


class AgentState(NamedTuple):
    """The result of `Agent.probe`. `reason` is a sentence; `since` (RFC 3339) is set when the state is recorded."""

    status: AgentStatus = AgentStatus.AVAILABLE
    reason: str | None = None
    since: str = ""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task is tried in all (`attempts`), if that is safe: the agent was not reached, was busy, or was lost and the
    capability is idempotent. Each pause before a retry by the same agent is twice as long as the last, from `backoff_s`
    (seconds); if the agent said when it can be called again, it is called then. `never` lists codes of errors that are not
    retried.
    """

    attempts: int = 3
    backoff_s: float = 1.0
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentCapability:
    """A named skill.

    `parameters` is either the short form (`{"text": "string"}`: the types of the parameters that are given) or a JSON Schema
    (draft 2020-12, or the draft in `$schema`). The parameters of a task are validated before the agent is called.
    `idempotent`: running a task twice has the same effect as once. Only such tasks run again after a crash. `retry`: how often
    a task is tried. Among agents with the same capability, those with the lowest `priority` (1 to 5) are preferred while they
    have free slots; `weight` is the share of tasks that an agent gets.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    idempotent: bool = False
    retry: RetryPolicy = RetryPolicy()
    priority: int = 3
    weight: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: `name`, `description`, `parameters`, `idempotent`."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "idempotent": self.idempotent,
        }


@dataclass(frozen=True, slots=True)
class AgentMetadata:
    """The description of an agent."""

    agent_id: str
    name: str
    description: str = ""
    version: str = ""
    capabilities: list[AgentCapability] = field(default_factory=list)
    status: AgentStatus = AgentStatus.AVAILABLE
    endpoint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "agent_id": self.agent_id,
            "name": self.name,
            "description": self.description,
            "version": self.version,
            "capabilities": [capability.as_dict() for capability in self.capabilities],
            "status": self.status.value,
            "endpoint": self.endpoint,
        }


class CutOff(asyncio.CancelledError):
    """Raised by a cancelled agent, with its `answer` so far: `data`, `stderr`."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__()
        self.answer = answer


class Agent(ABC):
    """Something that executes tasks.

    Extend it, call `super().__init__`, and implement `execute` and `get_capabilities`. `concurrency` is the number of tasks that
    it runs at once (None: any number); `rate_per_min` how often it is called in a minute, by all processes of a ledger together
    (None: any number of times), which then also share `concurrency`; `timeout_s` its time limit in seconds (None: the
    configured one); `idle_timeout_s` the seconds that it may work without reporting progress (None: any); `grace_s` the
    seconds that it may take to clean up after its task was cancelled (None: any). `labels` are what callers can require of
    it. `version` and `endpoint` (what is called outside this process; None for code in it) are shown in lists.
    """

    kind: ClassVar[str] = "python"
    version: str = ""
    concurrency: int | None = None
    shares_concurrency: bool = False
    """Whether `concurrency` holds for all processes of a ledger together, as it does if aorch.toml sets it."""
    rate_per_min: float | None = None
    timeout_s: float | None = None
    idle_timeout_s: float | None = None
    grace_s: float | None = 5.0
    discovers: bool = False
    """Whether `probe` finds out its capabilities. `get_capabilities` is then called again after each probe."""
    is_remote: ClassVar[bool] = False
    """Whether the ledger has its state, which one process per ledger checks if the agent has `health`."""
    health: bool = True
    """Whether a remote agent is checked by itself, not only by its tasks."""
    check_timeout_s: float = 5.0
    """How long `open` and `probe` together may take."""

    endpoint: str | None = None
    labels: Mapping[str, str] = {}
    secret_env: Sequence[str] = ()
    """The environment variables with its secrets. aorch replaces their values in everything that the agent sends back."""

    def __init__(
        self,
        agent_id: str,
        name: str,
        description: str = "",
        version: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        self.agent_id = agent_id
        self.name = name
        self.description = description
        if version is not None:
            self.version = version
        if endpoint is not None:
            self.endpoint = endpoint

    @abstractmethod
    def execute(self, task: Any) -> Awaitable[Mapping[str, object]] | Mapping[str, object]:
        """Run the task and return `{"success": True, "data": …}` or `{"success": False, "error": "…"}`.

        `task` is a dict with `task_id` (the contract ID of the REQUEST), `session_id`, `capability`, `parameters` and `context`.
        If you annotate it as `AgentTask` and the result as `AgentAnswer`, type checkers find misspelt keys. An `async
        def` runs on the event loop; a plain `def` runs in a thread, and at most 64 such threads run at once. A thread
        that is still running after the time limit of its task counts against `concurrency` until it ends.
        """

    @abstractmethod
    def get_capabilities(self) -> list[AgentCapability]:
        """The capabilities of this agent. They are read once, when the agent is registered (but see `discovers`)."""

    def can_handle(self, capability: str) -> bool:
        """Whether it has this capability."""
        return any(each.name == capability for each in self.get_capabilities())

    def get_metadata(self) -> AgentMetadata:
        """The agent's description and status."""
        status = AgentStatus.AVAILABLE if self.problem() is None else AgentStatus.ERROR
        return AgentMetadata(
            self.agent_id, self.name, self.description, self.version, self.get_capabilities(), status, self.endpoint
        )

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form: `agent_id`, `name`, `description`, `version`, `capabilities`, `status`, `endpoint`."""
        return self.get_metadata().to_dict()

    def may_offer(self, capability: str) -> bool:
        """Whether an agent that `discovers` its capabilities may have this one. Those that may are probed to find out."""
        return True

    def variables(self) -> list[str]:
        """The names of the environment variables that its program gets in addition to those of this process."""
        return []

    def preview(self, task: AgentTask) -> dict[str, str]:
        """What `execute` would send or run for `task`, as labelled texts such as `{"command": "wc -w"}`. Runs nothing."""
        return {}

    def changes(self) -> list[str]:
        """What has changed on its server since its capabilities were kept, one phrase for each. See RefreshableAgent."""
        return []

    def adopt_changes(self, recorded: str | None) -> None:  # noqa: B027  most agents have none
        """Take over the `changes` that another process has recorded in the ledger (a JSON list; None: none)."""

    def asks_for(self) -> list[str]:
        """The capabilities of other agents that it calls, as far as they are known before it runs."""
        return []

    def problem(self) -> str | None:
        """Why this agent cannot take a task now, or None. It must be a quick check of this machine, without network access.

        It is called in a thread: before the first task, after a failed task, and from time to time. See `probe`.
        """
        return None

    async def open(self) -> None:  # noqa: B027  most agents keep nothing
        """Acquire what the agent keeps between tasks, such as a connection. Called once, before the first task. If it
        raises an exception, the agent has the status `error`, and `open` is retried later.
        """

    async def close(self) -> None:  # noqa: B027  likewise
        """Release what `open` has acquired. Called after the last task, and only after a successful `open`."""

    async def probe(self) -> AgentState:
        """Check whether the agent can take tasks. An exception, or no result in time (`check_timeout_s`), means that it cannot.

        The default calls `problem` in a thread.
        """
        reason = await in_thread(self.problem)
        return AgentState(AgentStatus.ERROR, reason) if reason else AgentState()
