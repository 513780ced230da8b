"""Streams new contracts, and the states of agents, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

One follower per process reads new contracts after each commit of any process, but only while a client listens. It keeps the
newest events in a ring that all streams share. A stream sends from the ring. If its client is too slow, it continues from
the ledger at its own position: it keeps one PIECE in memory, loses no event, and does not delay other streams.
"""

import asyncio
import bisect
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from aiohttp import web

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.supervision import Supervisor, Turned, cancel_and_wait
from aorch.ledger.changes import Changes
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.reader_pool import Readers
from aorch.ledger.record import Record
from aorch.server.authentication import READ
from aorch.server.pagination import PAGE_BYTES, contract_json
from aorch.server.request_context import SERVICES, services_of

POLL_S = 0.09
"""Pause of the follower after reading new contracts."""
LAST_S = 0.5
"""How long a client may take to read the current piece when the server stops."""
KEEP_ALIVE_S = 15.0
"""A comment is sent after this time without an event, as the specification advises: proxies close silent connections."""
RING_BYTES = 4 * 1024 * 1024
PIECE = 32 * 1024
"""Approximate number of bytes that are sent at once."""
REPLAY_BYTES = PAGE_BYTES
"""A stream of earlier contracts ends after this many bytes, with the event `next`."""
PAGE = 100
"""Maximum number of contracts that a stream reads from the ledger at once."""
CATCHING_UP = 2
"""Maximum number of streams that read from the ledger at the same time.

The other reader threads serve the rest of the API.
"""

FOLLOWER: web.AppKey["Follower"] = web.AppKey("follower")

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "Server": "aorch",
    "X-Accel-Buffering": "no",  # otherwise nginx delays events until its buffer is full
}


@dataclass(frozen=True, slots=True)
class _Event:
    """A contract as it is sent to clients."""

    position: int
    session_id: str
    text: bytes


class _Ring:
    """The newest events, by position. It contains all events after the position `since`."""

    def __init__(self, since: int) -> None:
        self.since = since
        self._events: list[_Event] = []
        self._bytes = 0

    def add(self, events: list[_Event]) -> None:
        """Add newer events, and remove the oldest ones beyond RING_BYTES."""
        self._events += events
        self._bytes += sum(len(event.text) for event in events)
        removed = 0
        while self._bytes > RING_BYTES:
            self._bytes -= len(self._events[removed].text)
            removed += 1
        if removed:
            self.since = self._events[removed - 1].position
            del self._events[:removed]

    def after(self, position: int, session_id: str | None) -> Iterator[_Event]:
        """Yield the events after that position, of that session (None: of all sessions)."""
        start = bisect.bisect_right(self._events, position, key=lambda event: event.position)
        for place in range(start, len(self._events)):
            event = self._events[place]
            if session_id is None or event.session_id == session_id:
                yield event


@dataclass(eq=False, slots=True)
class _Subscription:
    """The streams of one session, or of all sessions. The ring contains all their events after `since`."""

    since: int
    streams: set["Stream"] = field(default_factory=set)

    def wake(self) -> None:
        for stream in self.streams:
            stream.woken.set()


class Follower:
    """Reads new contracts from the ledger at `path`, and wakes the streams. Only `_read` runs outside the event loop."""

    def __init__(self, path: LedgerLocation, readers: Readers, changes: Changes, supervisor: Supervisor) -> None:
        self.readers = readers
        self._changes = changes
        self._supervisor = supervisor
        self.catching_up = asyncio.Semaphore(CATCHING_UP)
        self.ended = False
        self.ring = _Ring(0)
        self.reached = 0
        self._reader = Reader(path)
        self._woken = asyncio.Event()
        self._subscriptions: dict[str | None, _Subscription] = {}
        self._following: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def stream(self, session_id: str | None, after: int | None) -> AsyncIterator["Stream"]:
        """Open a stream of contracts after that position, or from now on, in that session (None: in all sessions)."""
        newest = await self.readers.read(Reader.last_position)
        if self._following is None or self._following.done():
            self.ring, self.reached = _Ring(newest), newest
            self._following = self._supervisor.start("events", self._follow)
        subscription = self._subscriptions.setdefault(session_id, _Subscription(self.reached))
        stream = Stream(self, subscription, session_id, newest if after is None else min(after, newest), newest)
        subscription.streams.add(stream)
        try:
            yield stream
        finally:
            subscription.streams.discard(stream)
            if not subscription.streams and self._subscriptions.get(session_id) is subscription:
                del self._subscriptions[session_id]
                self._woken.set()  # the follower ends if this was the last stream

    def announce(self, agent: dict[str, object]) -> None:
        """Send the state of an agent to the streams of all sessions."""
        subscription = self._subscriptions.get(None)
        if subscription is not None:
            for stream in subscription.streams:
                stream.notices[str(agent["agent_id"])] = f"event: agent\ndata: {jsonio.encode(agent)}\n\n".encode()
            subscription.wake()

    async def end(self) -> None:
        """End all streams. It can be called again."""
        self.ended = True
        for subscription in self._subscriptions.values():
            for stream in subscription.streams:
                stream.end()
        if self._following is not None:
            await cancel_and_wait(self._following)
        self._reader.close()

    async def _follow(self, turned: Turned) -> None:
        """Read after each commit while a client listens.

        A loop for supervision.py; it continues where it was after a restart.
        """
        with self._changes.watcher(self._woken.set, POLL_S):
            while self._subscriptions and not self.ended:
                self._woken.clear()
                more = True
                while more:
                    wanted = frozenset(self._subscriptions)
                    reached, events, more = await asyncio.to_thread(self._read, self.reached, wanted)
                    self._publish(wanted, reached, events)
                    turned()
                await self._woken.wait()

    def _read(self, after: int, wanted: frozenset[str | None]) -> tuple[int, list[_Event], bool]:
        """Return the position reached, the new events of the `wanted` sessions (about RING_BYTES), and whether there may be
        more.
        """
        events: list[_Event] = []
        size, found = 0, True
        sessions = None if None in wanted else frozenset(session_id for session_id in wanted if session_id is not None)
        while found and size < RING_BYTES:
            after, rows = self._reader.news(after, sessions)
            found = bool(rows)
            events += [_event(position, row) for position, row in rows]
            size += sum(len(event.text) for event in events[len(events) - len(rows) :])
        return after, events, found

    def _publish(self, wanted: frozenset[str | None], reached: int, events: list[_Event]) -> None:
        self.ring.add(events)
        self.reached = max(self.reached, reached)
        changed: set[str | None] = {event.session_id for event in events}
        if events:
            changed.add(None)
        for session_id, subscription in self._subscriptions.items():
            if session_id not in wanted:  # the stream started during the read, which may have skipped its events
                subscription.since = self.reached
                subscription.wake()
            elif session_id in changed:
                subscription.wake()


