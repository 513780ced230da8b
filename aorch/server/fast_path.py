"""All that aorch does with names that aiohttp keeps to itself.

They make a request cheaper (a bare handler takes 28 µs, of which the router takes 8 and the general way of an answer 7), and
they tell what a connection is about. They may change with any minor release, so they are used with TESTED alone. With any other
version the public ways are taken: slower, with `is_idle` by the requests that were begun, and with aiohttp's own limit of a head.
"""

from typing import Any

import aiohttp
from aiohttp import EMPTY_PAYLOAD, HttpVersion11, StreamReader, hdrs, http_writer, web, web_protocol
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from aorch.server.http_date import http_date

TESTED = "3.14."
"""The versions of aiohttp whose private names are known."""
AVAILABLE = aiohttp.__version__.startswith(TESTED)
LARGE = 32_768
"""Bytes from which on a body may have to wait for its reader."""
MAX_HEAD_BYTES = 65_536
"""Of all the heads that wait on a connection: one that is not whole yet, and those of pipelined requests."""

Known = dict[tuple[str, str], web.UrlMappingMatchInfo]
"""By method and path: what the router finds for the paths without variables."""


class HeadTooLarge(HttpProcessingError):
    """The heads that wait on a connection are too large together."""

    code = 431


class JsonAnswer(web.Response):
    """A response with a body of JSON."""

    def __init__(
        self, body: bytes, *, status: int = 200, content_type: str, headers: dict[str, str] | None = None
    ) -> None:
        headers = {hdrs.CONTENT_TYPE: content_type, **(headers or {})}
        if not AVAILABLE:
            super().__init__(body=body, status=status, headers=headers)
            return
        web.StreamResponse.__init__(self, status=status, headers=headers)
        self._body: bytes = body

    def at_once(self, request: web.Request) -> bytes | None:
        """All of the answer to `request` in one piece, if it is small and on a connection that stays open."""
        if (
            len(self._body) >= LARGE
            or self._keep_alive is not None
            or not request.keep_alive
            or request.version != HttpVersion11
            or request.method == hdrs.METH_HEAD
            or request.app.on_response_prepare
        ):
            return None
        self._keep_alive = True
        headers = self._headers
        headers[hdrs.CONTENT_LENGTH] = str(len(self._body))
        headers[hdrs.DATE] = http_date()
        headers[hdrs.SERVER] = SERVER_SOFTWARE
        return http_writer._serialize_headers(f"HTTP/1.1 {self._status} {self._reason}", headers) + self._body


class Protocol(web.RequestHandler):
    """aiohttp's protocol of a connection, which tells what it is about."""

    __slots__ = ("_entered", "_half_closed", "_head_bytes", "_head_refused", "_last_body")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._entered = False
        self._half_closed = False
        self._head_bytes = 0
        self._head_refused = False
        self._last_body: StreamReader = EMPTY_PAYLOAD

    def is_idle(self) -> bool:
        """Whether no request is being answered or waits for it; a part of one may have come."""
        if not AVAILABLE:
            return not self._entered
        waiter = self._waiter
        return waiter is not None and not waiter.done()

    def begun(self) -> None:
        """A request has reached the application."""
        self._entered = True

    def is_whole(self) -> bool:
        """Whether the body of the last request has come to its end."""
        return not AVAILABLE or self._last_body.is_eof()

    def half_close(self) -> None:
        """The client sends nothing more: end with the answer to its last request."""
        self._half_closed = True

    def refined(self, response: Any) -> Any:
        """The response that is sent instead of `response`."""
        return response

    def data_received(self, data: bytes) -> None:
        """Take `data`; no more of it once the heads that wait are too large together."""
        if not AVAILABLE:
            super().data_received(data)
            return
        if self._head_refused:
            return
        count, is_body = self._request_count, not self._last_body.is_eof()
        super().data_received(data)
        if self._request_count != count:
            if self._messages:
                self._last_body = self._messages[-1][1]
                if len(self._messages) > 1 or self._head_bytes + len(data) > MAX_HEAD_BYTES:
                    self._bound_heads()
            self._head_bytes = 0
        elif not is_body:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    async def finish_response(self, request: Any, resp: Any, start_time: float | None) -> Any:
        """Send `resp`, in one piece if it can be."""
        self._entered = False
        if self._half_closed and not (AVAILABLE and self._messages):
            resp.force_close()
        elif AVAILABLE and isinstance(resp, JsonAnswer) and self.transport is not None and not self._upgraded:
            message = resp.at_once(request)
            if message is not None:
                request._finish()
                self.transport.write(message)
                if self._paused:
                    await self._drain_helper()
                return resp, False
        return await super().finish_response(request, self.refined(resp), start_time)

    def _bound_heads(self) -> None:
        """Drop the requests whose heads are too much, and those after them."""
        size = 0
        for place, (message, _) in enumerate(self._messages):
            size += sum([len(name) + len(value) for name, value in getattr(message, "raw_headers", ())])
            if size > MAX_HEAD_BYTES:
                while len(self._messages) > place:
                    self._messages.pop()
                self._refuse_head()
                return

    def _refuse_head(self) -> None:
        """Let the answer to what is too large follow those to the requests before it; the connection ends with it."""
        self._head_refused = True
        error = HeadTooLarge(message="")
        self._messages.append((web_protocol._ErrInfo(status=431, exc=error, message=""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def entrance(known: Known, through: Middleware, handle: Handler) -> Handler:
    """Where every request comes in, instead of `handle`, which is the application's own.

    Those to `known` paths go past the router, which takes 8 µs to find the same.
    """

    def enter(request: web.Request) -> Any:
        found = known.get((request.method, request.raw_path))
        if found is None or hdrs.EXPECT in request.headers:
            return handle(request)
        request._match_info = found
        return through(request, found.handler)

    def enter_plainly(request: web.Request) -> Any:
        connection = request.protocol
        assert isinstance(connection, Protocol)
        connection.begun()
        return handle(request)

    return enter if AVAILABLE else enter_plainly
