"""One connection: aiohttp's protocol, with the time limits that it lacks, and with its errors as problem+json.

aiohttp (3.14) has no time limit for a client that sends its headers slowly, nor for one that does not read its response
(only `keepalive_timeout` closes both, if at all), and responds to invalid HTTP itself, as text, before any middleware.
"""

import asyncio
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.typedefs import Handler

from aorch.errors import AorchError
from aorch.ids import new_id
from aorch.server.access_log import RequestLog
from aorch.server.connection_limit import ConnectionLimit
from aorch.server.fast_path import MAX_HEAD_BYTES, HeadTooLarge, Protocol
from aorch.server.problems import HttpError, from_aiohttp, problem_response
from aorch.server.unsent_responses import UnsentResponses

MAX_LINE_BYTES = 8192
"""Maximum length of the request line."""
MAX_HEADER_BYTES = 8190
"""Maximum length of each header, including its name."""
MAX_HEADERS = 100
IDLE_S = 75.0
"""How long a connection may stay open without a request."""
LINGER_S = 2.0
"""How long data that a client still sends after the response is read and discarded, so that the client sees the response."""
STUCK_S = 60.0
"""How long a client may read nothing of a response that waits for it."""


def too_many_connections() -> HttpError:
    """Return the error for a connection above the limit."""
    hint = "Close idle connections, or raise the server's limit (ulimit -n)."
    return HttpError(503, "too_many_connections", "too many connections are open", hint)


class Connection(Protocol):
    """A connection to `server`, whose requests go to `handler`.

    Headers must be complete within `read_timeout_s` of their first byte (408). A client that closes its sending side gets
    responses to the requests that it sent completely.
    """

    __slots__ = (
        "_ended_at",
        "_is_stream",
        "_limit",
        "_log",
        "_read_timeout_s",
        "_stuck_s",
        "_stuck_timer",
        "_unsent",
    )

    def __init__(
        self,
        server: web.Server,
        handler: Handler,
        log: RequestLog,
        read_timeout_s: float,
        limit: ConnectionLimit,
        unsent: UnsentResponses,
        *,
        idle_s: float = IDLE_S,
        stuck_s: float = STUCK_S,
    ) -> None:
        server.request_handler = handler  # type: ignore[assignment]  # its requests are those of an application
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=idle_s,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            auto_decompress=False,  # request_body.py does it, only for bodies that are read
        )
        self._log = log
        self._ended_at: float | None = None
        self._is_stream = False
        self._read_timeout_s = read_timeout_s
        self._limit = limit
        self._unsent = unsent
        self._stuck_s = stuck_s
        self._stuck_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start, or respond with 503 and close if too many connections are open."""
        super().connection_made(transport)
        if not self._limit.let_in(self):
            self._end_with(problem_response(too_many_connections()))

    def give_way(self) -> None:
        """Close without a response, because no request was sent."""
        self.force_close()

    def first_data_received(self) -> None:
        """The client has sent its first data: the connection is not closed for another one any more."""
        self._limit.has_sent(self)

    def start_head_timer(self) -> asyncio.TimerHandle:
        """Respond with 408 and close after `read_timeout_s`."""
        return asyncio.get_running_loop().call_later(self._read_timeout_s, self._head_too_slow)

    def stream_started(self) -> None:
        """Let the response, an endless stream, end when the client closes its sending side."""
        self._is_stream = True

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio allows it
        """The client sends nothing more. Return whether to stay open, for responses that are due."""
        is_due = not self._is_stream and self.is_whole() and not (self.is_idle() and self._head_timer is None)
        if is_due:
            self.half_close()
            self._ended_at = asyncio.get_running_loop().time()
        return is_due

    def client_has_left(self, after_s: float) -> bool:
        """Whether the connection is lost, or half-closed by the client for `after_s` seconds, which often means the same."""
        if self.transport is None:
            return True
        if self._ended_at is None or not after_s:
            return self._ended_at is not None
        return asyncio.get_running_loop().time() - self._ended_at >= after_s

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        self._limit.closed(self)
        self._unsent.remove(self)
        self.stop_head_timer()
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
        super().connection_lost(exc)

    def is_sending(self) -> bool:
        """Whether a part of a response waits for the client to read it."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def pause_writing(self) -> None:
        """The client reads more slowly than the server sends."""
        super().pause_writing()
        if self.transport is not None:
            unread = self.transport.get_write_buffer_size()
            self._expect_reading(unread)
            self._unsent.add(self, unread)

    def resume_writing(self) -> None:
        """The client has read most of the waiting data."""
        super().resume_writing()
        self._unsent.remove(self)
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()

    def _expect_reading(self, unread: int) -> None:
        self._stuck_timer = asyncio.get_running_loop().call_later(self._stuck_s, self._abort_if_stuck, unread)

    def _abort_if_stuck(self, unread_before: int) -> None:
        """Close, unless the client has read something since there were `unread_before` bytes."""
        unread = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if unread < unread_before:
            self._expect_reading(unread)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once, because the client does not read its response."""
        if self.transport is not None:
            self.transport.abort()

    def as_problem(self, response: Any) -> Any:
        """Return aiohttp's own error response from outside the middleware (417) as problem+json; others unchanged."""
        if isinstance(response, web.HTTPException):
            return self._logged(problem_response(from_aiohttp(response)))
        return response

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Return the response to invalid HTTP, or to an error outside the middleware. The connection closes after it."""
        if isinstance(exc, HttpProcessingError):
            response = problem_response(_parse_error(exc))
        else:
            self.logger.error("internal error", exc_info=exc)
            if request.writer.output_size:
                raise ConnectionError("the response has started")
            response = problem_response(AorchError("internal error; the server's log has the traceback"))
        response.force_close()
        return self._logged(response)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an internal error.

        A body that does not match its headers is not logged, because the client got a response.
        """
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def _head_too_slow(self) -> None:
        message = f"the headers did not arrive within {self._read_timeout_s:g} s (serve.read_timeout_s)"
        self._end_with(self._logged(problem_response(HttpError(408, "too_slow", message))))

    def _end_with(self, response: web.Response) -> None:
        """Send `response` if the connection is still open, and close it."""
        if self.transport is not None:
            self.transport.write(_raw(response))
        self.force_close()

    def _logged(self, response: web.Response) -> web.Response:
        response.headers["X-Request-ID"] = request_id = new_id()
        response.headers[hdrs.SERVER] = "aorch"
        self._log.write("-", "-", response.status, 0.0, request_id, {})
        return response


