"""An MCP server that gets another tool, `shout`, when its tool `grow` is called, and announces that by both protocols."""

from typing import Any

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("growing", version="1", log_level="ERROR")


def shout(text: str) -> str:
    """Shout a text."""
    return text.upper()


@server.tool()
async def grow(context: Context[Any, Any]) -> str:
    """Add the tool."""
    server.add_tool(shout)
    await context.notify_tools_changed()
    await context.session.send_tool_list_changed()
    return "grown"


if __name__ == "__main__":
    server.run()
