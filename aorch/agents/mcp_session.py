"""A session with an MCP server: connected at the first call, kept by a task of its own, and connected again if it ended.

The task owns the connection, so that a server that dies, or a caller that is cancelled, ends neither the other.
"""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from aorch import jsonio
from aorch.agents.mcp_address import Server
from aorch.agents.mcp_lock import LockedTool, Tools
from aorch.errors import AgentFailed, AgentLost, AgentUnreachable
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from mcp import types
    from mcp.client.client import Client

    from aorch.agents.mcp_connection import Connection

CONNECT_S = 120.0
"""How long a server may take from its start to its list of tools; npx may have to download it first."""
END_S = 3.0
"""How long the end of a broken connection may take until its reason is known."""
LIST_AGAIN_S = 0.5
"""How long a session waits until it lists the tools again, so that a server cannot keep it busy with announcements."""
MAX_PAGES = 1000
"""Maximum number of pages of a list of tools."""

Progress = Callable[[dict[str, Any]], None]


class Listed(NamedTuple):
    """What a server reports about itself: its version and its tools."""

    version: str
    tools: Tools


class McpSession:
    """The session of one agent in one event loop. `on_listed` gets the tools of the server after each
    connect, and after each change that the server announces, in a thread.
    """

    def __init__(self, server: Server, log: Callable[[str], None], on_listed: Callable[[Listed], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._server, self._log, self._on_listed = server, log, on_listed
        self._owner: asyncio.Task[None] | None = None
        self._owners: set[asyncio.Task[None]] = set()
        self._ready: asyncio.Future[Connection] = self.loop.create_future()
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Connect in the background, unless the session is open or opening."""
        if self._owner is None or self._owner.done() or self._ended.is_set():
            self._ready, self._ended = self.loop.create_future(), asyncio.Event()
            self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
            self._owner = self.loop.create_task(self._own(self._ready, self._ended))
            self._owners.add(self._owner)
            self._owner.add_done_callback(self._owners.discard)

    async def connected(self) -> "Connection":
        """The open connection. Raises AgentFailed if it cannot be opened; a cancelled caller leaves it opening."""
        self.start()
        return await asyncio.shield(self._ready)

    async def call(self, tool: str, arguments: dict[str, Any], on_progress: Progress) -> "types.CallToolResult":
        """Call `tool`. A cancelled caller cancels the call on the server. Raises AgentFailed."""
        try:
            return await self._call(tool, arguments, on_progress)
        except _SessionExpired:  # the server has forgotten the session, and did not execute the call
            await self.close()
            return await self._call(tool, arguments, on_progress)

    async def close(self) -> None:
        """End the session, and with it the program of the server."""
        self._ended.set()
        if self._owner is not None and not self._ready.done():
            self._owner.cancel()
        if self._owners:
            await asyncio.wait(self._owners)

    async def _call(self, tool: str, arguments: dict[str, Any], on_progress: Progress) -> "types.CallToolResult":
        from mcp.shared.exceptions import MCPError  # noqa: PLC0415  the SDK takes 0.7 s
        from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST  # noqa: PLC0415  likewise

        connection, owner = await self.connected(), self._owner
        arguments = jsonio.decode(jsonio.encode(arguments))  # a lone surrogate would end the session

        async def report(progress: float, total: float | None, message: str | None) -> None:
            told = {"done": _plain(progress), "total": total and _plain(total), "message": message}
            on_progress({key: value for key, value in told.items() if value is not None})

        try:
            return await connection.client.call_tool(tool, arguments, progress_callback=report)
        except MCPError as error:
            if error.code == INVALID_REQUEST and error.message == "Session terminated":
                raise _SessionExpired(f"its MCP server ended the session: {error.message}") from error
            if error.code == CONNECTION_CLOSED and owner is not None:
                self._ended.set()
                await asyncio.wait((owner,), timeout=END_S)
            raise connection.fault_of(error) from error
        except (
            RuntimeError,
            ValueError,
        ) as error:  # the answer does not match the protocol, or the tool's output schema
            raise AgentFailed(f"its MCP server gave an invalid answer: {_first_line(error)}") from error

    async def _own(self, ready: "asyncio.Future[Connection]", ended: asyncio.Event) -> None:
        """Keep the connection until `ended`."""
        try:
            from_sdk = await in_thread(_sdk)
        except ImportError as error:
            ready.set_exception(AgentUnreachable(f"the package mcp cannot be used: {error}", INSTALL_HINT))
            return
        try:
            async with AsyncExitStack() as stack:
                changed = asyncio.Event()
                async with asyncio.timeout(CONNECT_S):
                    opening = from_sdk.connected(self._server, self._log, ended.set, changed.set)
                    connection = await stack.enter_async_context(opening)
                    listed = await _listed(connection)
                await in_thread(self._on_listed, listed)
                ready.set_result(connection)
                while await _first(changed, ended, LIST_AGAIN_S):
                    changed.clear()
                    with contextlib.suppress(AgentFailed, TimeoutError):  # if the connection broke, `ended` is set
                        async with asyncio.timeout(CONNECT_S):
                            listed = await _listed(connection)
                        await in_thread(self._on_listed, listed)
        except BaseException as error:  # any end of the connection is the reason why the calls that wait for it fail
            if not ready.done():
                ready.set_exception(from_sdk.reason_of(error))
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
                raise
        finally:
            ended.set()


class _SessionExpired(AgentLost):
    """The server no longer knows the session; the call was not executed."""


INSTALL_HINT = "Install it: aorch plugins install 'mcp>=2.3' (or: pip install 'aorch[mcp]')."


def _sdk() -> Any:
    from aorch.agents import mcp_connection  # noqa: PLC0415  it imports the SDK, which takes 0.7 s

    return mcp_connection


async def _first(changed: asyncio.Event, ended: asyncio.Event, pause_s: float) -> bool:
    """Wait at least `pause_s`, and then for the first of the two. Returns False if the session has ended."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await ended.wait()
    waiting = [asyncio.ensure_future(each.wait()) for each in (changed, ended)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    return not ended.is_set()


async def _listed(connection: "Connection") -> Listed:
    from mcp.shared.exceptions import MCPError  # noqa: PLC0415  the SDK takes 0.7 s

    try:
        return await _pages(connection.client)
    except MCPError as error:
        raise connection.fault_of(error) from error


async def _pages(client: "Client") -> Listed:
    tools: Tools = {}
    cursor, pages = None, 0
    while pages < MAX_PAGES:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            hints = tool.annotations
            tools[tool.name] = LockedTool(
                jsonio.storable_text(tool.description or ""),
                tool.input_schema,
                bool(hints and hints.read_only_hint),
                bool(hints and hints.idempotent_hint),
            )
        cursor, pages = page.next_cursor, pages + 1
        if not cursor:
            break
    about = client.server_info
    return Listed(about.version if about else "", tools)


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
