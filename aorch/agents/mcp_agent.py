"""MCP servers as agents: `mcp` in aorch.toml names a program or a URL. Each of its tools is a capability."""

import asyncio
import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aorch import logs
from aorch.agents import mcp_address, mcp_hosts, mcp_lock
from aorch.agents.agent_kind import (
    AddOption,
    AddRequest,
    AgentConfig,
    AgentKind,
    CapabilityConfig,
    check_positive,
    check_proxy,
)
from aorch.agents.base import AgentCapability, AgentState, AgentStatus, AgentTask
from aorch.agents.mcp_address import Server, ServerProgram, ServerUrl
from aorch.agents.mcp_lock import LockedServer
from aorch.agents.mcp_session import CONNECT_S, INSTALL_HINT, Listed, McpSession
from aorch.agents.refreshable import RefreshableAgent
from aorch.agents.secret_mask import masked, secrets_in
from aorch.agents.task_progress import current_call
from aorch.config import environment
from aorch.config.settings import Config
from aorch.errors import AgentFailed, AgentUnreachable, AorchError, ConfigInvalid, UsageError
from aorch.net.addresses import fault_of, holds_credentials
from aorch.process.per_loop import PerLoop
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from mcp_types import CallToolResult

_LOGGER = logs.ROOT.getChild("agents")


class McpConfig(AgentConfig, frozen=True):
    """`[agents.ID]` with `mcp`: an MCP server, as a program (a list) or a URL (a text)."""

    mcp: list[str] | str
    capabilities: dict[str, CapabilityConfig] = msgspec.field(default_factory=dict)
    expose: list[str] = msgspec.field(default_factory=list)
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    warm: bool = False
    refresh: Literal["manual", "auto"] = "manual"
    trust_annotations: bool = False
    max_output_bytes: int = 10 * 1024 * 1024
    proxy: str = ""

    def server(self, file: Path | None) -> Server:
        """The server, for the aorch.toml `file`. Raises UsageError if its directory cannot be determined."""
        if isinstance(self.mcp, str):
            return ServerUrl(self.mcp, self.headers, self.max_output_bytes, self.proxy)
        return ServerProgram(self.mcp, self.env, mcp_address.working_directory(self.cwd, file), self.max_output_bytes)


