"""Agents that are the MCP server of `mcp_tools.py`, and tools of it that aorch.lock has."""

from pathlib import Path
from typing import Any

from homes import prestarted, script_command

from aorch.agents import mcp_lock
from aorch.agents.mcp_agent import McpAgent, McpConfig
from aorch.agents.mcp_lock import LockedServer, LockedTool
from aorch.config.settings import Config

PROGRAM = script_command(Path(__file__).with_name("mcp_tools.py"))
TABLE = f"[agents.tools]\nmcp = {PROGRAM!r}\n"
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
TOOLS = {
    "add": LockedTool("Add two numbers.", NUMBERS, read_only=True),
    **{name: LockedTool() for name in ("say", "repeat", "picture", "fail", "slow", "die", "environment", "variable")},
}


def agent(folder: Path, **table: Any) -> McpAgent:
    """The agent `tools` of an aorch.toml in `folder`."""
    prestarted()
    config = Config(folder / "ledger.db", file=folder / "aorch.toml")
    return McpAgent("tools", McpConfig(**{"mcp": PROGRAM, **table}), config)


def known(folder: Path, **table: Any) -> McpAgent:
    """The same agent, with its tools in aorch.lock."""
    source = mcp_lock.source_of(table.get("mcp", PROGRAM))
    mcp_lock.write(folder / "aorch.toml", "tools", LockedServer(source, "1.2", TOOLS))
    return agent(folder, **table)
