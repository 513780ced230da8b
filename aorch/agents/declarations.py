"""Agents added to and removed from aorch.toml."""

import re
from pathlib import Path

from aorch.agents import entry_points, kinds, mcp_lock
from aorch.agents.agent_kind import AddRequest
from aorch.agents.example import ExampleAgent
from aorch.config import config_file, toml_edit
from aorch.config.settings import Config
from aorch.errors import Conflict, NotFound, UsageError

_ID = re.compile(r"[\w.:-]{1,255}")


def file_of(config: Config) -> Path:
    """The aorch.toml to which agents are added: the one in use, otherwise a new one in the working directory."""
    return config.file or config_file.working_folder() / config_file.FILE_NAME


def add(config: Config, request: AddRequest) -> list[str]:
    """Add the agents to `file_of(config)` and return their IDs.

    Raises UsageError or ConfigInvalid for an invalid request, and Conflict if an ID is in use; then no agent is added.
    """
    kind = kinds.requested(request)
    tables = kind.tables_of(request)
    file = file_of(config)
    for agent_id, table in tables:
        if not _ID.fullmatch(agent_id):
            raise UsageError(
                f"invalid agent ID {agent_id!r}", "Use 1 to 255 letters, digits and the characters . _ - : in the ID."
            )
        kinds.decode(None, agent_id, table)
        _reject_taken(config, file, agent_id)
    for agent_id, table in tables:
        toml_edit.add_table(file, "agents", agent_id, table)
    return [agent_id for agent_id, _ in tables]


def _reject_taken(config: Config, file: Path, agent_id: str) -> None:
    if agent_id in config.agents:
        raise Conflict(
            f"{file} already declares an agent {agent_id!r}", f"Remove it first with `aorch agents remove {agent_id}`."
        )
    if agent_id in config.pipelines:
        raise Conflict(f"a pipeline {agent_id!r} is declared in {file}", "Choose another ID.")
    if agent_id == ExampleAgent().agent_id or agent_id in (
        entry_points.agent_of(each).agent_id for each in entry_points.entries()
    ):
        raise Conflict(f"aorch or a package already has an agent {agent_id!r}", "Choose another ID.")


def remove(config: Config, agent_id: str) -> Path:
    """Remove the agent from aorch.toml and return that file. Raises NotFound if the file does not declare the agent."""
    if agent_id in config.pipelines:
        raise NotFound(
            f"{agent_id!r} is a pipeline, not an agent", f"Remove [pipelines.{agent_id}] from {config.file} by hand."
        )
    if agent_id == ExampleAgent().agent_id and agent_id not in config.agents:
        raise NotFound(
            f"agent {agent_id!r} is built in and cannot be removed", "Remove only agents that aorch.toml declares."
        )
    if config.file is None:
        raise NotFound(
            f"agent {agent_id!r} not found: there is no aorch.toml", "List the agents with `aorch agents list`."
        )
    if agent_id not in config.agents:
        raise NotFound(
            f"{config.file} does not declare an agent {agent_id!r}",
            "List the agents with `aorch agents list`. One that registered itself is removed over HTTP: DELETE /v1/agents/ID.",
        )
    toml_edit.remove_table(config.file, "agents", agent_id)
    mcp_lock.forget(config.file, agent_id)
    return config.file
