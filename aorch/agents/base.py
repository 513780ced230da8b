"""What an agent is: the class to extend, and the capability that it offers."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, NotRequired, TypedDict


class AgentTask(TypedDict):
    """What `execute` is given. `task_id` is the REQUEST's contract id."""

    task_id: str
    session_id: str
    capability: str
    parameters: dict[str, Any]
    context: dict[str, Any]
    metadata: NotRequired[dict[str, Any]]


class AgentAnswer(TypedDict, total=False):
    """What `execute` returns: `success` with `data` (any JSON), or `success` False with `error` (a sentence)."""

    success: bool
    data: Any
    error: str | None


class AgentStatus(StrEnum):
    """How an agent stands."""

    AVAILABLE = "available"
    BUSY = "busy"
    OFFLINE = "offline"
    ERROR = "error"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class AgentCapability:
    """A named skill.

    `parameters` is either the loose form (`{"text": "string"}`: types that are checked where a value is given) or a JSON
    Schema (draft 2020-12, or the one its `$schema` names) that parameters must satisfy before the agent is called.
    `idempotent` says that doing a task twice comes to the same as once: only then is it done again after a crash.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    idempotent: bool = False

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
    """What an agent says about itself."""

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
    """Raised by an agent that is cancelled, with the `answer` that it can give so far: `data`, `stderr`."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__()
        self.answer = answer


class Agent(ABC):
    """Something that executes tasks.

    Extend it, call `super().__init__`, and implement `execute` and `get_capabilities`. `concurrency` is how many tasks it
    takes at a time (None: as many as come); `timeout_s` its own limit in seconds (None: the configured one); `grace_s` how
    many seconds it may take to clean up once its task is cancelled, before it is left alone (None: however many it takes).
    `version` and `endpoint` (what is called outside this process; None for code in it) are for people to see.
    """

    kind: ClassVar[str] = "python"
    version: str = ""
    concurrency: int | None = None
    timeout_s: float | None = None
    grace_s: float | None = 5.0

    endpoint: str | None = None

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
        """Do the task and answer `{"success": True, "data": …}` or `{"success": False, "error": "…"}`.

        `task` is a dict with `task_id` (the REQUEST's contract id), `session_id`, `capability`, `parameters` and `context`:
        annotate it as `AgentTask` and the answer as `AgentAnswer`, and type checkers find a misspelt key. An `async def` runs
        on the event loop; a plain `def` runs in a thread, and up to 64 such threads at a time.
        A thread that runs on after the task's time was up keeps its place of the agent's `concurrency` until it ends.
        """

    @abstractmethod
    def get_capabilities(self) -> list[AgentCapability]:
        """What this agent can do."""

    def can_handle(self, capability: str) -> bool:
        """Whether it has that capability."""
        return any(each.name == capability for each in self.get_capabilities())

    def get_metadata(self) -> AgentMetadata:
        """What it says about itself now."""
        status = AgentStatus.AVAILABLE if self.problem() is None else AgentStatus.ERROR
        return AgentMetadata(
            self.agent_id, self.name, self.description, self.version, self.get_capabilities(), status, self.endpoint
        )

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form: `agent_id`, `name`, `description`, `version`, `capabilities`, `status`, `endpoint`."""
        return self.get_metadata().to_dict()

    def variables(self) -> list[str]:
        """The names of the environment variables that its program is given besides those of this process."""
        return []

    def asks_for(self) -> list[str]:
        """The capabilities that it needs others to have, where that is known before it is called."""
        return []

    def problem(self) -> str | None:
        """Why this agent cannot take a task now, or None. `aorch agents check` asks it."""
        return None
