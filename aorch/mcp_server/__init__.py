"""`aorch mcp`: the capabilities as tools of an MCP server."""
