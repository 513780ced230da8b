"""HTTP clients that keep their connections: one for each event loop."""

import asyncio
from collections.abc import Callable

from aorch.net.http_client import HttpClient


class ClientPool:
    """Creates a client with `make` for each event loop that asks for one, because connections belong to a loop."""

    def __init__(self, make: Callable[[], HttpClient]) -> None:
        self._make = make
        self._clients: dict[asyncio.AbstractEventLoop, HttpClient] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def client(self) -> HttpClient:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for closed in [each for each in list(self._clients) if each.is_closed()]:
                if (unused := self._clients.pop(closed, None)) is not None:  # another thread may be first
                    closing = loop.create_task(unused.close())
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)
            client = self._clients[loop] = self._make()
        return client

    async def close(self) -> None:
        """Close all connections, also those of other loops."""
        clients, self._clients = self._clients, {}
        for loop, client in clients.items():
            if loop is asyncio.get_running_loop() or not loop.is_running():
                await client.close()
            else:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.close(), loop))
