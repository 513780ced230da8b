"""`aorch mcp` offers capabilities as tools: a real process, called by the client of the official SDK."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from homes import Home, prestarted
from waiting import WAIT_S, wait_for

if TYPE_CHECKING:
    from mcp.client.client import Client

SLOW = """
import asyncio
from aorch import Agent, AgentCapability, report_progress

class Slow(Agent):
    def __init__(self):
        super().__init__("slow", "Slow")

    async def execute(self, task):
        print("noise")
        report_progress({"done": 1, "total": 4, "message": "first"})
        report_progress("second")
        await asyncio.Event().wait()

    def get_capabilities(self):
        return [AgentCapability("wait.for_ever", "Never ends", idempotent=True)]
"""


ODD = """
from aorch import capability, report_progress

@capability("odd")
def odd():
    report_progress({"done": float("inf"), "message": "\\ud800"})
    return {"half": "\\ud800", "number": float("nan")}
"""


def prepare(home: Home) -> None:
    home.write("slow.py", SLOW)
    home.write("odd.py", ODD)
    home.write("aorch.toml", '[agents.slow]\nclass = "slow:Slow"\n\n[agents.odd]\nclass = "odd"\n')


@asynccontextmanager
async def client_of(home: Home, *options: str, mode: str = "auto", on_message: Any = None) -> "AsyncIterator[Client]":
    """A client of `aorch mcp` in that home."""
    from mcp import StdioServerParameters, stdio_client
    from mcp.client.client import Client
    from mcp_types import Implementation

    forked = prestarted()
    command, *arguments = [*forked.command, "mcp", *options] if forked else home.command("mcp", *options)
    program = StdioServerParameters(command=command, args=arguments, env=home.environment, cwd=home.folder)
    with (home.folder / "log").open("w") as log:
        async with Client(
            stdio_client(program, log),
            mode=mode,
            client_info=Implementation(name="a host", version="1"),
            message_handler=on_message,
        ) as client:
            yield client


async def test_a_host_lists_calls_and_cancels_tools_and_each_call_is_an_exchange(home: Home) -> None:
    prepare(home)
    reports: list[tuple[Any, ...]] = []
    arrived = asyncio.Event()

    async def report(*progress: Any) -> None:
        reports.append(progress)
        if len(reports) == 2:
            arrived.set()

    async def ignored(*_: Any) -> None:
        return

    async with client_of(home) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"echo", "uppercase", "wait_for_ever", "odd"}
        assert tools["echo"].input_schema["required"] == ["text"]
        assert tools["wait_for_ever"].annotations is not None
        done = await client.call_tool("echo", {"text": "hi"})
        assert (done.structured_content, done.is_error) == ({"message": "Echo: hi"}, False)
        odd = await client.call_tool("odd", progress_callback=ignored)
        assert odd.structured_content == {"half": "\ufffd", "number": None}
        failed = await client.call_tool("echo", {"text": 3})
        assert failed.is_error
        assert failed.structured_content["code"] == "parameters_invalid"
        calling = asyncio.create_task(client.call_tool("wait_for_ever", progress_callback=report))
        await asyncio.wait_for(arrived.wait(), WAIT_S)
        assert reports == [(1.0, 4.0, "first"), (2.0, None, "second")]
        calling.cancel()
        ends = "SELECT status FROM contracts WHERE contract_type = 'RESPONSE' ORDER BY position"
        await asyncio.to_thread(wait_for, lambda: len(home.rows(ends)) == 4)
    assert [status for (status,) in home.rows(ends)] == ["completed", "completed", "failed", "cancelled"]
    ((session,),) = home.rows("SELECT DISTINCT session_id FROM contracts")
    assert session.startswith("mcp_a-host_01")
    assert done.meta is not None
    assert home.rows("SELECT contract_id FROM contracts ORDER BY position LIMIT 1") == [
        (done.meta["aorch/contract_id"],)
    ]
    assert "noise" in (home.folder / "log").read_text()


def test_a_connection_that_closes_cancels_its_calls_and_the_process_ends(home: Home) -> None:
    """By the wire: only JSON-RPC messages are on standard output."""
    prepare(home)
    about = {"name": "raw", "version": "1"}
    start = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about}
    messages = [
        {"id": 1, "method": "initialize", "params": start},
        {"method": "notifications/initialized"},
        {
            "id": 2,
            "method": "tools/call",
            "params": {"name": "wait_for_ever", "arguments": {}, "_meta": {"progressToken": 7}},
        },
    ]
    process = home.start("mcp", "--only", "wait.for_ever", stdin=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    for message in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert [line.get("method", line.get("id")) for line in lines] == [1, *["notifications/progress"] * 2]
    rest, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert [json.loads(line)["jsonrpc"] for line in rest.splitlines()] in (
        [],
        ["2.0"],
    )  # the answer to the call, if any
    assert home.rows("SELECT status FROM contracts WHERE contract_type = 'RESPONSE'") == [("cancelled",)]


def test_a_capability_that_no_agent_has_cannot_be_offered(home: Home) -> None:
    done = home.aorch("mcp", "--only", "ecoh", stdin="")
    assert (done.code, done.out) == (12, "")
    assert "error: no agent has the capability ecoh\nhint: Available capabilities: echo, uppercase." in done.err