def client_has_left(request: web.Request, after_s: float) -> bool:
    """See `Connection.client_has_left`."""
    connection = request.protocol
    return isinstance(connection, Connection) and connection.client_has_left(after_s)


def end_with_client(request: web.Request) -> None:
    """Let the response to `request`, a stream, end when the client closes its sending side."""
    connection = request.protocol
    if isinstance(connection, Connection):
        connection.stream_started()


def _parse_error(error: HttpProcessingError) -> HttpError:
    """Translate an error of aiohttp's parser.

    Its message can quote the request, which may contain a secret: only fixed words of the message are used.
    """
    if isinstance(error, HeadTooLarge):
        return HttpError(431, "headers_too_large", f"the headers exceed {MAX_HEAD_BYTES} bytes in total")
    if not isinstance(error, LineTooLong):
        reason = error.message.partition("\n")[0].partition(":")[0] if "\n" in error.message else "malformed message"
        return HttpError(400, "not_http", f"invalid HTTP: {reason}")
    if error.args[1] == MAX_LINE_BYTES:
        return HttpError(414, "uri_too_long", f"the path and query exceed {MAX_LINE_BYTES} bytes")
    return HttpError(431, "headers_too_large", f"a header exceeds {MAX_HEADER_BYTES} bytes")


def _raw(response: web.Response) -> bytes:
    body = response.body
    assert isinstance(body, bytes)
    headers = {**response.headers, "Content-Length": len(body), "Connection": "close"}
    head = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*head, "", ""]).encode() + body
