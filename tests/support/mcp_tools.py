"""A small MCP server, made with the official SDK. `python mcp_tools.py` speaks on its standard streams; `mcp_http.py` serves it
by HTTP.

As a program it writes its process ID to the file `started` in its working directory, one line for each start.
MCP_TOOLS=changed gives it other tools, and MCP_TOOLS=broken lets it end before the handshake.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations

server = MCPServer("tools", version="1.2", log_level="ERROR")
TOOLS = os.environ.get("MCP_TOOLS", "")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> dict[str, int]:
    """Add two numbers."""
    return {"sum": a + b}


@server.tool()
def say(text: str) -> CallToolResult:
    """Repeat a text, and what follows it."""
    return CallToolResult(content=[TextContent(text=text), TextContent(text="and more")])


@server.tool()
def repeat(text: str, times: int) -> CallToolResult:
    """Repeat a text that many times."""
    return CallToolResult(content=[TextContent(text=text * times)])


@server.tool()
def picture() -> CallToolResult:
    """A picture with its title."""
    return CallToolResult(content=[TextContent(text="a dot"), ImageContent(data="aGk=", mime_type="image/png")])


@server.tool()
def fail(reason: str) -> CallToolResult:
    """Fail for that reason."""
    return CallToolResult(content=[TextContent(text=reason)], is_error=True)


@server.tool()
async def slow(context: Context[Any, Any], steps: int) -> str:
    """Report progress, then wait until the call is cancelled, which it writes to the file `cancelled`."""
    for step in range(steps):
        await context.report_progress(step + 1, steps, f"step {step + 1}")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        Path("cancelled").touch()  # noqa: ASYNC240  the test waits for this file
        raise
    return "never"


@server.tool()
def die() -> str:
    """End the process in the middle of a call."""
    sys.stderr.write("out of memory\n")
    sys.stderr.flush()
    os._exit(7)


@server.tool()
def environment() -> list[str]:
    """The names of its environment variables."""
    return sorted(os.environ)


@server.tool()
def variable(name: str) -> str:
    """The value of one of its environment variables, which it also writes to standard error."""
    sys.stderr.write(f"{name}={os.environ[name]}\n")
    return os.environ[name]


if TOOLS == "changed":
    server.remove_tool("say")

    @server.tool()
    def sing(text: str) -> str:
        """Sing a text."""
        return f"la {text}"


def main() -> None:
    with Path("started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if TOOLS == "broken":
        sys.exit("its licence has expired")
    server.run("stdio")


if __name__ == "__main__":
    main()
