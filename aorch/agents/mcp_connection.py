"""Connections to MCP servers through the SDK `mcp`: a program by its standard streams, or a URL by streamable HTTP.

Importing this module imports the SDK, which takes 0.7 s.
"""

import asyncio
import contextlib
import logging
import os
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import metadata
from typing import Any, NamedTuple

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, Implementation, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from aorch.agents.mcp_address import Server, ServerProgram, ServerUrl
from aorch.agents.mcp_stdio import program_streams
from aorch.errors import AgentBusy, AgentFailed, AgentLost, AgentOutputTooLarge, AgentUnreachable
from aorch.net.retry_after import retry_after_s
from aorch.net.sdk_client import sdk_client

CONNECT_TIMEOUT_S = 10.0
"""How long a URL may take to accept a connection."""
GOODBYE_S = 2.0
"""How long a URL may take to answer that the session has ended."""
LONGEST_LINE = 64 * 1024
"""Bytes of a line of a server's standard error; a longer one is split."""
LAST_LINES_S = 0.2
"""How long the standard error of a program may stay open after the program has ended."""
_FAULT = -32099
"""The code of the JSON-RPC errors that stand for a request without a usable answer (of those that servers may define)."""
_KEPT_HEADERS = ("content-type", "mcp-session-id")
_REFUSED = (401, 403)
_BUSY = (429, 503)
_LOST = (502, 504)

for _name in ("mcp", "client"):  # without a handler, Python prints their warnings and tracebacks to standard error
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Connection(NamedTuple):
    """An open connection. `client` has completed the handshake."""

    client: Client
    fault_of: Callable[[MCPError], AgentFailed]
    """What an error of a call means for its task."""


Logged = Callable[[str], None]


@asynccontextmanager
async def connected(
    server: Server, log: Logged, on_end: Callable[[], None], on_change: Callable[[], None]
) -> AsyncIterator[Connection]:
    """Connect to `server`. `log` gets each line of a program's standard error; `on_end` is called when the server closes the
    connection, and `on_change` when it announces that its tools have changed. A program ends with the block: its standard
    input closes, then it gets TERM, then KILL.

    Raises AgentFailed, and exceptions of the SDK (see `reason_of`).
    """
    async with contextlib.AsyncExitStack() as stack:
        errors: _ErrorLog | None = None
        overflow = asyncio.Event()
        faults: dict[str, AgentFailed] = {}
        if isinstance(server, ServerProgram):
            errors = await stack.enter_async_context(_ErrorLog(log))
            transport: Any = program_streams(server, errors.file, server.limit, overflow.set)
        elif reason := server.problem():
            raise AgentUnreachable(reason)
        else:
            http = sdk_client(httpx2, None, proxy=server.proxy, addresses=server.addresses, headers=server.expanded())
            http.timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
            reporter = _FaultReporter(await stack.enter_async_context(http), server, faults)
            transport = streamable_http_client(server.url, http_client=reporter, max_sse_event_size=server.limit)  # type: ignore[arg-type]  # it uses only the methods of the reporter

        def fault_of(error: MCPError) -> AgentFailed:
            if error.code == _FAULT and (fault := faults.pop(str(error.data), None)) is not None:
                return fault
            if error.code == CONNECTION_CLOSED and (
                overflow.is_set() or "byte limit" in error.message
            ):  # httpx2's words
                return _too_large(server)
            if error.code == CONNECTION_CLOSED:
                last = f": {errors.last[0]}" if errors is not None and errors.last else ""
                return AgentLost(f"its MCP server closed the connection before it answered{last}")
            return AgentFailed(f"its MCP server answered with an error: {error.message or error.code}")

        about = Implementation(name="aorch", version=metadata.version("aorch"))
        client = Client(
            _watched(transport, on_end), client_info=about, cache=None, message_handler=_handler_of_changes(on_change)
        )
        try:
            await stack.enter_async_context(client)
        except (Exception, BaseExceptionGroup) as error:
            if errors is not None:
                await errors.finish()
            raise reason_of(error, fault_of) from error
        listening = asyncio.create_task(_listen(client, on_change))
        try:
            yield Connection(client, fault_of)
        finally:
            listening.cancel()
            await asyncio.wait((listening,))


