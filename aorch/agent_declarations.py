"""Agents added to and removed from `aorch.toml`, whose comments, order, line endings, mode and place are kept.

Each change holds a lock on the file's folder from reading to writing, and is written only if the new text is valid TOML that
differs from the old one by exactly that agent.
"""

import codecs
import fcntl
import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from aorch import bootstrap
from aorch.agents import loader
from aorch.config import config_file, settings
from aorch.config.settings import Config
from aorch.errors import AorchError, ConfigInvalid, Conflict, NotFound


def declare_command(config: Config, agent_id: str, table: dict[str, Any]) -> Path:
    """Write a command agent's table; the file that now holds it is returned.

    Raises Conflict where the id is taken, ConfigInvalid where the table would not be understood.
    """
    settings.check_agent(agent_id, table)
    return _declare(config, agent_id, table)


def declare_class(config: Config, class_path: str, arguments: dict[str, Any]) -> tuple[str, Path]:
    """Write a Python agent's table under the id that the class gives itself. Raises ConfigInvalid where it cannot be made."""
    file = config.file or config_file.working_folder() / config_file.FILE_NAME
    try:
        agent = loader.make(class_path, arguments, file.parent)
    except (Exception, SystemExit) as error:
        where = f"A module is looked for beside {file} and among the installed packages."
        raise ConfigInvalid(
            loader.reason(class_path, error), where if isinstance(error, ImportError) else ""
        ) from error
    table = {"class": class_path, **({"arguments": arguments} if arguments else {})}
    return agent.agent_id, _declare(config, agent.agent_id, table)


def strike(config: Config, agent_id: str) -> Path:
    """Remove an agent's table. Raises NotFound if the file has none of that id."""
    if agent_id in config.pipelines:
        raise NotFound(
            f"{agent_id!r} is a pipeline, not an agent", f"Remove [pipelines.{agent_id}] from {config.file} by hand."
        )
    if config.file is None:
        raise NotFound(f"no agent {agent_id!r} is declared: there is no aorch.toml", "See `aorch agents list`.")

    def removed(text: str, before: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        agents = dict(before.get("agents", {}))
        if agents.pop(agent_id, None) is None:
            raise NotFound(f"no agent {agent_id!r} is declared in {config.file}", "See `aorch agents list`.")
        with suppress(TOMLKitError, KeyError, ValueError):  # a form that it cannot edit: the check below says so
            document = tomlkit.parse(text)
            del document["agents"][agent_id]
            text = tomlkit.dumps(document)
        return text, {**before, "agents": agents}

    _change(config.file, removed, f"Remove {agent_id!r} from [agents] by hand.")
    return config.file


def _declare(config: Config, agent_id: str, table: dict[str, Any]) -> Path:
    if agent_id in config.pipelines:
        raise Conflict(f"a pipeline {agent_id!r} is declared in {config.file}", "Choose another id.")
    if agent_id not in config.agents and agent_id in (each.agent.agent_id for each in bootstrap.registry(config)):
        raise Conflict(f"aorch or a package already has an agent {agent_id!r}", "Choose another id.")
    written = _as_toml(agent_id, table)
    file = config.file or config_file.working_folder() / config_file.FILE_NAME

    def added(text: str, before: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        agents = before.get("agents", {})
        if agent_id in agents:
            raise Conflict(f"an agent {agent_id!r} is declared in {file}", f"First `aorch agents remove {agent_id}`.")
        expected = {**before, "agents": {**agents, **tomllib.loads(written)["agents"]}}
        return f"{text.rstrip(NEWLINES)}\n\n{written}".lstrip("\n"), expected

    _change(file, added, f"Add it by hand:\n{written}")
    return file


def _as_toml(agent_id: str, table: dict[str, Any]) -> str:
    """The tables of an agent as text. Raises ConfigInvalid for a value that TOML does not have (null)."""
    capabilities = table.pop("capabilities", {})
    try:
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
        document = tomlkit.document()
        document["agents"] = tomlkit.table(is_super_table=True)
        document["agents"][agent_id] = written
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError) as error:
        raise ConfigInvalid(f"agent {agent_id!r} cannot be written as TOML: {error}") from error


NEWLINES = "\r\n"
Change = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]
"""From the text of the file and its content to the new text and the content that it must have."""


def _change(file: Path, change: Change, by_hand: str) -> None:
    """Apply `change`. Raises ConfigInvalid with `by_hand` as its hint, and writes nothing, if the result would be wrong."""
    target = file.resolve()  # a symbolic link stays one
    with _locked(target.parent):
        data = _read(target)
        text = config_file.read(target) if data else ""
        before = _parsed(target, text)
        is_crlf = "\n" in text and text.count("\n") == text.count("\r\n")
        changed, expected = change(text.replace("\r\n", "\n") if is_crlf else text, before)
        try:
            same = {"agents": {}, **tomllib.loads(changed)} == {"agents": {}, **expected}
        except tomllib.TOMLDecodeError:
            same = False
        if not same:
            raise ConfigInvalid(f"{file} is written in a form that aorch cannot edit (an inline table?)", by_hand)
        if is_crlf:
            changed = changed.replace("\n", "\r\n")
        _write(target, (codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b"") + changed.encode())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigInvalid(f"cannot read {file}: {error.strerror}") from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # changed since the configuration was loaded
        raise ConfigInvalid(f"{file}: {error}", "Fix the syntax error and try again.") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one process at a time changes the file in `folder`. The lock is the folder's own, so that none is left behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AorchError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(file: Path, data: bytes) -> None:
    """Replace the file in one step: a reader sees the old one or the new one, and a kill leaves one of the two."""
    unfinished = file.with_name(f".aorch-{os.getpid()}.toml")
    try:
        unfinished.unlink(missing_ok=True)  # of a process that was killed
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as new:  # noqa: PTH123  umask applies
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
            with suppress(FileNotFoundError):
                _copy_mode(file.stat(), new.fileno())
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise AorchError(f"cannot write {file}: {error.strerror}") from error


def _copy_mode(old: os.stat_result, descriptor: int) -> None:
    """Owner first, since a change of owner clears bits of the mode; only root may change it."""
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o7777)
