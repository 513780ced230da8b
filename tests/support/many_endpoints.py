"""Many HTTP endpoints, each a process of its own: `python many_endpoints.py NUMBER` prints the process ID and port of each.

They execute every task in 30 to 60 ms, and end with the process that started them.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

from aiohttp import web


async def execute(request: web.Request) -> web.Response:
    task = await request.json()
    await asyncio.sleep(random.uniform(0.03, 0.06))
    return web.json_response({"success": True, "data": task["parameters"]})


async def health(request: web.Request) -> web.Response:
    return web.json_response({"status": "available"})


async def serve() -> None:
    """Print the process ID and the port, and serve until killed."""
    app = web.Application()
    app.add_routes([web.post("/execute", execute), web.get("/health", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    os.write(1, f"{os.getpid()} {port}\n".encode())
    await asyncio.Event().wait()


@contextlib.contextmanager
def endpoints(number: int) -> Iterator[dict[int, str]]:
    """The URLs of that many endpoints, by process ID, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, __file__, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        found = dict(process.stdout.readline().split() for _ in range(number))
        try:
            yield {int(pid): f"http://127.0.0.1:{int(port)}" for pid, port in found.items()}
        finally:
            process.communicate()


if __name__ == "__main__":
    children = []
    for _ in range(int(sys.argv[1])):
        child = os.fork()
        if not child:
            os.close(0)
            asyncio.run(serve())
        children.append(child)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.stdin.read()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
