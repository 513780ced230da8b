"""What an agent is: the class to extend, and the capability that it offers."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, ClassVar


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


class Agent(ABC):
    """Something that executes tasks.

    Extend it, call `super().__init__`, and implement `execute` and `get_capabilities`. `concurrency` is how many tasks it
    takes at a time (None: as many as come); `timeout_s` its own limit in seconds (None: the configured one); `grace_s` how
    many seconds it may take to clean up once its task is cancelled, before it is left alone (None: however many it takes).
    """

    kind: ClassVar[str] = "python"
    version: str = ""
    concurrency: int | None = None
    timeout_s: float | None = None
    grace_s: float | None = 5.0

    def __init__(self, agent_id: str, name: str, description: str = "") -> None:
        self.agent_id = agent_id
        self.name = name
        self.description = description

    @abstractmethod
    def execute(self, task: dict[str, Any]) -> Awaitable[dict[str, Any]] | dict[str, Any]:
        """Do the task and answer `{"success": True, "data": …}` or `{"success": False, "error": "…"}`.

        `task` has `task_id` (the REQUEST's contract id), `session_id`, `capability`, `parameters` and `context`. An
        `async def` runs on the event loop; a plain `def` runs in a thread of its own.
        """

    @abstractmethod
    def get_capabilities(self) -> list[AgentCapability]:
        """What this agent can do."""

    def endpoint(self) -> str | None:
        """What is called outside this process, for people to see; None for code in it."""
        return None

    def variables(self) -> list[str]:
        """The names of the environment variables that its program is given besides those of this process."""
        return []

    def asks_for(self) -> list[str]:
        """The capabilities that it needs others to have, where that is known before it is called."""
        return []

    def problem(self) -> str | None:
        """Why this agent cannot take a task now, or None. `aorch agents check` asks it."""
        return None
