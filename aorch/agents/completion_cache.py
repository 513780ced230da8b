"""The names of agents and capabilities that the shell completes, without importing any agent's code.

The names that aorch.toml declares come from there. The capabilities of Python agents are known only to their code, so they are
kept in the user's cache directory, one small file for each aorch.toml, which is written whenever declared agents or those of
packages load.
"""

import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aorch import jsonio
from aorch.agents import Agent, AgentCapability, entry_points, kinds
from aorch.agents.example import ExampleAgent
from aorch.agents.parameters import json_schema
from aorch.agents.registry import Registry
from aorch.config import cache_file, config_file
from aorch.config.settings import Config
from aorch.errors import InvalidJSON

Names = dict[str, dict[str, list[str]]]
"""Agent ids with their capabilities, and the names of the parameters of each."""


def remember(config: Config, agents: Registry) -> None:
    """Write the capabilities of the Python agents among `agents` to the cache. Without a cache, only completion lacks them."""
    path, key = _path_and_key(config)
    if path is None:
        return
    names = {
        each.agent.agent_id: _offered(each.capabilities.values()) for each in agents if each.agent.kind == Agent.kind
    }
    try:
        if not names:
            path.unlink(missing_ok=True)
        else:
            cache_file.keep(path, jsonio.encode_bytes({"file": key, "agents": names}))
    except (OSError, InvalidJSON):  # read-only home directory, full disk, or a name that is not valid UTF-8
        return


def known(config: Config) -> Names:
    """The agents in use, that are known without running the code of any agent. Raises ConfigInvalid."""
    names = {ExampleAgent().agent_id: _offered(ExampleAgent().get_capabilities())}
    for agent_id, capabilities in kinds.declared_capabilities(config).items():
        names[agent_id] = _offered(capabilities)
    for name, pipeline in config.pipelines.items():
        names[name] = {name: _parameter_names(pipeline.parameters)}
    return {**names, **_cached(config)}


def parameters(config: Config, capability: str) -> list[str]:
    """The names of the parameters of `capability`, of all agents that have it. Raises ConfigInvalid."""
    found = [name for offered in known(config).values() for name in offered.get(capability, ())]
    return list(dict.fromkeys(found))


def _offered(capabilities: Iterable[AgentCapability]) -> dict[str, list[str]]:
    return {each.name: _parameter_names(each.parameters) for each in capabilities}


def _parameter_names(declared: dict[str, Any]) -> list[str]:
    found = json_schema(declared).get("properties") if declared else None
    return list(found) if isinstance(found, dict) else []


def _cached(config: Config) -> Names:
    path, key = _path_and_key(config)
    try:
        kept = jsonio.decode(path.read_bytes()) if path else {}
        if kept["file"] != key:
            return {}
        from_packages = bool(entry_points.entries())
        return {
            str(agent_id): {str(name): [str(each) for each in parameters] for name, parameters in offered.items()}
            for agent_id, offered in kept["agents"].items()
            if from_packages or agent_id in config.agents  # it may have been removed from aorch.toml
        }
    except (OSError, InvalidJSON, KeyError, TypeError, AttributeError):  # missing, or not written by this version
        return {}


def _path_and_key(config: Config) -> tuple[Path | None, str]:
    """The cache file of this aorch.toml, and the key in it. Two keys with the same checksum only overwrite each other's file."""
    key = os.fsencode(config.file).decode("utf-8", "backslashreplace") if config.file else ""
    folder = config_file.cache_folder()
    return (folder / f"agents-{zlib.crc32(key.encode()):08x}.json" if folder else None), key
