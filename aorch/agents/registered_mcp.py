"""Agents that were registered over HTTP and are MCP servers. Their tools are in the document of their registration."""

import asyncio
from collections.abc import Callable, Set
from typing import Any

import msgspec

from aorch.agents.agent_document import AgentDocument, offered
from aorch.agents.agent_hints import of_registered
from aorch.agents.base import AgentCapability, AgentState, AgentStatus
from aorch.agents.mcp_address import ServerUrl
from aorch.agents.mcp_agent import McpAgent, McpConfig
from aorch.agents.mcp_lock import LockedServer
from aorch.agents.mcp_session import Listed, McpSession
from aorch.config.settings import Config, callers_addresses
from aorch.errors import AgentUnreachable, AorchError, ParametersInvalid, UsageError
from aorch.net.probe import connection_problem
from aorch.process.threads import in_thread

CONNECT_S = 10.0
"""Time limit of a connection that checks whether the server can be reached."""
LIST_S = 30.0
"""How long a server may take to list its tools when it is registered."""


class RegisteredMcp(McpAgent):
    """The agent of `document` without the capabilities in `taken`. The server gets its credential if `config` still allows that.

    `shared` are the capabilities that configured agents have too. `on_tools` is called in the event loop with the tools that
    a connection has shown, if they differ from those that are known.
    """

    is_remote = True

    def __init__(
        self,
        document: AgentDocument,
        config: Config,
        taken: Set[str] = frozenset(),
        shared: Set[str] = frozenset(),
    ) -> None:
        self._document, self._config, self._taken, self._shared = document, config, taken, shared
        self._recorded: list[str] = []
        self.on_tools: Callable[[LockedServer], None] | None = None
        table = McpConfig(
            mcp=document.mcp,
            name=document.name,
            description=document.description,
            labels=document.labels,
            concurrency=document.concurrency,
            rate_per_min=document.rate_per_min,
            capabilities={each.name: each for each in document.capabilities},
            expose=document.expose,
            trust_annotations=document.trust_annotations,
            refresh="auto" if document.refresh == "auto" else "manual",
        )
        super().__init__(document.agent_id, table, config)
        self.version = document.version or document.server_version
        self.shares_concurrency = document.concurrency is not None

    def _load(self, config: Config) -> tuple[LockedServer, ServerUrl]:
        token_env = self._document.credential_env(config)
        headers = {"Authorization": f"Bearer ${{{token_env}}}"} if token_env else {}
        addresses, hints = callers_addresses(config), of_registered(self._document.credential, "mcp")
        server = ServerUrl(self._document.mcp, headers, self.table.max_output_bytes, addresses=addresses, hints=hints)
        return LockedServer(self._source, self._document.server_version, self._document.tools), server

    def get_capabilities(self) -> list[AgentCapability]:
        """Its tools, those in `expose` by their own names too."""
        return offered(super().get_capabilities(), self._taken, self._shared)

    def changes(self) -> list[str]:
        """What has changed on the server since it was registered, as far as any process has seen it."""
        return self._recorded

    def adopt_changes(self, recorded: str | None) -> None:
        """Take over the changes in its row of the ledger (a JSON list)."""
        self._recorded = msgspec.json.decode(recorded, type=list[str]) if recorded else []

    async def probe(self) -> AgentState:
        """Whether the server accepts a connection. Nothing is sent."""
        if reason := await in_thread(self.problem):
            return AgentState(AgentStatus.ERROR, reason)
        if reason := await connection_problem(self._document.mcp, CONNECT_S, callers_addresses(self._config)):
            return AgentState(AgentStatus.OFFLINE, f"cannot connect to {self.endpoint}: {reason}")
        return AgentState()

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Call the tool, unless its credential cannot be used."""
        if problem := self.problem():
            raise AgentUnreachable(f"{self.agent_id}: {problem}")
        return await super().execute(task)

    async def refresh(self) -> list[str]:
        """Raises UsageError: only its owner accepts changed tools."""
        raise UsageError(
            f"{self.agent_id} is a registered agent", "Its owner accepts changed tools by registering it again."
        )

    async def with_tools(self) -> AgentDocument:
        """The document with the tools that the server lists now. Raises AgentUnreachable, and other errors of the connection."""
        if problem := await in_thread(self._obstacle):
            raise AgentUnreachable(f"its tools cannot be listed: {problem}")
        assert self._server is not None, self._fault
        found: list[Listed] = []
        session = McpSession(self._server, self._log, found.append)
        try:
            async with asyncio.timeout(LIST_S):
                await session.connected()
        except TimeoutError as error:
            raise AgentUnreachable(f"{self.endpoint} did not list its tools within {LIST_S:g} s") from error
        except AorchError as error:
            raise AgentUnreachable(f"the tools of {self.endpoint} cannot be listed: {error}", error.hint) from error
        finally:
            await session.close()
        return with_tools(self._document, found[0])

    def accepted(self, tools: LockedServer) -> AgentDocument | None:
        """The document with the changed `tools` if it accepts them (`refresh` is auto, and they fit); otherwise None."""
        if tools.seen is not None:
            return None
        document = with_tools(self._document, tools)
        try:
            document.check_tools()
            document.check_size()
        except ParametersInvalid:
            return None
        return document

    def _accept(self) -> str:
        return "its owner registers it again"

    def _keep(self, after: LockedServer, loop: asyncio.AbstractEventLoop) -> None:
        if self.on_tools is not None:
            loop.call_soon_threadsafe(self.on_tools, after)


def with_tools(document: AgentDocument, listed: Listed | LockedServer) -> AgentDocument:
    """The document with these tools."""
    return msgspec.structs.replace(document, tools=listed.tools, server_version=listed.version)
