"""Contracts as they are written, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

One Follower a process reads what any process commits, after each commit and only while a client listens. It keeps
the newest events in a ring that all streams share. A stream sends from there; one whose client is too slow for it reads on
from the ledger, at its own position, so that it holds one PIECE in memory, loses nothing and holds up nobody.
"""

import asyncio
import bisect
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from aorch import jsonio
from aorch.engine.supervision import Supervisor, Turned, cancel_and_wait
from aorch.ledger.changes import Changes
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.reader_pool import Readers
from aorch.ledger.record import Record
from aorch.server.authentication import READ
from aorch.server.pagination import PAGE_BYTES, contract_json
from aorch.server.request_context import SERVICES, services_of

POLL_S = 0.09
"""How long the follower rests after it has read what is new."""
LAST_S = 0.5
"""How long a client may take for the piece that is under way when the server stops."""
AWAKE_S = 15.0
"""After so long without an event a comment is sent, as the specification advises, since proxies end what is silent."""
RING_BYTES = 4 * 1024 * 1024
PIECE = 32 * 1024
"""About how many bytes are sent in one go."""
REPLAY_BYTES = PAGE_BYTES
"""What was written before a stream began ends after so much of it, with the event `next`."""
PAGE = 100
"""Most contracts that a stream reads from the ledger at a time."""
CATCHING_UP = 2
"""Streams that may read from the ledger at the same time: the other threads are for the rest of the API."""

FOLLOWER: web.AppKey["Follower"] = web.AppKey("follower")

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "Server": "aorch",
    "X-Accel-Buffering": "no",  # else nginx holds events back until it has a buffer full of them
}


@dataclass(frozen=True, slots=True)
class _Event:
    """A contract as it is sent."""

    position: int
    session_id: str
    text: bytes


class _Ring:
    """The newest events in the order of their positions; after `since` there is none missing."""

    def __init__(self, since: int) -> None:
        self.since = since
        self._events: list[_Event] = []
        self._bytes = 0

    def add(self, events: list[_Event]) -> None:
        """Take in what is newer than all before, and let go of the oldest beyond RING_BYTES."""
        self._events += events
        self._bytes += sum(len(event.text) for event in events)
        gone = 0
        while self._bytes > RING_BYTES:
            self._bytes -= len(self._events[gone].text)
            gone += 1
        if gone:
            self.since = self._events[gone - 1].position
            del self._events[:gone]

    def after(self, position: int, session_id: str | None) -> Iterator[_Event]:
        """The events after that position, of that session (None: of all)."""
        start = bisect.bisect_right(self._events, position, key=lambda event: event.position)
        for place in range(start, len(self._events)):
            event = self._events[place]
            if session_id is None or event.session_id == session_id:
                yield event


@dataclass(eq=False, slots=True)
class _Hearers:
    """The streams of one session (or of all of them). The ring has all that they want after `since`."""

    since: int
    streams: set["Stream"] = field(default_factory=set)

    def wake(self) -> None:
        for stream in self.streams:
            stream.woken.set()


