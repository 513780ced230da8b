"""Servers of `aorch.agents.serve` in this process, and a client of one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from aorch import Agent
from aorch.agents.agent_server import AgentServer
from aorch.agents.function import as_agent

JSON = {"Content-Type": "application/json"}


class Client:
    """A client of one server."""

    def __init__(self, session: aiohttp.ClientSession, server: AgentServer, url: str) -> None:
        self.session, self.server, self.url = session, server, url

    async def execute(self, task: Any, **headers: str) -> tuple[int, Any, Any]:
        """Status, document and headers of the answer to a task."""
        given = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        body = task if isinstance(task, bytes) else json.dumps(task).encode()
        async with self.session.post(f"{self.url}/execute", data=body, headers=given) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async with self.session.get(f"{self.url}{path}", headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def serving(agent: Agent | Callable[..., Any], **options: Any) -> AsyncIterator[Client]:
    """A server of `agent`, until the end of the block."""
    server = AgentServer(as_agent(agent), **options)
    url = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, server, url)
    finally:
        await server.stop(0, asyncio.Event())
