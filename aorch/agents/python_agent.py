"""Python agents: classes and functions that aorch.toml or an installed package names as `module:Class`."""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from aorch.agents.agent_checks import capabilities_of
from aorch.agents.agent_kind import AddOption, AddRequest, AgentConfig, AgentKind
from aorch.agents.base import Agent, AgentCapability
from aorch.agents.function import agent_of_function, agent_of_module, declared
from aorch.config.settings import Config
from aorch.errors import AorchError, ConfigInvalid


class ClassConfig(AgentConfig, frozen=True):
    """`[agents.ID]` with `class`: a Python class, made with the keyword arguments `arguments`."""

    class_path: str = msgspec.field(name="class")
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class ClassKind(AgentKind[ClassConfig]):
    """Python classes: `class` in aorch.toml, `--class` of `aorch agents add`."""

    key, title = "class", "a Python class"
    config = ClassConfig
    example = "aorch agents add --class my_agents:MyAgent"
    options = (
        AddOption(
            "--class",
            "MODULE:CLASS",
            "Python class, function with @capability, or MODULE with several of them. It gives the agent its ID.",
        ),
        AddOption("--argument", "KEY=VALUE", "Keyword argument for the class; repeatable.", pairs=True),
    )

    def make(self, agent_id: str, table: ClassConfig, config: Config, secrets: frozenset[str]) -> Agent:
        """An object of the class, or a BrokenAgent."""
        try:
            agent = load(table.class_path, table.arguments, config.file.parent if config.file else None)
        except (Exception, SystemExit) as error:  # noqa: BLE001  importing and making the class runs its author's code
            return BrokenAgent(agent_id, reason(table.class_path, error))
        if agent.agent_id != agent_id:
            other = f"{table.class_path} has the ID {agent.agent_id!r}; rename its table to [agents.{agent.agent_id}]"
            return BrokenAgent(agent_id, other)
        return agent

    def table_of(self, request: AddRequest) -> tuple[str, dict[str, Any]]:
        """The class sets its own ID and capabilities. Raises ConfigInvalid if it cannot be loaded."""
        self.reject(
            request,
            {
                "an ID (the class sets its own)": request.agent_id,
                "--capability": request.capabilities,
                "a program after --": request.words,
            },
        )
        class_path, arguments = request.options["class"], request.options.get("argument", {})
        try:
            agent = load(class_path, arguments, request.folder)
        except (Exception, SystemExit) as error:
            where = f"aorch looks for modules in {request.folder}, then among the installed packages."
            hint = where if isinstance(error, ImportError) else getattr(error, "hint", "")
            raise ConfigInvalid(reason(class_path, error), hint) from error
        given = {"arguments": arguments} if arguments else {}
        return agent.agent_id, {"class": class_path, **given, **request.common}


KIND = ClassKind()


class BrokenAgent(Agent):
    """Replaces an agent that could not be loaded. It is listed with the reason, and the other agents still work."""

    def __init__(self, agent_id: str, reason: str) -> None:
        super().__init__(agent_id, agent_id, reason)
        self.reason = reason

    def get_capabilities(self) -> list[AgentCapability]:
        """Empty, because only the agent's own code knows them."""
        return []

    def problem(self) -> str | None:
        """The reason why the agent could not be loaded."""
        return self.reason

    def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """A failure with the reason. No task is routed here."""
        return {"success": False, "error": self.reason}


def load(class_path: str, arguments: dict[str, Any], folder: Path | None = None) -> Agent:
    """The agent that `module:Class`, `module:function` or `module` names. The module is searched for in `folder`, then among
    the installed packages.

    Raises AorchError if that is not an agent, and any exception that the module or the class raises.
    """
    if folder and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module_name, colon, name = class_path.partition(":")
    if not module_name or (colon and not name):
        raise AorchError("its form must be MODULE:CLASS, MODULE:FUNCTION or MODULE, such as my_agents:MyAgent")
    module = importlib.import_module(module_name)
    agent = _made(_member(module, name) if colon else module, arguments)
    capabilities_of(agent)
    return agent


def _member(module: ModuleType, name: str) -> Any:
    """What `name` is in `module`; `Class.function` is a static method or a class method."""
    owner: Any = module
    *path, last = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    if isinstance(owner, type) and inspect.isfunction(inspect.getattr_static(owner, last, None)):
        raise AorchError(
            f"{name} is a method of objects; write @staticmethod or @classmethod above it, or name a function"
        )
    return getattr(owner, last)


def _made(found: Any, arguments: dict[str, Any]) -> Agent:
    if isinstance(found, type) and issubclass(found, Agent):
        return found(**arguments)
    function = declared(found)
    if function is None and not isinstance(found, ModuleType):
        raise AorchError(
            "it is not a class that extends aorch.agents.Agent, and not a function with @capability",
            'Write @capability("NAME") above the function, or let the class extend Agent (`aorch help --docs agents`).',
        )
    if arguments:
        raise AorchError("a function takes no `arguments` from aorch.toml; the tasks have its parameters")
    return agent_of_module(found) if function is None else agent_of_function(function)


def reason(class_path: str, error: BaseException) -> str:
    """Why the class could not be loaded, in one line."""
    why = str(error) if isinstance(error, AorchError) else f"{type(error).__name__}: {error}"
    return f"cannot load {class_path}: {why}"
