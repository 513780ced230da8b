"""Requests that wait for something to happen: long polls and streams of events.

They are not counted by `max_concurrent`, but have a limit of their own. They end within a second of the moment at which their
connection is lost, or their token is revoked or expires. A client that left often looks like one that half-closed: it gets its
answer, but is not waited for longer than HALF_CLOSED_S.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from aorch.engine.supervision import Supervisor, Turned
from aorch.ledger.reader_pool import Readers
from aorch.server.authentication import READ, Access
from aorch.server.http_protocol import may_have_left
from aorch.server.problems import Refusal

MOST = 4096
"""Long polls and streams at a time."""
HALF_CLOSED_S = 5.0
LOOK_S = 0.4
"""How often clients and tokens are looked at as long as any of them waits."""


class LongRequests:
    """The long polls and streams that are open now."""

    def __init__(self, access: Access, readers: Readers, supervisor: Supervisor) -> None:
        self._access = access
        self._readers = readers
        self._supervisor = supervisor
        self._open: dict[object, tuple[web.Request, Callable[[], object]]] = {}
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def hold(self, request: web.Request, wake: Callable[[], object]) -> Iterator[None]:
        """Let `request` wait inside the block. `wake` is called once it must end.

        Raises Refusal (503) when MOST requests wait already.
        """
        if len(self._open) >= MOST:
            raise Refusal(
                503, "overloaded", f"{MOST} long polls and streams are open, which is the limit", "Try again later."
            )
        key = object()
        self._open[key] = (request, wake)
        if self._watching is None or self._watching.done():
            self._watching = self._supervisor.start("tokens", self._watch)
        try:
            yield
        finally:
            del self._open[key]

    async def _watch(self, turned: Turned) -> None:
        """Wake those whose client has left, or whose token is not valid any more."""
        while self._open:
            await asyncio.sleep(LOOK_S)
            await self._access.look(self._readers, wait=True)
            for request, wake in list(self._open.values()):
                if may_have_left(request, HALF_CLOSED_S) or not self._access.admits(request, READ):
                    wake()
            turned()