class McpAgent(RefreshableAgent):
    """Calls the tools of an MCP server. The capability of the tool `read_file` of the agent `files` is `files.read_file`.

    Its tools are those in aorch.lock. The server starts with the first task; with `warm`, when the agent is opened.
    """

    kind = "mcp"

    def __init__(self, agent_id: str, table: McpConfig, config: Config, secrets: frozenset[str] = frozenset()) -> None:
        """`secrets` names environment variables with secrets, of any agent."""
        super().__init__(agent_id, table.name or agent_id)
        self.table, self._file = table, config.file
        named = environment.variables_of(table.env.values())
        self.secret_env = [*KIND.secrets(table), *(name for name in named if name in secrets)]
        self._source = mcp_lock.source_of(table.mcp)
        self._fault = ""
        self._unsaved: AorchError | None = None
        self._server: Server | None = None
        self._locked: LockedServer | None = None
        try:
            self._locked, self._server = self._load(config)
        except AorchError as error:  # the other agents still work
            self._fault = str(error)
        self.endpoint = self._server.public() if self._server else None
        self.description = table.description or self.endpoint or ""
        self.version = self._locked.version if self._locked else ""
        table.apply(self)
        if not self.is_known:
            self.discovers, self.check_timeout_s = True, CONNECT_S
        self._sessions = PerLoop[McpSession](self._session_in)

    def _load(self, config: Config) -> tuple[LockedServer | None, Server]:
        """The tools that are kept (None: they were never listed), and the server. Raises AorchError."""
        locked = mcp_lock.read(config.file, self.agent_id, self._source)
        return locked, self.table.server(config.file)

    def _read_again(self) -> None:
        """Take over the tools that another process has kept since."""
        with contextlib.suppress(AorchError):
            self._locked = mcp_lock.read(self._file, self.agent_id, self._source) or self._locked

    def _keep(self, after: LockedServer, _: asyncio.AbstractEventLoop) -> None:
        """Keep the tools. Called in a thread for the session of that event loop. Raises AorchError."""
        if self._file is not None:
            mcp_lock.write(self._file, self.agent_id, after)

    @property
    def is_known(self) -> bool:
        """Whether aorch.lock has its tools."""
        return self._locked is not None

    def get_capabilities(self) -> list[AgentCapability]:
        """The tools in aorch.lock; those in `expose` by their own names too."""
        return list(_capabilities(self.agent_id, self.table, self._locked))

    def changes(self) -> list[str]:
        """What has changed on the server since its tools were written to aorch.lock."""
        return self._locked.changes() if self._locked else []

    def variables(self) -> list[str]:
        """The names in `env`, and the variables in `headers`."""
        return [*self.table.env, *environment.variables_of(self.table.headers.values())]

    def may_offer(self, capability: str) -> bool:
        """Whether a tool of the server may have this name."""
        return capability.startswith(f"{self.agent_id}.") or capability in self.table.expose

    def problem(self) -> str | None:
        """Names the package, the program, the directory or the variable that does not exist."""
        if reason := self._obstacle():
            return reason
        return None if self.is_known else f"its tools are not known yet: run `aorch agents refresh {self.agent_id}`"

    def _obstacle(self) -> str | None:
        """Why the server cannot be started on this machine, or None."""
        if self._server is None:
            return self._fault
        if importlib.util.find_spec("mcp") is None:
            return f"the package mcp is not installed. {INSTALL_HINT}"
        return self._server.problem()

    async def open(self) -> None:
        """With `warm`, start the server, without waiting for it."""
        if self.table.warm and self.problem() is None:
            self._current().start()

    async def close(self) -> None:
        """End the sessions of all event loops, and the programs of the server."""
        sessions = dict(self._sessions)
        self._sessions.clear()
        for loop, session in sessions.items():
            if loop is asyncio.get_running_loop():
                await session.close()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(session.close(), loop))

    async def probe(self) -> AgentState:
        """Check this machine. The server is started only if its tools are not in aorch.lock yet."""
        if reason := await in_thread(self._obstacle):
            return AgentState(AgentStatus.ERROR, reason)
        await in_thread(self._read_again)
        if not self.is_known:
            try:
                await self._current().connected()
            except AgentFailed as failure:
                return AgentState(AgentStatus.OFFLINE, str(failure))
        return AgentState()

    async def refresh(self) -> list[str]:
        """Start the server, write its tools to aorch.lock, and return what has changed. Raises AorchError."""
        if reason := await in_thread(self._obstacle):
            raise AgentUnreachable(reason)
        await self.close()
        before, self._locked, self._unsaved = self._locked, None, None
        try:
            await self._current().connected()
        finally:
            await self.close()
            after, self._locked = self._locked, self._locked or before
        if self._unsaved is not None:
            raise self._unsaved
        return mcp_lock.differences(before.tools if before else {}, after.tools if after else {})

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Call the tool of the task's capability."""
        call = current_call.get()

        def report(progress: dict[str, Any]) -> None:  # called in the context of the session
            if call is not None:
                call.report(progress)

        tool, session = self._tool(task["capability"]), self._current()
        await session.connected()
        if self._locked is not None and self._locked.seen is not None and tool not in self._locked.seen:
            raise AgentFailed(
                f"its MCP server no longer has the tool {tool!r}",
                f"Accept that: {self._accept()}.",
                delivered=False,
            )
        result = await session.call(tool, task["parameters"], report)
        return _answer(result)

    def preview(self, task: AgentTask) -> dict[str, str]:
        """The server and the tool that it would call."""
        return {"server": self.endpoint or "", "tool": self._tool(task["capability"])}

    def _tool(self, capability: str) -> str:
        return capability if capability in self.table.expose else capability.removeprefix(f"{self.agent_id}.")

    def _current(self) -> McpSession:
        """The session in the running event loop."""
        return self._sessions[asyncio.get_running_loop()]

    def _session_in(self, loop: asyncio.AbstractEventLoop) -> McpSession:
        assert self._server is not None, self._fault
        return McpSession(self._server, self._log, partial(self._listed, loop))

    def _accept(self) -> str:
        """How to accept changed tools."""
        return f"`aorch agents refresh {self.agent_id}`"

    def _log(self, line: str) -> None:
        _LOGGER.info("agent %s: %s", self.agent_id, masked(line, secrets_in(self.secret_env)))

    def _listed(self, loop: asyncio.AbstractEventLoop, listed: Listed) -> None:
        """Compare the tools of the server with those that are kept, and keep what differs."""
        before = self._locked
        if before is None or self.table.refresh == "auto":
            after = LockedServer(self._source, listed.version, listed.tools)
        else:
            is_same = not mcp_lock.differences(before.tools, listed.tools)
            after = LockedServer(before.source, before.version, before.tools, None if is_same else listed.tools)
        if after == before:
            return
        self._locked = after
        if self.on_capabilities is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.on_capabilities)
        if after.seen is not None:
            what = "; ".join(after.changes())
            _LOGGER.warning("the tools of %s have changed: %s; accept that: %s", self.agent_id, what, self._accept())
        try:
            self._keep(after, loop)
        except AorchError as error:
            self._unsaved = error
            _LOGGER.warning("the tools of %s are not kept: %s", self.agent_id, error)


