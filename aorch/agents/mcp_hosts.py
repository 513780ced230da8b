"""The MCP servers in the configuration of another host, as tables of aorch.toml.

The files have an object `mcpServers` (`.mcp.json` of Claude Code, `claude_desktop_config.json`, `.cursor/mcp.json`) or
`servers` (`.vscode/mcp.json`), whose entries have `command`, `args`, `env` and `cwd`, or `url` and `headers`. VS Code's may have
comments, which JSON does not have.
"""

import re
from pathlib import Path
from typing import Any

from aorch import jsonio
from aorch.config import config_file, environment
from aorch.errors import InvalidJSON, NotFound, UsageError

_REFERENCE = re.compile(r"\$\{(?:(env|input):)?([^}:]*)(:-[^}]*)?\}")
"""`${NAME}`, `${NAME:-default}` and `${env:NAME}` name variables; `${input:id}` is a question of VS Code."""
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
Table = tuple[str, dict[str, Any]]


def tables(name: str, agent_id: str, folder: Path) -> list[Table]:
    """The ID and the table of each server in the file `name`, or only of `agent_id` if that is not empty, for an aorch.toml in
    `folder`.

    Values of variables and headers that may be secrets are not copied: the table names a variable instead. Raises UsageError,
    which names the file, and NotFound.
    """
    file = config_file.absolute(name, "--mcp-config")
    servers = _servers(file)
    if agent_id:
        if agent_id not in servers:
            raise NotFound(f"{file} has no MCP server {agent_id!r}", f"Its servers: {', '.join(servers)}.")
        servers = {agent_id: servers[agent_id]}
    return [(each, _table(file, each, entry, folder)) for each, entry in servers.items()]


def _servers(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"--mcp-config: file not found: {file}", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--mcp-config: cannot read {file}: {error}") from error
    for pattern in (_COMMENT, _TRAILING_COMMA):
        text = pattern.sub(lambda found: found[1] or "", text)
    try:
        content = jsonio.decode(text)
    except InvalidJSON as error:
        raise UsageError(f"--mcp-config: {file} is {error}") from error
    for key in ("mcpServers", "servers"):
        if isinstance(content, dict) and isinstance(servers := content.get(key), dict) and servers:
            return servers
    raise UsageError(f"--mcp-config: {file} has no MCP servers", "They are expected in `mcpServers` or `servers`.")


def _table(file: Path, name: str, entry: Any, folder: Path) -> dict[str, Any]:
    where = f"--mcp-config: the server {name!r} in {file}"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is not an object")
    if entry.get("type") == "sse":
        raise UsageError(f"{where} uses SSE, an older transport that aorch does not have", "Look for its URL for HTTP.")
    env, headers = _texts(where, entry, "env"), _texts(where, entry, "headers")
    if isinstance(url := entry.get("url"), str):
        table: dict[str, Any] = {"mcp": _literal(where, url, file)}
        if headers:
            table["headers"] = {key: _secret(where, name, key, value, file) for key, value in headers.items()}
        return table
    command, arguments = entry.get("command"), entry.get("args", [])
    if not isinstance(command, str) or not isinstance(arguments, list):
        raise UsageError(f"{where} has neither `url` nor `command` with a list of `args`")
    table = {"mcp": [_literal(where, str(word), file) for word in (command, *arguments)]}
    if cwd := entry.get("cwd"):
        table["cwd"] = _literal(where, str(cwd), file)
    elif _is_of_project(file) and _root(file) != folder:
        table["cwd"] = str(_root(file))
    if env:
        table["env"] = {key: _variable(where, key, value, file) for key, value in env.items()}
    return table


def _is_of_project(file: Path) -> bool:
    """Whether the host starts these servers in the directory of a project."""
    return file.name == ".mcp.json" or file.parent.name in (".vscode", ".cursor")


def _root(file: Path) -> Path:
    """The directory of the project, for a file of a project."""
    folder = file.parent
    return folder.parent if folder.name in (".vscode", ".cursor") else folder


def _texts(where: str, entry: dict[str, Any], key: str) -> dict[str, str]:
    found = entry.get(key) or {}
    if not isinstance(found, dict):
        raise UsageError(f"{where}: `{key}` is not an object")
    return {str(name): str(value) for name, value in found.items()}


def _literal(where: str, text: str, file: Path) -> str:
    """`text` with its references replaced: a command line or a URL cannot name variables."""

    def value(found: re.Match[str]) -> str:
        source, name, default = found.groups()
        if source == "input":
            raise UsageError(f"{where} asks for the input {name!r}", "Add the server with `aorch agents add ID --mcp`.")
        if name in ("workspaceFolder", "userHome"):
            return str(_root(file) if name == "workspaceFolder" else Path.home())
        current = environment.get(name)
        if current is None and default is None:
            raise UsageError(f"{where} refers to {name}, which is not set", f"Set {name} and try again.")
        return current if current is not None else default.removeprefix(":-")

    return _REFERENCE.sub(value, text)


def _variable(where: str, key: str, value: str, file: Path) -> str:
    """The value of an environment variable; one that seems to hold a secret is taken from a variable of that name."""
    if environment.is_secret_name(key) and not _REFERENCE.search(value):
        return f"${key}"
    return _with_variables(where, value, file)


def _secret(where: str, name: str, key: str, value: str, file: Path) -> str:
    """The value of a header; a literal token is taken from a variable that is named after the server."""
    if _REFERENCE.search(value) or not (key.lower() == "authorization" or environment.is_secret_name(key)):
        return _with_variables(where, value, file)
    variable = re.sub(r"\W", "_", f"{name}_token", flags=re.ASCII).upper()
    scheme = re.match(r"\w+ ", value) if key.lower() == "authorization" else None
    return f"{scheme[0] if scheme else ''}${variable}"


def _with_variables(where: str, value: str, file: Path) -> str:
    """`value` with `$` doubled and its references in aorch's own form."""
    parts, end = [], 0
    for found in _REFERENCE.finditer(value):
        source, name, default = found.groups()
        parts.append(value[end : found.start()].replace("$", "$$"))
        if source == "input":
            name = re.sub(r"\W", "_", name, flags=re.ASCII).upper()
        is_name = re.fullmatch(r"\w+", name, re.ASCII) and name not in ("workspaceFolder", "userHome")
        unset = source is None and default is not None and environment.get(name) is None
        parts.append(f"${{{name}}}" if is_name and not unset else _literal(where, found[0], file).replace("$", "$$"))
        end = found.end()
    return "".join(parts) + value[end:].replace("$", "$$")
