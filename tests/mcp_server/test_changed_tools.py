"""Tools that come and go: aorch tells its client, and notices the tools of servers, by both protocols."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from api import ask
from endpoint_program import endpoint
from homes import Home, script_command
from serving import Server, serving
from test_tool_server import client_of
from waiting import WAIT_S, wait_for

GROWING = script_command(Path(__file__).parents[1] / "support" / "mcp_growing.py")


def register(server: Server, url: str, capability: str) -> None:
    body = {"agent_id": f"of_{capability}", "endpoint": f"{url}/good", "capabilities": [{"name": capability}]}
    assert server.post("/v1/agents/register", json=body).status_code == 201


async def names(client: Any) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


async def test_a_host_learns_of_agents_that_come_and_go_while_it_is_connected(home: Home) -> None:
    with endpoint() as remote, serving(home) as server:
        async with (
            asyncio.timeout(WAIT_S),
            client_of(home) as client,
            client.listen(tools_list_changed=True) as changes,
        ):
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.tools.list_changed is True
            assert await names(client) == {"echo", "uppercase"}
            await asyncio.to_thread(register, server, remote.url, "late")
            await anext(changes)
            assert await names(client) == {"echo", "uppercase", "late"}
            assert not (await client.call_tool("late", {"text": "hi"})).is_error
            await asyncio.to_thread(server.client.delete, "/v1/agents/of_late")
            await anext(changes)
            assert await names(client) == {"echo", "uppercase"}


async def test_a_host_with_an_older_protocol_gets_a_notification(home: Home) -> None:
    from mcp_types import ToolListChangedNotification

    changed = asyncio.Event()

    async def on_message(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    with endpoint() as remote, serving(home) as server:
        async with asyncio.timeout(WAIT_S), client_of(home, mode="legacy", on_message=on_message) as client:
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.tools.list_changed is True
            assert await names(client) == {"echo", "uppercase"}
            await asyncio.to_thread(register, server, remote.url, "late")
            await changed.wait()
            assert "late" in await names(client)


async def test_only_changes_of_the_offered_tools_are_announced(home: Home) -> None:
    with endpoint() as remote, serving(home) as server:
        async with (
            asyncio.timeout(WAIT_S),
            client_of(home, "--only", "echo") as client,
            client.listen(tools_list_changed=True) as changes,
        ):
            await asyncio.to_thread(register, server, remote.url, "late")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 2)


def capabilities(server: Server) -> list[str]:
    return [each["name"] for each in server.get("/v1/agents/growing").json()["capabilities"]]


@pytest.mark.parametrize("is_old", [False, True])
def test_a_running_service_uses_a_new_tool_at_once_if_the_owner_accepts_changes(home: Home, is_old: bool) -> None:
    from mcp_growing import server as made
    from mcp_http import tools_over_http

    if is_old:
        with tools_over_http(legacy=True, made=made) as tools, serving(home, config(home, tools.url)) as server:
            assert_grows(server)
            made.remove_tool("shout")
    else:
        with serving(home, config(home, GROWING)) as server:
            assert_grows(server)


def assert_grows(server: Server) -> None:
    assert ask(server, "growing.grow").status_code == 200
    wait_for(lambda: "growing.shout" in capabilities(server))
    assert ask(server, "growing.shout", parameters={"text": "hi"}).json()["data"] == {"result": "HI"}


def config(home: Home, where: str | list[str], refresh: str = "auto") -> str:
    """Write aorch.toml, and return the option that names it."""
    home.write("aorch.toml", f'[agents.growing]\nmcp = {where!r}\nrefresh = "{refresh}"\n')
    return f"--config={home.folder / 'aorch.toml'}"


def test_without_that_the_change_shows_until_it_is_accepted_and_then_reaches_the_service(home: Home) -> None:
    with serving(home, config(home, GROWING, "manual")) as server:
        assert ask(server, "growing.grow").status_code == 200
        wait_for(lambda: server.get("/v1/agents/growing").json()["changes"] == ["new tool shout"])
        assert capabilities(server) == ["growing.grow"]
        accept(home)
        wait_for(lambda: "growing.shout" in capabilities(server))
        assert ask(server, "growing.shout", parameters={"text": "hi"}).json()["data"] == {"result": "HI"}


def accept(home: Home) -> None:
    """Accept the tool as `aorch agents refresh` does for a server that lists it from its start."""
    from aorch.agents import mcp_lock

    file = home.folder / "aorch.toml"
    source = mcp_lock.source_of(GROWING)
    locked = wait_for(lambda: (found := mcp_lock.read(file, "growing", source)) and found.seen and found)
    mcp_lock.write(file, "growing", mcp_lock.LockedServer(locked.source, locked.version, locked.seen))
