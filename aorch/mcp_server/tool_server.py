"""An MCP server whose tools are the capabilities of an orchestrator. Each call is an exchange in the ledger.

Importing this module imports the SDK `mcp`, which takes 0.7 s.
"""

import asyncio
import contextlib
import logging
import math
import re
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import anyio
from mcp.server import NotificationOptions, Server
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from aorch import jsonio
from aorch.agents.base import AgentCapability
from aorch.agents.parameters import json_schema
from aorch.engine.response_saver import Unsaved
from aorch.engine.task import Answer, Task
from aorch.errors import AorchError, NotFound
from aorch.ids import new_id
from aorch.mcp_server import tool_names
from aorch.orchestrator import Orchestrator

INSTRUCTIONS = "Each tool runs an agent. Its calls are recorded; `_meta` of a result has the ID of its contract."
CONTRACT_ID = "aorch/contract_id"
"""The key in `_meta` of a result."""
LONGEST_CLIENT = 64

logging.getLogger("mcp").addHandler(logging.NullHandler())  # without a handler, Python prints its warnings


class ToolServer:
    """Offers the capabilities in `only` (default: all) of `orchestrator`, which is open, to one client.

    Raises NotFound if no agent has one of `only`.
    """

    def __init__(self, orchestrator: Orchestrator, only: Iterable[str] = ()) -> None:
        self._orchestrator, self._only = orchestrator, frozenset(only)
        self._session_id = orchestrator.config.session_id or ""
        self._running: set[asyncio.Task[Answer]] = set()
        self._changes, self._client = InMemorySubscriptionBus(), _Client()
        known = orchestrator.registry.capabilities()
        if missing := sorted(self._only.difference(known)):
            raise NotFound(
                f"no agent has the capability {', '.join(missing)}", f"Available capabilities: {', '.join(known)}."
            )

    async def serve(self, stdin: Any, stdout: Any) -> None:
        """Serve until `stdin` ends. Calls that still run are then cancelled, and their RESPONSEs are written.

        `stdin` is an asynchronous iterator of lines; `stdout` has the coroutines `write` and `flush`.
        """
        server = Server(
            "aorch",
            version=metadata.version("aorch"),
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=ListenHandler(self._changes),
        )
        self._orchestrator.executor.enter_loop()  # which notices agents that are registered
        announcing = asyncio.ensure_future(self._announce_changes())
        checking = asyncio.ensure_future(self._orchestrator.registry.refresh())  # which starts servers that are `warm`
        try:
            async with stdio_server(stdin, stdout) as (incoming, outgoing):
                options = server.create_initialization_options(NotificationOptions(tools_changed=True))
                await server.run(incoming, outgoing, options)
        finally:
            self._orchestrator.registry.on_change = None
            for each in (checking, announcing, *self._running):
                each.cancel()
            await asyncio.wait((checking, announcing, *self._running))

    async def _announce_changes(self) -> None:
        """Tell the client when its tools have changed: on the stream that it opened for that, or, with an older protocol, by a
        notification.
        """
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:  # in any thread
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed.set)

        known, self._orchestrator.registry.on_change = self._tools(), notify
        while True:
            await changed.wait()
            changed.clear()
            if (tools := self._tools()) != known:
                known = tools
                await self._changes.publish(ToolsListChanged())
                await self._client.notify()

    def _tools(self) -> dict[str, AgentCapability]:
        """The capabilities by the names of their tools."""
        registry = self._orchestrator.registry
        names = [name for name in registry.capabilities() if not self._only or name in self._only]
        return {
            tool: registry.with_capability(name)[0].capabilities[name]
            for tool, name in tool_names.by_tool(names).items()
        }

    async def _list(self, context: ServerRequestContext[Any], _: PaginatedRequestParams | None) -> ListToolsResult:
        self._client.session = context.session
        return ListToolsResult(tools=[_tool(name, each) for name, each in self._tools().items()])

    async def _call(self, context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        capability = self._tools().get(params.name)
        if capability is None:
            raise MCPError(INVALID_PARAMS, f"unknown tool {params.name!r}")
        reports: asyncio.Queue[Any] = asyncio.Queue()
        sending = asyncio.ensure_future(_send(context, reports))
        # a task of its own: the scope of the SDK would cancel the writing of the RESPONSE too
        task = Task(capability.name, params.arguments or {}, session_id=self._session(context))
        performing = asyncio.ensure_future(self._orchestrator.perform(task, on_progress=reports.put_nowait))
        self._running.add(performing)
        performing.add_done_callback(self._running.discard)
        try:
            return _result(await asyncio.shield(performing))
        except asyncio.CancelledError:
            performing.cancel()
            raise
        except Unsaved as unsaved:  # the answer is written as soon as the ledger accepts it
            return _result(unsaved.answer)
        except AorchError as error:
            return _failure(str(error), error.code, error.hint)
        finally:
            reports.put_nowait(_END)
            if performing.done():
                await asyncio.wait((sending,))
            else:
                sending.cancel()

    def _session(self, context: ServerRequestContext[Any]) -> str:
        """The session of all calls of this client."""
        if not self._session_id:
            about = context.session.client_params
            name = re.sub(r"[^A-Za-z0-9.]+", "-", about.client_info.name).strip("-") if about else ""
            self._session_id = f"mcp_{name[:LONGEST_CLIENT] or 'client'}_{new_id()}"
        return self._session_id


class _Client:
    """The client, once it has listed the tools: before, it has nothing that could change."""

    def __init__(self) -> None:
        self.session: ServerSession | None = None

    async def notify(self) -> None:
        """Send `notifications/tools/list_changed`. (The SDK drops it if the protocol has streams of changes instead.)"""
        if self.session is not None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, MCPError):
                await self.session.send_tool_list_changed()