class McpKind(AgentKind[McpConfig]):
    """MCP servers: `mcp` in aorch.toml, `--mcp` of `aorch agents add`."""

    key, title = "mcp", "an MCP server"
    config = McpConfig
    example = "aorch agents add files --mcp -- npx -y @modelcontextprotocol/server-filesystem ."
    options = (
        AddOption(
            "--mcp", "[URL]", "URL of the server; without one, the words after -- are its program.", optional=True
        ),
        AddOption("--header", "NAME=VALUE", "Header of each request; $NAME in VALUE is expanded.", pairs=True),
        AddOption(
            "--mcp-config", "FILE", "Add the servers of a host: .mcp.json, claude_desktop_config.json, mcp.json."
        ),
    )
    shared_options = ("env", "cwd", "proxy")
    takes_words = True

    def make(self, agent_id: str, table: McpConfig, config: Config, secrets: frozenset[str]) -> McpAgent:
        """The agent of that table."""
        return McpAgent(agent_id, table, config, secrets)

    def is_requested(self, request: AddRequest) -> bool:
        """`--mcp` or `--mcp-config`."""
        return "mcp" in request.options or "mcp_config" in request.options

    def tables_of(self, request: AddRequest) -> list[tuple[str, dict[str, Any]]]:
        """One table, or those of the servers in the file of `--mcp-config`: all of them, or the one with the given ID."""
        if "mcp_config" not in request.options:
            return [self.table_of(request)]
        options = dict(request.options)
        file = options.pop("mcp_config")
        self.reject(request._replace(options=options), {"a program after --": request.words, **_of_one(options)})
        found = mcp_hosts.tables(file, request.agent_id, request.folder)
        return [(agent_id, {**table, **request.common}) for agent_id, table in found]

    def table_of(self, request: AddRequest) -> tuple[str, dict[str, Any]]:
        """The ID and the table, without capabilities: the server lists its tools itself."""
        self.reject(request, {"--capability": request.capabilities})
        options = dict(request.options)
        url = options.pop("mcp")
        if not request.agent_id or "".join(request.words[:1]).startswith("-"):
            raise UsageError("the agent needs an ID", f"Example: {self.example}")
        if bool(url) == bool(request.words):
            given = "both a URL and a program" if url else "neither a URL nor a program after --"
            raise UsageError(f"--mcp names {given}", f"Example: {self.example}")
        if "header" in options:
            options["headers"] = options.pop("header")
        return request.agent_id, {"mcp": url or request.words, **options, **request.common}

    def check(self, where: str, table: McpConfig) -> None:
        """Check the URL, and that the keys belong to a program or to a URL."""
        check_positive(where, table, "max_output_bytes")
        check_proxy(where, table.proxy)
        if not table.mcp:
            raise ConfigInvalid(f"{where}.mcp is empty", 'Write a program, mcp = ["npx", "-y", "…"], or a URL.')
        if isinstance(table.mcp, str):
            if fault := fault_of(table.mcp):
                raise ConfigInvalid(
                    f"{where}.mcp is not a valid URL: {fault}", 'Write a program as a list: ["npx", "…"].'
                )
            if holds_credentials(table.mcp):
                raise ConfigInvalid(f"{where}.mcp must not contain a user or a password", "Use `headers` instead.")
        of_url = isinstance(table.mcp, str)
        for key in ("env", "cwd") if of_url else ("headers", "proxy"):
            if getattr(table, key):
                other = "a program" if of_url else "a URL"
                raise ConfigInvalid(f"{where}.{key} is for a server that is {other}", f"Remove `{key}`.")
        for name, capability in table.capabilities.items():
            if capability.parameters:
                raise ConfigInvalid(
                    f"{where}.capabilities.{name}.parameters: the server declares the parameters of its tools",
                    "Remove it.",
                )

    def capabilities_in(self, agent_id: str, table: McpConfig, config: Config) -> list[AgentCapability]:
        """The tools in aorch.lock."""
        locked = mcp_lock.read(config.file, agent_id, mcp_lock.source_of(table.mcp))
        return list(_capabilities(agent_id, table, locked))

    def secrets(self, table: McpConfig) -> Iterable[str]:
        """The variables in `headers`, and those in `env` that seem to hold secrets."""
        yield from environment.variables_of(table.headers.values())
        yield from environment.secret_variables(table.env)


KIND = McpKind()


def _capabilities(agent_id: str, table: McpConfig, locked: LockedServer | None) -> Iterator[AgentCapability]:
    for name, tool in locked.tools.items() if locked else ():
        own = table.capabilities.get(name, CapabilityConfig())
        hinted = table.trust_annotations and (tool.read_only or tool.idempotent)
        for each in (f"{agent_id}.{name}", *((name,) if name in table.expose else ())):
            yield dataclasses.replace(
                own.named(each),
                description=own.description or tool.description,
                parameters=tool.parameters,
                idempotent=own.idempotent or hinted,
            )


def _answer(result: "CallToolResult") -> dict[str, Any]:
    """The structured content is the data; otherwise the text, or all content if it is not only text."""
    texts = [block.text for block in result.content if block.type == "text"]
    data = result.structured_content
    if result.is_error:
        return {"success": False, "error": "\n".join(texts) or "its MCP server reported an error", "data": data}
    if data is None and len(texts) == len(result.content):
        data = {"text": "\n".join(texts)}
    elif data is None:
        data = {
            "content": [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
        }
    return {"success": True, "data": data}


def _of_one(options: dict[str, Any]) -> dict[str, Any]:
    """The options that describe a single server."""
    return {f"--{name}": options.get(name) for name in ("mcp", "header", "env", "cwd")}
