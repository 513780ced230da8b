"""The MCP server of `mcp_tools.py` over HTTP, in a thread of the test."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp_tools import server
from waiting import wait_for


class ToolsOverHttp:
    """`url` is its address. With `token`, it answers 401 without it; `status`, if set, answers each POST. `legacy`: it knows only
    the protocol with sessions, and `forget()` makes it forget those that are open.
    """

    url = ""

    def __init__(self, token: str = "", *, legacy: bool = False, made: MCPServer[Any] = server) -> None:
        self.token, self.legacy, self.status = token, legacy, 0
        self.headers: dict[str, str] = {}
        self._sessions: set[bytes] = set()
        self._forgotten: set[bytes] = set()
        self._app = made.streamable_http_app()

    def forget(self) -> None:
        self._forgotten |= self._sessions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status = self._status_for(dict(scope["headers"])) if scope.get("method") == "POST" else 0
        if not status:
            await self._app(scope, receive, send)
            return
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"<h1>no</h1>"})

    def _status_for(self, headers: dict[bytes, bytes]) -> int:
        session = headers.get(b"mcp-session-id", b"")
        self._sessions.add(session)
        if self.token and headers.get(b"authorization", b"").decode() != f"Bearer {self.token}":
            return 401
        if (self.legacy and b"mcp-method" in headers) or (session and session in self._forgotten):
            return 404
        return self.status


@contextmanager
def tools_over_http(token: str = "", *, legacy: bool = False, made: MCPServer[Any] = server) -> Iterator[ToolsOverHttp]:
    """The server (default: that of mcp_tools.py), on a free local port."""
    tools = ToolsOverHttp(token, legacy=legacy, made=made)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        tools.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        running = uvicorn.Server(uvicorn.Config(tools, log_level="critical", ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_for(lambda: running.started)
        yield tools
        running.should_exit = True
        thread.join(10)
