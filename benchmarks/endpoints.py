"""Agents that are HTTP endpoints: `python benchmarks/endpoints.py [ROUNDS]`.

TASKS tasks, AT_ONCE at a time, through aorch (both contracts durable), and the same requests with aiohttp's own client, in
turns. The endpoint is a process of its own (`python benchmarks/endpoints.py serve`). Every answer is checked, and every row
is counted.
"""

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import msgspec
from measure import PYTHON, Goals, interleaved, machine

sys.path.remove(
    str(Path(__file__).parent)
)  # its http.py would hide the module of the standard library that aiohttp imports
TASKS, AT_ONCE = 2000, 32
GOAL = 2.0


def serve() -> None:
    """An endpoint that shouts; it prints its URL."""
    from aiohttp import web

    async def execute(request: web.Request) -> web.Response:
        task = msgspec.json.decode(await request.read())
        answer = {"success": True, "data": {"text": task["parameters"]["text"].upper()}}
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "available"})

    app = web.Application()
    app.add_routes([web.post("/execute", execute), web.get("/health", health)])
    web.run_app(app, host="127.0.0.1", port=0, access_log=None, print=lambda text: print(text, flush=True))


@contextmanager
def endpoint() -> Iterator[str]:
    """The URL of a running endpoint."""
    with subprocess.Popen([PYTHON, __file__, "serve"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[-2] for line in process.stdout if "http://" in line)
        finally:
            process.terminate()


async def timed(call: Callable[[str], Awaitable[str]]) -> float:
    """How long TASKS calls take, AT_ONCE at a time (seconds)."""
    numbers = iter(range(TASKS))

    async def work() -> None:
        for number in numbers:
            assert await call(f"text {number}") == f"TEXT {number}"

    await call("warm")
    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return time.perf_counter() - started


async def directly(url: str) -> float:
    """With aiohttp's client and nothing else."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(text: str) -> str:
            task = {"capability": "shout", "parameters": {"text": text}}
            async with session.post(f"{url}/execute", json=task) as answer:
                return str((await answer.json())["data"]["text"])

        return await timed(call)


async def by_agent(url: str) -> float:
    """With the agent alone: no routing, no ledger."""
    from aorch import AgentCapability
    from aorch.agents.http_endpoint import HttpAgent

    agent = HttpAgent("shouter", "S", endpoint=url, capabilities=[AgentCapability("shout")])

    async def call(text: str) -> str:
        task = {"task_id": "01", "session_id": "s", "capability": "shout", "parameters": {"text": text}, "context": {}}
        return str((await agent.execute(task))["data"]["text"])

    try:
        return await timed(call)
    finally:
        await agent.close()


async def through_aorch(url: str, ledger: Path) -> float:
    """As tasks of an agent."""
    from aorch import AgentCapability, Orchestrator
    from aorch.agents.http_endpoint import HttpAgent

    async with Orchestrator(ledger) as orchestrator:
        capability = AgentCapability("shout", parameters={"text": "string"})
        orchestrator.register_agent(HttpAgent("shouter", "S", endpoint=url, capabilities=[capability]))

        async def call(text: str) -> str:
            answer = await orchestrator.orchestrate("s", {"capability": "shout", "parameters": {"text": text}})
            return str(answer["data"]["text"])

        took = await timed(call)
    with closing(sqlite3.connect(ledger)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM contracts WHERE status = 'completed'").fetchone()
    assert rows == 2 * (TASKS + 1), rows
    return took


def main(rounds: int) -> None:
    """Measure in turns, and print the ratio."""
    goals = Goals("HTTP endpoints")
    numbers = count()
    with machine() as (folder, _), endpoint() as url:
        took = interleaved(
            {
                "aiohttp": lambda: asyncio.run(directly(url)),
                "agent": lambda: asyncio.run(by_agent(url)),
                "aorch": lambda: asyncio.run(through_aorch(url, folder / f"{next(numbers)}.db")),
            },
            rounds,
        )
    goals.note("aiohttp", f"{TASKS / took['aiohttp']:,.0f} calls a second")
    goals.note("aorch", f"{TASKS / took['aorch']:,.0f} tasks a second")
    goals.note("the agent alone / directly with aiohttp", f"{took['agent'] / took['aiohttp']:.2f}")
    goals.at_most(f"{AT_ONCE} at once through aorch / directly with aiohttp", took["aorch"] / took["aiohttp"], GOAL)
    goals.end()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
