"""From names to agents: `module:Class` of the configuration, and the entry point group `aorch.agents`."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aorch.agents.agent_checks import capabilities_of
from aorch.agents.base import Agent, AgentCapability
from aorch.agents.program import CommandAgent
from aorch.config.settings import AgentConfig, Config
from aorch.errors import AorchError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "aorch.agents"


class BrokenAgent(Agent):
    """Stands for an agent that could not be made, so that it is listed with the reason and the others still work."""

    def __init__(self, agent_id: str, kind: str, reason: str) -> None:
        super().__init__(agent_id, agent_id, reason)
        self.kind = kind  # type: ignore[misc]  # what it would have been
        self.reason = reason

    def get_capabilities(self) -> list[AgentCapability]:
        """None: what it could do is not known."""
        return []

    def problem(self) -> str | None:
        """The reason it could not be made."""
        return self.reason

    def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Never asked, since it has no capabilities; answers with the reason."""
        return {"success": False, "error": self.reason}


def configured(config: Config) -> Iterator[Agent]:
    """Each agent of the configuration, in the file's order; one that cannot be made comes as a BrokenAgent."""
    for agent_id, declared in config.agents.items():
        if declared.command is not None:
            yield CommandAgent(agent_id, declared, config)
        else:
            yield _python_agent(agent_id, declared, config.file)


def installed() -> Iterator[Agent]:
    """Each agent that an installed package offers by the entry point group `aorch.agents`."""
    if not _some_package_offers_agents():
        return
    from importlib.metadata import entry_points  # noqa: PLC0415  11 ms, only where a package offers agents

    for entry in entry_points(group=GROUP):
        yield _entry_point_agent(entry)


def _python_agent(agent_id: str, declared: AgentConfig, file: Path | None) -> Agent:
    class_path = declared.class_path or ""
    try:
        agent = make(class_path, declared.arguments, file.parent if file else None)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a stranger's code may raise anything while it is imported or made
        return BrokenAgent(agent_id, "python", reason(class_path, error))
    if agent.agent_id != agent_id:
        other = f"{class_path} calls itself {agent.agent_id!r}; name its table [agents.{agent.agent_id}]"
        return BrokenAgent(agent_id, "python", other)
    agent.timeout_s = declared.timeout_s or agent.timeout_s
    agent.concurrency = declared.concurrency or agent.concurrency
    return agent


def make(class_path: str, arguments: dict[str, Any], folder: Path | None = None) -> Agent:
    """The agent that `module:Class` names; `folder` is looked into before the installed packages.

    Raises AorchError for a class that is none, and whatever the module or the class raises.
    """
    if folder and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module_name, colon, class_name = class_path.partition(":")
    if not (module_name and colon and class_name):
        raise AorchError("a class is named as module:Class")
    found = getattr(importlib.import_module(module_name), class_name)
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise AorchError("it is not a class that extends aorch.agents.Agent")
    agent = found(**arguments)
    capabilities_of(agent)
    return agent


def _entry_point_agent(entry: "EntryPoint") -> Agent:
    try:
        return make(entry.value, {})
    except (Exception, SystemExit) as error:  # noqa: BLE001  a stranger's code may raise anything while it is imported or made
        return BrokenAgent(entry.name, "python", reason(entry.value, error))


def reason(class_path: str, error: BaseException) -> str:
    """Why the class could not be made into an agent, in one line."""
    said = str(error) if isinstance(error, AorchError) else f"{type(error).__name__}: {error}"
    return f"{class_path} could not be loaded: {said}"


def _some_package_offers_agents() -> bool:
    """A look at the installed `entry_points.txt` files: 1 ms for 100 packages, where importlib.metadata takes 20."""
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")) and _offers_agents(Path(folder, name, "entry_points.txt")):
                return True
    return False


def _offers_agents(file: Path) -> bool:
    try:
        return f"[{GROUP}]".encode() in file.read_bytes()
    except OSError:
        return False
