"""Agents written into and struck from `aorch.toml`, whose comments and order are kept."""

import os
import tempfile
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from aorch import config as configuration
from aorch import config_file
from aorch.agents import loading
from aorch.config import Config
from aorch.core import bootstrap
from aorch.errors import AorchError, ConfigInvalid, Conflict, NotFound


def declare_command(config: Config, agent_id: str, table: dict[str, Any]) -> Path:
    """Write a command agent's table; the file that now holds it is returned.

    Raises Conflict where the id is taken, ConfigInvalid where the table would not be understood.
    """
    configuration.check_agent(agent_id, table)
    return _declare(config, agent_id, table)


def declare_class(config: Config, class_path: str, arguments: dict[str, Any]) -> tuple[str, Path]:
    """Write a Python agent's table under the id that the class gives itself. Raises ConfigInvalid where it cannot be made."""
    file = _file(config)
    try:
        agent = loading.make(class_path, arguments, file.parent)
    except (Exception, SystemExit) as error:
        where = f"A module is looked for beside {file} and among the installed packages."
        raise ConfigInvalid(
            loading.reason(class_path, error), where if isinstance(error, ImportError) else ""
        ) from error
    table = {"class": class_path, **({"arguments": arguments} if arguments else {})}
    return agent.agent_id, _declare(config, agent.agent_id, table)


def strike(config: Config, agent_id: str) -> Path:
    """Remove an agent's table. Raises NotFound where the file has none of that id."""
    if agent_id in config.pipelines:
        raise NotFound(f"{agent_id!r} is a pipeline and no agent", f"Strike [pipelines.{agent_id}] from {config.file}.")
    if config.file is None or agent_id not in config.agents:
        where = config.file or "a configuration file, and there is none"
        raise NotFound(f"no agent {agent_id!r} is declared in {where}", "See `aorch agents list`.")
    document = _read(config.file)
    del document["agents"][agent_id]
    _write(config.file, document)
    return config.file


def _declare(config: Config, agent_id: str, table: dict[str, Any]) -> Path:
    if agent_id in config.agents:
        raise Conflict(
            f"an agent {agent_id!r} is declared in {config.file}", f"First `aorch agents remove {agent_id}`."
        )
    if agent_id in config.pipelines:
        raise Conflict(f"a pipeline {agent_id!r} is declared in {config.file}", "Give yours another id.")
    if agent_id in (registered.agent.agent_id for registered in bootstrap.registry(config)):
        raise Conflict(
            f"an agent {agent_id!r} is there already, brought by aorch or a package", "Give yours another id."
        )
    file = _file(config)
    document = _read(file) if file.is_file() else tomlkit.document()
    agents = document.setdefault("agents", tomlkit.table(is_super_table=True))
    capabilities = table.pop("capabilities", {})
    written = tomlkit.item(table)
    if capabilities:
        written["capabilities"] = tomlkit.table(is_super_table=True)
        for name, capability in capabilities.items():
            parameters = capability.pop("parameters", None)
            written["capabilities"][name] = capability
            if parameters:
                inline = tomlkit.inline_table()
                inline.update(parameters)
                written["capabilities"][name]["parameters"] = inline
    agents[agent_id] = written
    _write(file, document)
    return file


def _file(config: Config) -> Path:
    """The file in force; where there is none, a new one here."""
    return config.file or config_file.working_folder() / config_file.FILE_NAME


def _read(file: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(file.read_text(encoding="utf-8"))
    except (OSError, TOMLKitError) as error:
        raise ConfigInvalid(f"{file} cannot be read: {error}") from error


def _write(file: Path, document: tomlkit.TOMLDocument) -> None:
    """Replace the file in one step: a reader sees the old one or the new one, and a kill leaves one of the two."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, prefix=".aorch-", delete=False) as new:
            new.write(tomlkit.dumps(document))
            new.flush()
            os.fsync(new.fileno())
        if file.exists():
            Path(new.name).chmod(file.stat().st_mode)
        Path(new.name).replace(file)
    except OSError as error:
        raise AorchError(f"{file} cannot be written: {error.strerror}") from error