class Stream:
    """The stream of one client. `position` is the last sent one; contracts up to `newest` are older than the stream."""

    __slots__ = ("_follower", "_newest", "_sending", "_session_id", "_subscription", "notices", "position", "woken")

    def __init__(
        self, follower: Follower, subscription: _Subscription, session_id: str | None, position: int, newest: int
    ) -> None:
        self._follower = follower
        self._subscription = subscription
        self._session_id = session_id
        self.position = position
        self._newest = newest
        self.woken = asyncio.Event()
        self.notices: dict[str, bytes] = {}
        """The newest states of agents that are not sent yet, by agent."""
        self._sending: asyncio.Transport | None = None

    async def send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send events until the follower ends. After REPLAY_BYTES of older contracts, the last event is `next`.

        Raises ConnectionResetError when the client has disconnected, HttpError when its token is no longer valid, and
        LedgerError. The client can reconnect in each case.
        """
        await response.write(b":\n\n")  # otherwise the headers wait for the first event
        replayed = 0
        while not self._follower.ended:
            reached = self.position
            piece = await self._next()
            await _check(request)
            if reached < self._newest:
                if replayed and replayed + len(piece) > REPLAY_BYTES:
                    return await response.write(_next_event(reached))
                replayed += len(piece)
            if piece:
                self._sending = request.transport
                if self._follower.ended:  # while the piece was read
                    self.end()
                await response.write(piece)
                self._sending = None

    def end(self) -> None:
        """End the stream, because the follower has ended. The client has LAST_S to read the current piece."""
        if self._sending is not None:
            asyncio.get_running_loop().call_later(LAST_S, self._sending.abort)
        self.woken.set()

    async def _next(self) -> bytes:
        """Return about a PIECE of events, a comment after KEEP_ALIVE_S without any, or nothing; then call it again."""
        self.woken.clear()
        if self.notices:
            notices, self.notices = self.notices, {}
            return b"".join(notices.values())
        if self.position < max(self._subscription.since, self._follower.ring.since):
            return await self._from_ledger()
        return self._from_ring() or await self._silence()

    def _from_ring(self) -> bytes:
        texts: list[bytes] = []
        size = 0
        for event in self._follower.ring.after(self.position, self._session_id):
            if size and size + len(event.text) > PIECE:
                return b"".join(texts)
            texts.append(event.text)
            size += len(event.text)
            self.position = event.position
        self.position = max(self.position, self._follower.reached)
        return b"".join(texts)

    async def _from_ledger(self) -> bytes:
        which, after, reached = Filter(session_id=self._session_id), self.position, self._follower.reached
        async with self._follower.catching_up:
            events = await self._follower.readers.read(
                lambda reader: [
                    _event(*found) for found in reader.rows(which, after=after, limit=PAGE, characters=PIECE)
                ]
            )
        self.position = events[-1].position if events else max(self.position, reached)
        return b"".join([event.text for event in events])

    async def _silence(self) -> bytes:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEP_ALIVE_S):
                await self.woken.wait()
            return b""
        return b":\n\n"


def _event(position: int, row: Record) -> _Event:
    text = f"id: {position}\nevent: {row.contract_type.lower()}\ndata: {jsonio.encode(contract_json(row))}\n\n"
    return _Event(position, row.session_id, text.encode())


def _next_event(position: int) -> bytes:
    return f'id: {position}\nevent: next\ndata: {{"next": "{position}"}}\n\n'.encode()


async def _check(request: web.Request) -> None:
    """Raise HttpError if the caller's token has expired or was revoked since the stream started."""
    authenticator, readers = services_of(request).authenticator, services_of(request).readers
    if authenticator.refresh_at <= time.perf_counter():
        await authenticator.refresh(readers)
    authenticator.authenticate(request, READ)


def attach(app: web.Application, ledger: LedgerLocation, changes: Changes) -> None:
    """Add to `app` a Follower that ends with it. `changes` are those of `ledger`."""

    async def end(app: web.Application) -> None:
        await app[FOLLOWER].end()

    follower = app[FOLLOWER] = Follower(ledger, app[SERVICES].readers, changes, app[SERVICES].supervisor)
    app[SERVICES].registrations.on_change = lambda registered: follower.announce(registered.as_dict())
    app.on_shutdown.append(end)
