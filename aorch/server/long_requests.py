"""Requests that wait for something to happen: long polls and event streams.

They do not count towards `max_concurrent`, but have their own limit. They end within a second after their connection is lost or
their token is revoked or expires. A client that has disconnected often looks like one that half-closed its connection, so a
half-closed connection still gets a response, but the server waits no longer than HALF_CLOSED_S.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from aorch.engine.supervision import Supervisor, Turned
from aorch.ledger.reader_pool import Readers
from aorch.server.authentication import READ, Authenticator
from aorch.server.http_protocol import client_has_left
from aorch.server.problems import HttpError

MAX_REQUESTS = 4096
"""Maximum number of long polls and streams at the same time."""
HALF_CLOSED_S = 5.0
CHECK_S = 0.4
"""How often clients and tokens are checked while any request waits."""


class LongRequests:
    """The open long polls and streams."""

    def __init__(self, authenticator: Authenticator, readers: Readers, supervisor: Supervisor) -> None:
        self._authenticator = authenticator
        self._readers = readers
        self._supervisor = supervisor
        self._open: dict[object, tuple[web.Request, Callable[[], object], str]] = {}
        self._checking: asyncio.Task[None] | None = None

    @contextmanager
    def hold(self, request: web.Request, wake: Callable[[], object], scope: str = READ) -> Iterator[None]:
        """Let `request`, which needs `scope`, wait inside the block; `wake` is called when it must end. Raises HttpError (503) at
        MAX_REQUESTS.
        """
        if len(self._open) >= MAX_REQUESTS:
            raise HttpError(
                503, "overloaded", f"{MAX_REQUESTS} long polls and streams are open, the limit", "Try again later."
            )
        key = object()
        self._open[key] = (request, wake, scope)
        if self._checking is None or self._checking.done():
            self._checking = self._supervisor.start("tokens", self._check)
        try:
            yield
        finally:
            del self._open[key]

    async def _check(self, turned: Turned) -> None:
        """Wake the requests whose client has disconnected or whose token is no longer valid."""
        while self._open:
            await asyncio.sleep(CHECK_S)
            await self._authenticator.refresh(self._readers, wait=True)
            for request, wake, scope in list(self._open.values()):
                if client_has_left(request, HALF_CLOSED_S) or not self._authenticator.is_valid(request, scope):
                    wake()
            turned()
