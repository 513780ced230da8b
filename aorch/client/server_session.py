"""A connection for code that is not asynchronous: a command that reads page by page."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Self, TypeVar
from urllib.parse import quote

from aorch.client.connection import Query, ServerConnection
from aorch.client.server_address import ServerAddress

Result = TypeVar("Result")


class ServerSession:
    """A ServerConnection with an event loop of its own, open inside a `with` block, in the main thread."""

    def __init__(self, address: ServerAddress, on_version: Callable[[str | None], None] = lambda _: None) -> None:
        self._address = address
        self._on_version = on_version
        self._runner = asyncio.Runner()
        self._connection: ServerConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._on_version(connection.server_version)
            self._runner.run(connection.close())
        self._runner.close()

    def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON at `path`. Raises the errors of ServerConnection."""
        return self.run(lambda connection: connection.get(path, query))

    def pages(self, path: str, name: str, query: Query, *, most: int | None, page: int) -> Iterator[Any]:
        """Up to `most` items (None: all) of a list in pages of at most `page` items, which are read when they are needed."""
        cursor = query.get("cursor")
        while most is None or most > 0:
            found = self.get(path, {**query, "limit": page if most is None else min(page, most), "cursor": cursor})
            yield from found[name]
            cursor = found["next"]
            if cursor is None:
                return
            most = None if most is None else most - len(found[name])

    def run(self, request: Callable[[ServerConnection], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `request`."""
        return self._runner.run(self._opened(request))

    def iterate(self, items: Callable[[ServerConnection], AsyncIterator[Result]]) -> Iterator[Result]:
        """What `items` yields, one at a time."""
        found = self.run(_as_coroutine(items))
        while True:
            try:
                yield self._runner.run(_next(found))
            except StopAsyncIteration:
                return

    async def _opened(self, request: Callable[[ServerConnection], Coroutine[Any, Any, Result]]) -> Result:
        if self._connection is None:
            self._connection = ServerConnection(self._address)
        return await request(self._connection)


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")


def _as_coroutine(
    items: Callable[[ServerConnection], AsyncIterator[Result]],
) -> Callable[[ServerConnection], Coroutine[Any, Any, AsyncIterator[Result]]]:
    async def start(connection: ServerConnection) -> AsyncIterator[Result]:
        return items(connection)

    return start


async def _next(items: AsyncIterator[Result]) -> Result:
    return await anext(items)
