"""A small MCP server that reads files, for pages whose commands start `@modelcontextprotocol/server-filesystem`."""

from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("files", log_level="ERROR")


@server.tool()
def read_text_file(path: str) -> str:
    """Read a file."""
    return Path(path).read_text()


if __name__ == "__main__":
    server.run("stdio")
