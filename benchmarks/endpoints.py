"""Agents that are HTTP endpoints: `python benchmarks/endpoints.py [ROUNDS]`.

TASKS tasks, AT_ONCE at a time, through aorch (both contracts durable), and the same requests with aiohttp's own client, in
turns. The endpoint is a process of its own (`python benchmarks/endpoints.py serve`). Every answer is checked, and every row
is counted. On a busy machine, only the ratio of the processor times means something.
"""

import asyncio
import gc
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
from measure import PYTHON, Goals, machine

from aorch.__main__ import COLLECT_AFTER

sys.path.remove(
    str(Path(__file__).parent)
)  # its http.py would hide the module of the standard library that aiohttp imports
TASKS, AT_ONCE = 2000, 32
GOAL = 2.0


class Took(NamedTuple):
    """How long TASKS calls took, and the processor time of this process (seconds)."""

    seconds: float
    cpu_s: float


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


async def timed(call: Callable[[str], Awaitable[str]]) -> Took:
    """How long TASKS calls take, AT_ONCE at a time."""
    numbers = iter(range(TASKS))

    async def work() -> None:
        for number in numbers:
            assert await call(f"text {number}") == f"TEXT {number}"

    await call("warm")
    started, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return Took(time.perf_counter() - started, time.process_time() - used)


async def directly(url: str) -> Took:
    """With aiohttp's client and nothing else."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(text: str) -> str:
            task = {"capability": "shout", "parameters": {"text": text}}
            async with session.post(f"{url}/execute", json=task) as answer:
                return str((await answer.json())["data"]["text"])

        return await timed(call)


async def by_agent(url: str) -> Took:
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


async def through_aorch(url: str, ledger: Path) -> Took:
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


def with_few_collections(run: Callable[[], Took]) -> Took:
    """`run` with the garbage collector as the processes of aorch set it."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER)
    try:
        return run()
    finally:
        gc.set_threshold(*before)


def medians(cases: dict[str, Callable[[], Took]], rounds: int) -> dict[str, Took]:
    """The medians of each case; they take turns, and the first round does not count."""
    taken = [{name: case() for name, case in cases.items()} for _ in range(rounds + 1)][1:]
    return {name: Took(*map(statistics.median, zip(*(took[name] for took in taken), strict=True))) for name in cases}


def main(rounds: int) -> None:
    """Measure in turns, and print the ratios."""
    goals = Goals("HTTP endpoints")
    numbers = count()
    with machine() as (folder, _), endpoint() as url:

        def aorch() -> Took:
            return asyncio.run(through_aorch(url, folder / f"{next(numbers)}.db"))

        took = medians(
            {
                "aiohttp": lambda: asyncio.run(directly(url)),
                "agent": lambda: asyncio.run(by_agent(url)),
                "aorch": aorch,
                "aorch, few collections": lambda: with_few_collections(aorch),
            },
            rounds,
        )
    reference = took.pop("aiohttp")
    goals.note("aiohttp", f"{TASKS / reference.seconds:,.0f} calls a second")
    goals.note("aorch", f"{TASKS / took['aorch'].seconds:,.0f} tasks a second")
    for name, (seconds, cpu_s) in took.items():
        ratios = f"{seconds / reference.seconds:.2f}   {cpu_s / reference.cpu_s:.2f}"
        goals.note(f"{name} / directly with aiohttp: time, processor time", ratios)
    ratio = took["aorch"].seconds / reference.seconds
    goals.at_most(f"{AT_ONCE} at once through aorch / directly with aiohttp", ratio, GOAL)
    goals.end()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