def _handler_of_changes(on_change: Callable[[], None]) -> Any:
    """A handler of the messages by which servers announce changed tools, until the protocol of 2025-11-25."""

    async def handle(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            on_change()

    return handle


async def _listen(client: Client, on_change: Callable[[], None]) -> None:
    """Call `on_change` for each change of the tools that the server announces, from the protocol of 2026-07-28 on. If the
    stream of changes ends, the next connection opens it again.
    """
    tools = client.server_capabilities.tools
    if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (tools and tools.list_changed):
        return
    with contextlib.suppress(MCPError, SubscriptionLost, TimeoutError):
        async with client.listen(tools_list_changed=True) as changes:
            async for _ in changes:
                on_change()


def _too_large(server: Server) -> AgentOutputTooLarge:
    return AgentOutputTooLarge(f"its answer is longer than {server.limit:,} bytes (max_output_bytes)")


def reason_of(error: BaseException, fault_of: Callable[[MCPError], AgentFailed] | None = None) -> AgentFailed:
    """Why a connection could not be opened, in one sentence instead of a group of exceptions."""
    for leaf in _leaves(error):
        failure = fault_of(leaf) if fault_of is not None and isinstance(leaf, MCPError) else leaf
        if isinstance(failure, AgentLost):
            return AgentUnreachable(str(failure), failure.hint)
        if isinstance(failure, AgentFailed):
            return failure
        if isinstance(failure, TimeoutError):
            return AgentUnreachable("its MCP server did not complete the handshake in time")
        if isinstance(failure, Exception):
            return AgentUnreachable(f"its MCP server could not be reached: {_cause(failure)}")
    return AgentUnreachable("its MCP server was stopped")


def _leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group of any depth; cancellations, which are only consequences, come last."""
    if isinstance(error, BaseExceptionGroup):
        found = [leaf for each in error.exceptions for leaf in _leaves(each)]
        return sorted(found, key=lambda leaf: isinstance(leaf, asyncio.CancelledError))
    return [error]


def _cause(error: BaseException) -> str:
    """What the operating system said, if it is behind the error; otherwise the error's own text."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            # asyncio puts the address in the place of the system's words
            said = os.strerror(inner.errno) if isinstance(inner, ConnectionError) and inner.errno else inner.strerror
            return said[:1].lower() + said[1:]
        inner = inner.__cause__ or inner.__context__
    return str(error) or type(error).__name__


class _ErrorLog:
    """`file` is a program's standard error, whose lines go to `log`; `last` keeps the end of them."""

    def __init__(self, log: Logged) -> None:
        self.last: deque[str] = deque(maxlen=1)
        self._log = log

    async def __aenter__(self) -> "_ErrorLog":
        read, write = os.pipe()
        stream = asyncio.StreamReader(limit=LONGEST_LINE)
        self.file = os.fdopen(write, "w")
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(read, "rb", buffering=0)
        )
        self._following = asyncio.create_task(self._follow(stream))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.finish()
        self._following.cancel()
        self._pipe.close()

    async def finish(self) -> None:
        """Wait for the last lines of a program that has ended."""
        self.file.close()
        await asyncio.wait((self._following,), timeout=LAST_LINES_S)  # a child of it may hold the pipe open

    async def _follow(self, stream: asyncio.StreamReader) -> None:
        while chunk := await _line(stream):
            if line := chunk.decode("utf-8", "replace").strip():
                self.last.append(line)
                self._log(line)


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readuntil()
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed)


@asynccontextmanager
async def _watched(transport: AbstractAsyncContextManager[Any], on_end: Callable[[], None]) -> AsyncIterator[Any]:
    """`transport`, with a call of `on_end` when its server has closed the connection."""
    async with transport as (read, write):
        yield _WatchedStream(read, on_end), write