_END = object()


async def _send(context: ServerRequestContext[Any], reports: "asyncio.Queue[Any]") -> None:
    """Send progress notifications until _END. Their number grows with each, as the protocol requires."""
    last = 0.0
    while (report := await reports.get()) is not _END:
        done, total, message = _progress(report)
        last = done if done is not None and done > last else last + 1
        await context.session.report_progress(last, total, message)


def _progress(report: Any) -> tuple[float | None, float | None, str | None]:
    """The number, the total and the text in what an agent reports."""
    if not isinstance(report, dict):
        return None, None, jsonio.storable_text(report) if isinstance(report, str) else jsonio.encode(report)
    numbers = [
        value
        if isinstance(value := report.get(key), int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
        for key in ("done", "total")
    ]
    message = report.get("message", report.get("text"))
    text = (
        jsonio.storable_text(message)
        if isinstance(message, str)
        else None
        if numbers[0] is not None
        else jsonio.encode(report)
    )
    return numbers[0], numbers[1], text


def _tool(name: str, capability: AgentCapability) -> Tool:
    schema = json_schema(capability.parameters) if capability.parameters else {}
    return Tool(
        name=name,
        title=capability.name,
        description=capability.description or None,
        input_schema={"type": "object", **schema},
        annotations=ToolAnnotations(idempotent_hint=True) if capability.idempotent else None,
    )


def _result(answer: Answer) -> CallToolResult:
    if not answer.success:
        code = answer.failure.code if answer.failure is not None else "agent_failed"
        return _failure(answer.error or "", code, answer.hint, answer.contract_id)
    text = jsonio.encode(answer.data)
    data = jsonio.decode(text)  # as the ledger keeps it: a lone surrogate or NaN would end the connection
    if isinstance(data, dict) and data.keys() == {"text"} and isinstance(data["text"], str):
        text, structured = data["text"], None
    else:
        structured = data if isinstance(data, dict) else None
    return _called(text, structured, answer.contract_id)


def _failure(error: str, code: str, hint: str = "", contract_id: str = "") -> CallToolResult:
    """A result with the error for the model to read: what failed, the next step, and where it is recorded."""
    facts = {"code": code, **({"contract_id": contract_id} if contract_id else {})}
    error = jsonio.storable_text(error)
    lines = [error, *([hint] if hint else []), ", ".join(f"{name}: {value}" for name, value in facts.items())]
    return _called("\n".join(lines), {"error": error, **facts}, contract_id, is_error=True)


def _called(
    text: str, structured: dict[str, Any] | None, contract_id: str, *, is_error: bool = False
) -> CallToolResult:
    result = CallToolResult(content=[TextContent(text=text)], structured_content=structured, is_error=is_error)
    result.meta = {CONTRACT_ID: contract_id} if contract_id else None
    return result