class Follower:
    """Finds what is committed to the ledger at `path` and wakes the streams that want it. All but `_look` is the loop's."""

    def __init__(self, path: Path, readers: Readers, changes: Changes, supervisor: Supervisor) -> None:
        self.readers = readers
        self._changes = changes
        self._supervisor = supervisor
        self.catching_up = asyncio.Semaphore(CATCHING_UP)
        self.ended = False
        self.ring = _Ring(0)
        self.reached = 0
        self._reader = Reader(path)
        self._woken = asyncio.Event()
        self._hearers: dict[str | None, _Hearers] = {}
        self._following: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def stream(self, session_id: str | None, after: int | None) -> AsyncIterator["Stream"]:
        """A stream of what is committed after that position, or from now on, in that session (None: in all)."""
        newest = await self.readers.read(Reader.last_position)
        if self._following is None or self._following.done():
            self.ring, self.reached = _Ring(newest), newest
            self._following = self._supervisor.start("events", self._follow)
        hearers = self._hearers.setdefault(session_id, _Hearers(self.reached))
        stream = Stream(self, hearers, session_id, newest if after is None else min(after, newest), newest)
        hearers.streams.add(stream)
        try:
            yield stream
        finally:
            hearers.streams.discard(stream)
            if not hearers.streams and self._hearers.get(session_id) is hearers:
                del self._hearers[session_id]
                self._woken.set()  # it ends if this was the last one

    async def end(self) -> None:
        """End all streams, which may have been done already."""
        self.ended = True
        for hearers in self._hearers.values():
            for stream in hearers.streams:
                stream.end()
        if self._following is not None:
            await cancel_and_wait(self._following)
        self._reader.close()

    async def _follow(self, turned: Turned) -> None:
        """Read after each commit while a client listens. A loop for supervision.py: what it did not read when it failed, it
        reads when it is started again.
        """
        with self._changes.watcher(self._woken.set, POLL_S):
            while self._hearers and not self.ended:
                self._woken.clear()
                more = True
                while more:
                    of = frozenset(self._hearers)
                    reached, events, more = await asyncio.to_thread(self._look, self.reached, of)
                    self._tell(of, reached, events)
                    turned()
                await self._woken.wait()

    def _look(self, after: int, of: frozenset[str | None]) -> tuple[int, list[_Event], bool]:
        """What `of` wants of what is new, about RING_BYTES of it at most, up to where that is all of it, and whether there
        may be more.
        """
        events: list[_Event] = []
        size, found = 0, True
        sessions = None if None in of else frozenset(session_id for session_id in of if session_id is not None)
        while found and size < RING_BYTES:
            after, rows = self._reader.news(after, sessions)
            found = bool(rows)
            events += [_event(position, row) for position, row in rows]
            size += sum(len(event.text) for event in events[len(events) - len(rows) :])
        return after, events, found

    def _tell(self, of: frozenset[str | None], reached: int, events: list[_Event]) -> None:
        self.ring.add(events)
        self.reached = max(self.reached, reached)
        spoken: set[str | None] = {event.session_id for event in events}
        if events:
            spoken.add(None)
        for session_id, hearers in self._hearers.items():
            if session_id not in of:  # it came while the look was under way, which may have passed over what it wants
                hearers.since = self.reached
                hearers.wake()
            elif session_id in spoken:
                hearers.wake()


class Stream:
    """What one client is sent; `position` is how far it has come. What is up to `newest` was written before the stream began."""

    __slots__ = ("_follower", "_hearers", "_newest", "_sending", "_session_id", "position", "woken")

    def __init__(
        self, follower: Follower, hearers: _Hearers, session_id: str | None, position: int, newest: int
    ) -> None:
        self._follower = follower
        self._hearers = hearers
        self._session_id = session_id
        self.position = position
        self._newest = newest
        self.woken = asyncio.Event()
        self._sending: asyncio.Transport | None = None

    async def send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send events as they come until the follower ends, and as long as the caller is let in.

        After REPLAY_BYTES of what was written before, the last one is `next`: the client asks again for what follows.

        Raises ConnectionResetError once the client is gone, Refusal once its token is, and LedgerError: it may come again.
        """
        await response.write(b":\n\n")  # else the headers wait for the first event
        replayed = 0
        while not self._follower.ended:
            reached = self.position
            piece = await self._next()
            await _check(request)
            if reached < self._newest:
                if replayed and replayed + len(piece) > REPLAY_BYTES:
                    return await response.write(_go_on_after(reached))
                replayed += len(piece)
            if piece:
                self._sending = request.transport
                await response.write(piece)
                self._sending = None

    def end(self) -> None:
        """Wake it, since the follower has ended; a client that does not take the piece under way in LAST_S is let go of."""
        if self._sending is not None:
            asyncio.get_running_loop().call_later(LAST_S, self._sending.abort)
        self.woken.set()

    async def _next(self) -> bytes:
        """About a PIECE of events; a comment after AWAKE_S without any; nothing where it is to be asked again."""
        self.woken.clear()
        if self.position < max(self._hearers.since, self._follower.ring.since):
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
            async with asyncio.timeout(AWAKE_S):
                await self.woken.wait()
            return b""
        return b":\n\n"


def _event(position: int, row: Record) -> _Event:
    text = f"id: {position}\nevent: {row.contract_type.lower()}\ndata: {jsonio.encode(contract_json(row))}\n\n"
    return _Event(position, row.session_id, text.encode())


def _go_on_after(position: int) -> bytes:
    return f'id: {position}\nevent: next\ndata: {{"next": "{position}"}}\n\n'.encode()


async def _check(request: web.Request) -> None:
    """Let nobody be told anything whose token has expired or was revoked since the stream began. Raises Refusal."""
    authenticator, readers = services_of(request).authenticator, services_of(request).readers
    if authenticator.refresh_at <= time.perf_counter():
        await authenticator.refresh(readers)
    authenticator.authenticate(request, READ)


def attach(app: web.Application, ledger: Path, changes: Changes) -> None:
    """Give `app` its Follower, which ends with it. `changes` are those of `ledger`."""

    async def end(app: web.Application) -> None:
        await app[FOLLOWER].end()

    app[FOLLOWER] = Follower(ledger, app[SERVICES].readers, changes, app[SERVICES].supervisor)
    app.on_shutdown.append(end)