class _WatchedStream:
    """A read stream of the SDK (`mcp.shared._stream_protocols.ReadStream`) that reports its end."""

    def __init__(self, stream: Any, on_end: Callable[[], None]) -> None:
        self._stream, self._on_end = stream, on_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "_WatchedStream":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._on_end()
            raise

    async def __aenter__(self) -> "_WatchedStream":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)


class _FaultReporter:
    """An HTTP client for the SDK, which would end a session with all its calls if one request fails.

    A request without a usable answer is answered with a JSON-RPC error that names an entry of `faults`.
    """

    def __init__(self, client: httpx2.AsyncClient, server: ServerUrl, faults: dict[str, AgentFailed]) -> None:
        self._client, self._server, self._faults = client, server, faults
        self.max_redirects = client.max_redirects
        self.build_request = client.build_request

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """As `httpx2.AsyncClient.send`."""
        if request.method == "DELETE":  # the end of the session, which a server that hangs must not delay
            async with asyncio.timeout(GOODBYE_S):
                return await self._client.send(request, **options)
        if request.method != "POST":
            return await self._client.send(request, **options)
        try:
            response = await self._client.send(request, **options)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol) as error:
            return self._answer(request, AgentUnreachable(f"its MCP server could not be reached: {_cause(error)}"))
        except httpx2.TransportError as error:
            return self._answer(request, AgentLost(f"the connection to its MCP server broke: {_cause(error)}"))
        fault = self._fault_in(response)
        if fault is None and response.headers.get("content-type", "").lower().startswith("application/json"):
            return await self._read(response, request)
        if fault is None:
            return response
        await response.aclose()
        return self._answer(request, fault)

    async def _read(self, response: httpx2.Response, request: httpx2.Request) -> httpx2.Response:
        """The same response, with its content; a longer one than the limit is not read to its end."""
        content = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > self._server.limit:
                    return self._answer(request, _too_large(self._server))
        except httpx2.TransportError as error:
            return self._answer(request, AgentLost(f"the connection to its MCP server broke: {_cause(error)}"))
        finally:
            await response.aclose()
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        return httpx2.Response(response.status_code, headers=headers, content=bytes(content), request=request)

    def _answer(self, request: httpx2.Request, fault: AgentFailed) -> httpx2.Response:
        key = uuid.uuid4().hex
        self._faults[key] = fault
        error = {"code": _FAULT, "message": str(fault), "data": key}
        return httpx2.Response(502, json={"jsonrpc": "2.0", "id": None, "error": error}, request=request)

    def _fault_in(self, response: httpx2.Response) -> AgentFailed | None:
        """What the status means. 404 is part of the protocol, and so is an error in JSON."""
        status = response.status_code
        if status < 400 or status == 404:
            return None
        said = f"its MCP server answered with HTTP {status}"
        if status in _BUSY:
            wait = response.headers.get("retry-after")
            return AgentBusy(f"{said}: it is busy", retry_after_s=None if wait is None else retry_after_s(wait))
        if status in _LOST:
            return AgentLost(said)
        if status == 401:
            return self._unauthorized(said)
        if response.headers.get("content-type", "").lower().startswith("application/json"):
            return None
        return AgentFailed(said, delivered=status not in _REFUSED)

    def _unauthorized(self, said: str) -> AgentFailed:
        hints = self._server.hints
        if hints.has_credential is not None:
            reason = "it does not accept the token of its credential" if hints.has_credential else "it wants a token"
            return AgentFailed(f"{said}: {reason}", hints.token, delivered=False)
        if any(name.lower() == "authorization" for name in self._server.headers):
            return AgentFailed(
                f"{said}: it does not accept the token in `headers`", "Check the variable.", delivered=False
            )
        return AgentFailed(
            f"{said}: it wants a token, or a sign-in by OAuth, which aorch does not do",
            'Create a token at the service, and add headers = { Authorization = "Bearer $NAME" }.',
            delivered=False,
        )
