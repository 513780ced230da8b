"""`aorch.lock`: the tools of MCP servers, as they were when an agent was added or refreshed. Listing agents, completion and
routing read it instead of starting a server. It is JSON, because TOML has no null, and is next to aorch.toml.
"""

import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aorch import jsonio
from aorch.errors import ConfigInvalid

FILE_NAME = "aorch.lock"
VERSION = 1


class LockedTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool of a server. `parameters` is its JSON Schema; the other two are the hints of the server."""

    description: str = ""
    parameters: dict[str, Any] = {}
    read_only: bool = False
    idempotent: bool = False


Tools = dict[str, LockedTool]


class LockedServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tools of one agent, by name.

    `source` identifies the program or URL that listed them. `seen` are its tools of the last session if they differ (None: they
    do not).
    """

    source: str
    version: str = ""
    tools: Tools = {}
    seen: Tools | None = None

    def changes(self) -> list[str]:
        """What has changed on the server since its tools were written to the file, one phrase for each."""
        return [] if self.seen is None else differences(self.tools, self.seen)


class _Content(msgspec.Struct, omit_defaults=True):
    version: int
    agents: dict[str, LockedServer] = {}


def source_of(server: list[str] | str) -> str:
    """Identifies the program or URL without revealing a secret in it."""
    return f"{zlib.crc32(jsonio.encode_bytes(server)):08x}"


def differences(before: Tools, after: Tools) -> list[str]:
    """What has changed, one phrase for each tool."""
    found = [f"new tool {name}" for name in after if name not in before]
    for name, tool in before.items():
        if name not in after:
            found.append(f"{name} was removed")
            continue
        same = {
            "parameters": jsonio.encode(tool.parameters) == jsonio.encode(after[name].parameters),
            "description": tool.description == after[name].description,
            "hints": (tool.read_only, tool.idempotent) == (after[name].read_only, after[name].idempotent),
        }
        if changed := [what for what, is_same in same.items() if not is_same]:
            found.append(f"{name} has other {' and '.join(changed)}")
    return found


def read(config_file: Path | None, agent_id: str, source: str) -> LockedServer | None:
    """The tools of that agent; None if they were never listed, or by another `source`. Raises ConfigInvalid."""
    if config_file is None:
        return None
    found = _content(path_beside(config_file)).agents.get(agent_id)
    return found if found is not None and found.source == source else None


def path_beside(config_file: Path) -> Path:
    """The lock file of that aorch.toml."""
    return config_file.resolve().with_name(FILE_NAME)


def write(config_file: Path, agent_id: str, server: LockedServer) -> None:
    """Keep the tools of that agent. Durable when this returns. Raises AorchError if the file cannot be written."""

    def put(agents: dict[str, LockedServer]) -> None:
        agents[agent_id] = server

    _change(path_beside(config_file), put)


def forget(config_file: Path, agent_id: str) -> None:
    """Remove the tools of that agent, if the file has any."""
    if path_beside(config_file).exists():
        _change(path_beside(config_file), lambda agents: agents.pop(agent_id, None))


def _change(file: Path, change: Callable[[dict[str, LockedServer]], object]) -> None:
    from aorch.config import file_replacement  # noqa: PLC0415  most commands only read

    with file_replacement.locked(file.parent):
        agents = dict(_content(file).agents)
        before = dict(agents)
        change(agents)
        if agents != before:
            content = msgspec.json.encode(_Content(VERSION, dict(sorted(agents.items()))))
            file_replacement.replace(file, msgspec.json.format(content, indent=2) + b"\n")


def _content(file: Path) -> _Content:
    try:
        about = file.stat()
        return _parsed(file, about.st_mtime_ns, about.st_ino)
    except FileNotFoundError:
        return _Content(VERSION)
    except OSError as error:
        raise ConfigInvalid(f"cannot read {file}: {error.strerror}") from error


@functools.lru_cache(maxsize=8)
def _parsed(file: Path, _modified_ns: int, _inode: int) -> _Content:
    try:
        content = msgspec.json.decode(file.read_bytes(), type=_Content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigInvalid(
            f"{file} is not a lock file of aorch: {error}", "Remove it, and run `aorch agents refresh`."
        ) from error
    if content.version > VERSION:
        raise ConfigInvalid(f"{file} was written by a newer aorch (version {content.version})", "Upgrade aorch.")
    return content
